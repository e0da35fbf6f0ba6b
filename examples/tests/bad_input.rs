//! Bad input: an error that says what is wrong, and nothing left behind.

mod common;
#[path = "common/short.rs"]
mod short;

use common::{Scratch, Shape, random};
use potad_examples::vmm::{Options, Status, VmmError, run};
use short::options;

const PAGES: Shape = Shape { kind: 0, unit: 4096, orders: 6 };

/// The message of a refusal: one line.
fn refusal(options: &Options) -> String {
    let text = run(options).expect_err("refused").to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

#[test]
fn a_file_that_is_no_block_trace_is_named() {
    let nowhere = Scratch::new("nowhere");
    assert!(refusal(&options(&nowhere)).contains("cannot read"));

    let good = random(PAGES, 100, 1);
    let empty = Scratch::with("empty", &[]);
    assert!(refusal(&options(&empty)).contains("truncated"));
    let short = Scratch::with("short", &good[..good.len() - 1]);
    assert!(refusal(&options(&short)).contains("truncated"));
    let text =
        Scratch::with("text", b"no trace at all, but long enough to be a header: 64 bytes..");
    assert!(refusal(&options(&text)).contains("no trace"));

    let shipped = std::fs::read(Options::shipped_trace()).expect("shipped");
    let cut = Scratch::with("cut", &shipped[..100_000]);
    assert!(refusal(&options(&cut)).contains("truncated or corrupt"));

    let mut ranges = good.clone();
    ranges[..8].copy_from_slice(b"POTRNG1\0");
    let ranges = Scratch::with("ranges", &ranges);
    assert!(refusal(&options(&ranges)).contains("a range trace was given"));

    // A block that is freed twice.
    let mut twice = good;
    twice[64 + 4] = 1;
    let twice = Scratch::with("twice", &twice);
    assert!(refusal(&options(&twice)).contains("record 0"));
}

#[test]
fn nothing_to_replay_and_nobody_to_replay_it_are_refused() {
    let trace = Scratch::with("nothing", &random(PAGES, 0, 1));
    assert!(matches!(run(&options(&trace)), Err(VmmError::Empty { .. })));
    let trace = Scratch::with("guests", &random(PAGES, 10, 1));
    for guests in [0, 65] {
        let refused = run(&Options { guests, ..options(&trace) });
        assert!(matches!(refused, Err(VmmError::Guests { .. })));
    }
}

#[test]
fn a_trace_beyond_the_memory_is_refused_before_anything_is_touched() {
    let trace = Scratch::with("beyond", &random(PAGES, 1000, 1));
    let little = Options { available: Some(1 << 20), ..options(&trace) };
    assert!(matches!(run(&little), Err(VmmError::TooLarge { available: 1, .. })));
    // An exabyte of addresses.
    let huge = Shape { kind: 2, unit: 4096, orders: 45 };
    let huge = Scratch::with("huge", &random(huge, 200, 1));
    let refused = run(&options(&huge)).expect_err("refused");
    assert!(matches!(refused, VmmError::TooLarge { .. }), "{refused}");
    let refused = run(&Options { available: Some(u64::MAX), ..options(&huge) });
    let refused = refused.expect_err("refused");
    assert!(matches!(refused, VmmError::Unmappable { .. }), "{refused}");
}

#[test]
fn a_swap_file_without_room_or_of_somebody_else_is_refused() {
    let trace = Scratch::with("trace", &random(PAGES, 1000, 1));
    let file = Scratch::new("swap");
    let full = Options { swap: Some(file.0.clone()), swap_bytes: 1 << 62, ..options(&trace) };
    assert!(refusal(&full).contains("swap file"));
    assert!(!file.0.exists(), "nothing is left behind");

    let theirs = Scratch::with("theirs", b"precious");
    let taken = Options { swap: Some(theirs.0.clone()), ..options(&trace) };
    assert!(refusal(&taken).contains("swap file"));
    assert_eq!(std::fs::read(&theirs.0).expect("untouched"), b"precious");

    let nowhere = Options { swap: Some("/nonexistent/swap".into()), ..options(&trace) };
    assert!(refusal(&nowhere).contains("/nonexistent/swap"));
}

#[test]
fn a_driver_that_fails_loses_nothing() {
    let trace = Scratch::with("driver", &random(PAGES, 5000, 1));
    for sound in [1, 40] {
        let summary = run(&Options { driver_fault: Some(sound), ..options(&trace) });
        let summary = summary.expect("a run");
        let Status::Device(why) = &summary.details.status else { panic!("{summary}") };
        assert!(why.contains("made to fail"), "{why}");
        assert_eq!(summary.details.status.code(), 2);
        assert_eq!(summary.allocations + summary.details.splits, summary.frees);
        let last = &summary.details.at_last;
        assert_eq!((last.free + last.quarantined, last.isolated), (last.granules, 0));
    }
}

#[test]
fn swap_that_is_too_small_is_used_as_far_as_it_goes() {
    let trace = Scratch::with("small-swap", &random(PAGES, 20_000, 1));
    let summary = run(&Options { swap_bytes: 1, ..options(&trace) }).expect("a run");
    assert_eq!(summary.details.status, Status::Sound, "{summary}");
    assert_eq!(summary.swap.slots_allocated, summary.swap.slots_freed);
}
