/* Life of a descriptor: publish, get with its re-check, lock, split, last put,
 * teardown, grace period, and the same address and memory again.
 * (docs/theory.md, sections 6 and 7; memdesc/src/{header,lock,dead}.rs)
 *
 * One block of two granules, A and B, and three cells of memory. The maker
 * describes the block, splits it (the upper half A gets a cell of its own), and
 * puts both; twice. Readers find A, count, lock, and look whether A is still
 * the block's. Whoever gives up the last thing tears down.
 *
 * Seeds, each found (-DNAME): NO_RECHECK, NO_GRACE, NO_PIN, DEAD_IS_COUNTED,
 * DEATH_IN_TWO_STEPS, GIVEN_BEFORE_CLEARED, UNLOCK_KEEPS_NOBODY.
 */
#ifndef READERS
#define READERS 2
#endif
#define ROUNDS 2
#define CELLS 3
#define NONE 3
#define A 1
#define B 2
#define FREE 0
#define LIVE 1
#define RETIRED 2

byte kind[CELLS];            /* FREE, LIVE or RETIRED memory */
byte refs[CELLS];
bool locked[CELLS];
bool dead[CELLS];
byte place[CELLS];           /* the granules that it describes */
byte pinned;                 /* readers with a pin, as bits */
byte waits[CELLS];           /* readers that a retired cell waits for */
byte slot[3];                /* what A and B are named by; [0] is not used */
byte taken;                  /* granules that are allocated */
byte finished;

#define used(c) assert(kind[c] != FREE)

/* A cell for new use: whoever finds it sees only its new life. */
inline make(c, what) {
    atomic {
        if
        :: kind[0] == FREE -> c = 0
        :: kind[0] != FREE && kind[1] == FREE -> c = 1
        :: kind[0] != FREE && kind[1] != FREE && kind[2] == FREE -> c = 2
        fi;
        kind[c] = LIVE; refs[c] = 1; locked[c] = false; dead[c] = false; place[c] = what
    }
}

/* Its caller made the cell die: slots, range, memory, in this order. */
inline teardown(c) {
    atomic { used(c); assert(kind[c] == LIVE); assert(dead[c]) }
#ifdef GIVEN_BEFORE_CLEARED
    atomic { assert((taken & place[c]) == place[c]); taken = taken & ~place[c] }
#endif
    if :: place[c] & A -> slot[A] = NONE :: else fi;
    if :: place[c] & B -> slot[B] = NONE :: else fi;
#ifndef GIVEN_BEFORE_CLEARED
    atomic { assert((taken & place[c]) == place[c]); taken = taken & ~place[c] }
#endif
    atomic {
        kind[c] = RETIRED; waits[c] = pinned;
#ifdef NO_GRACE
        waits[c] = 0;
#endif
        if :: waits[c] == 0 -> kind[c] = FREE :: else fi
    }
}

inline put(c, dies) {
#ifdef DEATH_IN_TWO_STEPS
    atomic { used(c); refs[c]--; dies = (refs[c] == 0 && !locked[c]) }
    if :: dies -> atomic { dead[c] = true; locked[c] = true } :: else fi;
#else
    atomic {
        used(c); assert(refs[c] > 0);
        refs[c]--; dies = (refs[c] == 0 && !locked[c]);
        if :: dies -> dead[c] = true; locked[c] = true :: else fi
    }
#endif
    if :: dies -> teardown(c) :: else fi
}

inline lock(c) { atomic { !locked[c] -> used(c); assert(!dead[c]); locked[c] = true } }

inline unlock(c, dies) {
    atomic {
        used(c); dies = (refs[c] == 0);
#ifdef UNLOCK_KEEPS_NOBODY
        dies = false;
#endif
        if :: dies -> dead[c] = true :: else -> locked[c] = false fi
    }
    if :: dies -> teardown(c) :: else fi
}

inline unpin(me) {
    atomic {
        pinned = pinned & ~(1 << me);
        waits[0] = waits[0] & ~(1 << me); waits[1] = waits[1] & ~(1 << me);
        waits[2] = waits[2] & ~(1 << me);
        if :: kind[0] == RETIRED && waits[0] == 0 -> kind[0] = FREE :: else fi;
        if :: kind[1] == RETIRED && waits[1] == 0 -> kind[1] = FREE :: else fi;
        if :: kind[2] == RETIRED && waits[2] == 0 -> kind[2] = FREE :: else fi
    }
}

proctype Maker() {
    byte round, whole = NONE, half = NONE; bool dies;
    do
    :: round < ROUNDS ->
        atomic { taken == 0 -> taken = A | B }
        make(whole, A | B);
        slot[A] = whole; slot[B] = whole;
        assert(slot[A] == whole);
        lock(whole);
        make(half, A);
        place[whole] = B;
        slot[A] = half;
        unlock(whole, dies);
        put(half, dies);
        assert(slot[B] == whole);      /* nobody clears what is ours */
        put(whole, dies);
        round++
    :: else -> break
    od;
    /* All comes back, or this never ends. */
    finished == READERS && taken == 0 && kind[0] == FREE && kind[1] == FREE && kind[2] == FREE
}

proctype Reader(byte me) {
    byte round, c = NONE; bool dies, counted;
    do
    :: round < ROUNDS ->
        round++;
#ifndef NO_PIN
        pinned = pinned | (1 << me);
#endif
        c = slot[A];
        if
        :: c == NONE -> unpin(me)
        :: else ->
            atomic {
                used(c); counted = !dead[c]; refs[c]++;
#ifdef DEAD_IS_COUNTED
                counted = true;
#endif
            }
            unpin(me);
            if
            :: !counted
            :: else ->
                lock(c);
                /* The re-check: A may have another name by now. */
#ifndef NO_RECHECK
                if :: !(place[c] & A) :: else
#endif
                -> assert(place[c] & A); assert(slot[A] == c); assert(taken & A)
#ifndef NO_RECHECK
                fi
#endif
                ;
                /* The lock keeps it as a count does: either may go first. */
                if
                :: unlock(c, dies); put(c, dies)
                :: put(c, dies); unlock(c, dies)
                fi
            fi
        fi
    :: else -> break
    od;
    atomic { c = NONE; finished++ }
}

init { atomic { byte n; slot[A] = NONE; slot[B] = NONE; run Maker();
    do :: n < READERS -> run Reader(n); n++ :: else -> break od } }
