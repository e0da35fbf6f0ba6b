//! Random stories for every body, on stable. What fails is shrunk byte by byte,
//! and can be given to `fuzz/run` as it is.

use fuzz::Tally;
use proptest::collection::vec;
use proptest::prelude::*;

/// Depth is libFuzzer's.
fn config() -> ProptestConfig {
    ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_allocator_does_as_intervals_do(story in vec(any::<u8>(), 0..200)) {
        fuzz::allocator::run(&story);
    }

    #[test]
    fn requests_get_what_intervals_say(story in vec(any::<u8>(), 0..200)) {
        fuzz::requests::run(&story);
    }

    #[test]
    fn nothing_in_use_is_reported(story in vec(any::<u8>(), 0..300)) {
        fuzz::reporting::run(&story);
    }

    #[test]
    fn ranges_answer_as_a_list_does(story in vec(any::<u8>(), 0..400)) {
        fuzz::ranges::run(&story);
    }

    #[test]
    fn the_tree_answers_as_a_map_does(story in vec(any::<u8>(), 0..400)) {
        fuzz::tree::run(&story);
    }

    #[test]
    fn the_parser_reads_what_is_written_and_refuses_the_rest(story in vec(any::<u8>(), 0..300)) {
        fuzz::trace::run(&story);
    }
}

/// SplitMix64: the same stories each time.
fn told(body: fn(&[u8]) -> Tally, stories: u64, bytes: usize) -> Tally {
    let mut all: Option<Tally> = None;
    for story in 0..stories {
        let mut state = story;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)).to_le_bytes()
        };
        let mut data: Vec<u8> =
            std::iter::repeat_with(&mut next).take(bytes / 8).flatten().collect();
        data.truncate(1 + bytes * (1 + story as usize % 16) / 16);
        let tally = body(&data);
        match &mut all {
            Some(all) => all.add(&tally),
            None => all = Some(tally),
        }
    }
    all.expect("some stories")
}

/// Every operation is both done and refused, but for those that cannot be.
fn reaches(tally: &Tally, never_refused: &[&str]) {
    assert!(tally.seldom_done(10).is_empty(), "\n{tally}");
    let seldom: Vec<_> =
        tally.seldom_refused(3).into_iter().filter(|name| !never_refused.contains(name)).collect();
    assert!(seldom.is_empty(), "{seldom:?}\n{tally}");
}

#[test]
fn stories_of_ranges_reach_every_answer() {
    let tally = told(fuzz::ranges::run, 200, 600);
    reaches(&tally, &["set", "settle"]);
}

#[test]
fn stories_of_trees_reach_every_answer() {
    let tally = told(fuzz::tree::run, 250, 600);
    reaches(&tally, &[]);
}

#[test]
fn stories_of_traces_reach_every_answer() {
    let tally = told(fuzz::trace::run, 2000, 48);
    // Bytes without a header are no trace.
    let given = ["blocks as given", "ranges as given", "compressed"];
    assert_eq!(tally.seldom_done(10), given, "\n{tally}");
    assert!(tally.seldom_refused(10).is_empty(), "\n{tally}");
}

#[test]
fn stories_of_the_allocator_reach_every_answer() {
    let tally = told(fuzz::allocator::run, 250, 300);
    reaches(&tally, &[]);
}

#[test]
fn stories_of_requests_reach_every_answer() {
    let tally = told(fuzz::requests::run, 250, 300);
    reaches(&tally, &[]);
}

#[test]
fn stories_of_reporting_reach_every_answer() {
    let tally = told(fuzz::reporting::run, 250, 400);
    reaches(&tally, &[]);
}

/// In worlds that are kept, as libFuzzer has them.
#[test]
fn a_world_serves_story_after_story() {
    let tally = told(fuzz::allocator::run_kept, 500, 200);
    reaches(&tally, &[]);
    let tally = told(fuzz::requests::run_kept, 500, 200);
    reaches(&tally, &[]);
    let tally = told(fuzz::reporting::run_kept, 500, 300);
    reaches(&tally, &[]);
    let tally = told(fuzz::tree::run_kept, 500, 400);
    reaches(&tally, &[]);
}
