//! Random stories: users, a driver that does anything, and whoever has the
//! control, in any order. After each step every byte is where it should be.

use potad_reporting::backend::{Answer, Recording};
use potad_reporting::mock::{MockSource, UserBlock};
use potad_reporting::*;
use std::sync::{Arc, Mutex};

const GRANULE: u64 = 4096;
const ORDER: u32 = 8;
const ALL: u64 = GRANULE << ORDER;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Mostly sane, with `badness` in 1000 of anything else.
fn answer(random: &mut Random, badness: u64) -> Answer {
    if random.below(1000) >= badness {
        return Answer::Say([Outcome::Reported, Outcome::ReportedZeroed][random.below(2) as usize]);
    }
    match random.below(10) {
        0 => Answer::Forget,
        1 => Answer::Cancel,
        2 => Answer::Busy,
        3 => Answer::Die,
        4 => Answer::Panic,
        5 => Answer::Say(Outcome::Failed),
        6 => Answer::Say(Outcome::Declined),
        _ => Answer::Say(Outcome::Posted),
    }
}

struct Story {
    source: Arc<MockSource>,
    users: Vec<UserBlock>,
    used: u64,
    random: Random,
}

impl Story {
    fn policy(&mut self) -> Policy {
        let random = &mut self.random;
        let mut policy = Policy::eager()
            .batch(1 + random.below(64) as usize)
            .max_piece(GRANULE << random.below(9))
            .interval(1 + random.below(1000))
            .backoff(1 + random.below(100), 1000)
            .decline_ttl(random.below(5000))
            .jitter(random.below(101) as u32, random.next())
            .reserve(random.below(3) * 16 * GRANULE)
            .demand_passes(random.below(4) as u32)
            .max_in_flight(1 + random.below(64) as usize)
            .poll(1 + random.below(50));
        if random.below(2) == 0 {
            policy = policy.age(Age::Seen);
        }
        if random.below(2) == 0 {
            policy = policy.volume(random.below(200) * GRANULE);
        }
        if random.below(4) == 0 {
            policy = policy.rate(1 + random.below(1 << 40), random.below(1 << 20));
        }
        policy
    }

    fn caps(&mut self) -> Caps {
        let random = &mut self.random;
        Caps {
            max_ranges: 1 + random.below(40) as u16,
            max_bytes: GRANULE << (8 + random.below(4)),
            lazy: random.below(4) == 0,
            posts: true,
            ..Caps::DEFAULT
        }
    }

    fn use_and_free(&mut self) {
        let order = self.random.below(4) as u32;
        if self.random.below(2) == 0 {
            let Some(block) = self.source.alloc(order) else {
                return;
            };
            self.used += GRANULE << order;
            self.users.push(block);
        } else if !self.users.is_empty() {
            let index = self.random.below(self.users.len() as u64) as usize;
            let free = self.source.free_bytes();
            self.source.free(self.users.swap_remove(index));
            self.used -= self.source.free_bytes() - free;
        }
    }

    /// Every byte is free, used, held or with the device.
    fn check(&self, reporter: &Reporter<Arc<MockSource>, Recording>) {
        let stats = reporter.stats();
        let out = stats.in_flight.bytes + stats.held.bytes;
        assert_eq!(self.source.isolated_bytes(), out, "{stats}");
        assert_eq!(self.source.free_bytes() + self.used + out, ALL);
        assert_eq!(stats.in_flight.blocks, reporter.in_flight() as u64);
        let settled: u64 = Outcome::ALL
            .into_iter()
            .filter(|&outcome| outcome != Outcome::Posted)
            .map(|outcome| stats.outcome(outcome).blocks)
            .sum();
        assert_eq!(stats.isolated.blocks, settled + stats.in_flight.blocks);
    }
}

fn tell(seed: u64) -> Stats {
    let mut story = Story {
        source: Arc::new(MockSource::new(GRANULE, ORDER)),
        users: Vec::new(),
        used: 0,
        random: Random(seed),
    };
    let badness = [0, 20, 200, 900][story.random.below(4) as usize];
    let answers = Arc::new(Mutex::new((Random(seed ^ 1), badness)));
    let script = answers.clone();
    let driver = Recording::answering(move |_, _, control| {
        let mut guard = script.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (random, badness) = &mut *guard;
        if random.below(1000) < *badness / 10 {
            control.cancel();
        }
        answer(random, *badness)
    })
    .with_caps(story.caps());
    let policy = story.policy();
    let mut reporter = Reporter::new(story.source.clone(), driver, policy).unwrap();
    let control = reporter.control();
    let mut pause = None;
    let mut now = 0_u64;
    for _ in 0..400 {
        match story.random.below(16) {
            0..8 => {
                let next = reporter.step(now);
                assert!(next.at >= reporter.clock());
                // Sometimes early, sometimes late.
                now = match story.random.below(4) {
                    0 => now.saturating_sub(10),
                    1 => now + story.random.below(2000),
                    _ if next.at == NEVER => now + 1,
                    _ => next.at,
                };
            }
            8..11 => story.use_and_free(),
            11 => {
                let posted = reporter.driver().posted().to_vec();
                for ticket in posted {
                    let outcome = Outcome::ALL[story.random.below(6) as usize];
                    if story.random.below(2) == 0 && outcome != Outcome::Posted {
                        reporter.driver_mut().give_back(ticket, outcome);
                    }
                }
            }
            12 => match story.random.below(4) {
                0 => control.cancel(),
                1 => control.request(),
                _ if pause.is_some() => pause = None,
                _ => pause = Some(control.pause()),
            },
            13 => {
                let bytes = story.random.below(64) * GRANULE;
                let pulled = match story.random.below(2) {
                    0 => reporter.reclaim(now, bytes),
                    _ => reporter.hold(now, bytes),
                };
                assert!(
                    pulled.end != PulledEnd::Enough || pulled.reported + pulled.posted >= bytes
                );
            }
            14 => {
                let asked = story.random.below(64) * GRANULE;
                reporter.release(asked);
            }
            _ => {
                if reporter.fault().is_some() {
                    reporter.revive();
                }
                if story.random.below(4) == 0 {
                    assert_eq!(reporter.reset(), Reset::Quiet);
                }
            }
        }
        story.check(&reporter);
    }
    // A sane driver at the end: all that is free comes to be reported.
    drop(pause);
    answers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).1 = 0;
    reporter.reset();
    reporter.release(u64::MAX);
    reporter.revive();
    story.check(&reporter);
    control.cancel();
    reporter.step(now);
    let pulled = reporter.reclaim(now, u64::MAX);
    if reporter.policy().reserve == 0 {
        assert_eq!(pulled.end, PulledEnd::NothingLeft, "seed {seed}");
        let smallest = reporter.policy().max_piece.min(GRANULE);
        assert!(smallest == GRANULE);
        assert_eq!(story.source.dirty_bytes(), 0, "seed {seed}: {}", reporter.stats());
    }
    let stats = reporter.stats().clone();
    drop(reporter);
    assert_eq!(story.source.isolated_bytes(), 0);
    story.users.drain(..).for_each(|block| story.source.free(block));
    assert_eq!(story.source.free_bytes(), ALL);
    stats
}

#[test]
fn whatever_happens_every_byte_is_where_it_should_be() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string();
        if !text.contains("told to panic") {
            eprintln!("{text}");
        }
    }));
    let mut reached = Stats::default();
    for seed in 0..400 {
        let stats = tell(seed);
        reached.panics += stats.panics;
        reached.lies += stats.lies;
        reached.backoffs += stats.backoffs;
        reached.cancels += stats.cancels;
        reached.pressures += stats.pressures;
        reached.skipped.blocks += stats.skipped.blocks;
        for outcome in Outcome::ALL {
            reached.outcomes[outcome as usize].blocks += stats.outcome(outcome).blocks;
        }
    }
    std::panic::set_hook(hook);
    // The stories told of everything.
    for outcome in Outcome::ALL {
        assert!(reached.outcome(outcome).blocks > 100, "{reached:?}");
    }
    for count in [reached.panics, reached.lies, reached.backoffs, reached.cancels] {
        assert!(count > 20, "{reached:?}");
    }
    assert!(reached.pressures > 20 && reached.skipped.blocks > 100, "{reached:?}");
}
