/* Claim, merge and flush, and the rendezvous that stops the hands.
 * (docs/theory.md, sections 3 and 5; potad/src/{forest,hand})
 *
 * Four granules: two words of two places, and a word above with a place for
 * each of them. Two hands take and give inside their brackets; a third thread
 * closes both, gives back what they hold, and counts.
 *
 * Seeds, each found (-DNAME): NO_BARRIER, CLOSER_DOES_NOT_WAIT, TAKEN_IN_TWO_STEPS,
 * GIVEN_IN_TWO_STEPS, MERGED_ON_A_LOOK, MERGED_OUTSIDE, MASK_KEPT, MASK_LOST.
 */
#define HANDS 2
#ifndef ROUNDS
#define ROUNDS 4
#endif
#define ALL 3

byte word[2];                /* free places of level 0 */
byte above = ALL;            /* free places of level 1 */
bool owned[4];               /* allocated granules: nobody writes another's */
bool busy[3], closed[HANDS];
byte mask[HANDS], from[HANDS]; /* a hand's claim: free places of word `from` */
byte finished;
/* Room of each thread for the inlines; its own, so never seen by others. */
byte seen[3], add[3], w[3]; bool whole[3];

#define bits(m) (((m) & 1) + ((m) >> 1))

/* One fetch_or; whoever completes a word may merge it. */
inline give(me) {
#ifdef GIVEN_IN_TWO_STEPS
    seen[me] = word[w[me]];
    atomic { word[w[me]] = seen[me] | add[me]; whole[me] = (word[w[me]] == ALL) }
#else
    atomic {
        assert((word[w[me]] & add[me]) == 0);
        word[w[me]] = word[w[me]] | add[me]; whole[me] = (word[w[me]] == ALL)
    }
#endif
#ifdef MERGED_OUTSIDE
    if :: me < HANDS -> busy[me] = false :: else fi;
#endif
    if
    :: whole[me] ->
#ifdef MERGED_ON_A_LOOK
        if :: word[w[me]] == ALL -> word[w[me]] = 0 :: else -> whole[me] = false fi;
#else
        atomic { if :: word[w[me]] == ALL -> word[w[me]] = 0 :: else -> whole[me] = false fi }
#endif
        /* In transit: these granules are in no word. */
        if
        :: whole[me] -> atomic { assert(!(above & (1 << w[me]))); above = above | (1 << w[me]) }
        :: else
        fi
    :: else
    fi
}

/* All free places of one word, or a whole one from above. */
inline claim(me) {
    add[me] = 0; w[me] = me;
    do
    :: add[me] == 0 && w[me] < me + 2 ->
#ifdef TAKEN_IN_TWO_STEPS
        add[me] = word[w[me] % 2];
        word[w[me] % 2] = 0;
#else
        atomic { add[me] = word[w[me] % 2]; word[w[me] % 2] = 0 }
#endif
        if
        :: add[me] == 0 ->
            atomic {
                if
                :: above & (1 << (w[me] % 2)) ->
                    above = above & ~(1 << (w[me] % 2)); add[me] = ALL
                :: else -> w[me]++
                fi
            }
        :: else
        fi
    :: else -> break
    od;
    atomic { from[me] = w[me] % 2; mask[me] = add[me]; add[me] = 0; w[me] = 0 }
}

inline enter(me) {
    do
    ::
#ifdef NO_BARRIER
        /* The load passes the store that stands before it. */
        seen[me] = closed[me]; busy[me] = true;
#else
        busy[me] = true; seen[me] = closed[me];
#endif
        if :: !seen[me] -> break :: else -> busy[me] = false; !closed[me] fi
    od
}

proctype Hand(byte me) {
    byte round, got = 4, mine;   /* `mine`: the granules that it has, as bits */
    do
    :: round < ROUNDS ->
        round++;
        enter(me);
        if
        :: true ->
            if :: mask[me] == 0 -> claim(me) :: else fi;
            if
            :: mask[me] & 1 -> mask[me] = mask[me] & 2; got = 2 * from[me]
            :: mask[me] & 2 -> mask[me] = mask[me] & 1; got = 2 * from[me] + 1
            :: mask[me] == 0
            fi;
            /* Allocated: it is ours alone. */
            if
            :: got < 4 -> atomic { assert(!owned[got]); owned[got] = true; mine = mine | (1 << got) }
            :: else
            fi
        :: mine != 0 ->
            if
            :: mine & 1 -> got = 0 :: mine & 2 -> got = 1
            :: mine & 4 -> got = 2 :: mine & 8 -> got = 3
            fi;
            atomic {
                assert(owned[got]); owned[got] = false; mine = mine & ~(1 << got);
                w[me] = got / 2; add[me] = 1 << (got % 2)
            }
            if
            :: mask[me] != 0 && from[me] == w[me] -> mask[me] = mask[me] | add[me]
            :: else -> give(me)
            fi
        fi;
        atomic { busy[me] = false; got = 4; add[me] = 0; w[me] = 0; seen[me] = 0; whole[me] = 0 }
    :: else -> break
    od;
    finished++
}

/* Every granule is in one place, in the largest block that is free. */
inline count() {
    atomic {
        assert(bits(word[0]) + bits(word[1]) + 2 * bits(above)
            + owned[0] + owned[1] + owned[2] + owned[3] == 4);
        assert(word[0] != ALL && word[1] != ALL);
        assert(!(owned[0] && ((word[0] & 1) || (above & 1))));
        assert(!(owned[1] && ((word[0] & 2) || (above & 1))));
        assert(!(owned[2] && ((word[1] & 1) || (above & 2))));
        assert(!(owned[3] && ((word[1] & 2) || (above & 2))))
    }
}

proctype Closer() {
    byte round, n, last;
    do
    :: last == 2 -> break
    :: else ->
        /* Once at any time, once when both are through. */
        if :: last == 1 -> finished == HANDS :: else fi;
        last++;
        closed[0] = true; closed[1] = true;
        n = 0;
        do
        :: n < HANDS ->
#ifndef CLOSER_DOES_NOT_WAIT
            !busy[n];
#endif
            atomic {
                w[2] = from[n]; add[2] = mask[n];
#ifndef MASK_KEPT
                mask[n] = 0;
#endif
#ifdef MASK_LOST
                add[2] = 0;
#endif
            }
            if :: add[2] == ALL -> atomic { above = above | (1 << w[2]) }
               :: add[2] != 0 && add[2] != ALL -> give(2)
               :: else
            fi;
            n++
        :: else -> break
        od;
        count();
        closed[0] = false; closed[1] = false
    od
}

init { atomic { run Hand(0); run Hand(1); run Closer() } }
