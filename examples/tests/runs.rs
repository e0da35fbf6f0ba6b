//! Whole runs: whatever is replayed, everything comes back.

mod common;
#[path = "common/short.rs"]
mod short;

use common::{Scratch, Shape, random};
use potad_examples::vmm::{Options, Status, Summary, run, run_with};
use short::options;
use std::sync::atomic::Ordering;

const PAGES: Shape = Shape { kind: 0, unit: 4096, orders: 8 };

fn sound(options: &Options) -> Summary {
    let summary = run(options).expect("a run");
    assert_eq!(summary.details.status, Status::Sound, "{summary}");
    assert_eq!(summary.allocations + summary.details.splits, summary.frees);
    assert_eq!((summary.lookup_mismatches, summary.content_mismatches), (0, 0));
    assert_eq!(summary.failed_allocations, 0);
    let failures = summary.memory_failures;
    assert_eq!((failures.lost, failures.quarantined), (0, failures.injected));
    assert!(failures.owner_notified <= failures.injected);
    let swap = summary.swap;
    assert_eq!(swap.slots_allocated, swap.slots_freed);
    assert_eq!(swap.bytes_written, swap.bytes_verified);
    let last = &summary.details.at_last;
    assert_eq!(last.free + last.quarantined, last.granules);
    summary
}

#[test]
fn the_shipped_trace_begins_well() {
    let summary = sound(&Options { records: Some(20_000), ..Options::default() });
    assert_eq!(summary.details.records, (20_000, 20_000));
    assert_eq!(summary.memory_failures.injected, 48);
    assert!(summary.kinds.values().filter(|count| **count > 0).count() >= 4);
    assert!(summary.lookups > 0 && summary.details.checked_lookups > 0);
    assert!(summary.reported_bytes > 0);
    assert!(summary.resident_bytes_before_report > 16 << 20);
    assert!(summary.resident_bytes_after_report < 1 << 20, "{summary}");
}

#[test]
fn pages_split_and_resized_by_any_number_of_guests_come_back() {
    let trace = Scratch::with("pages", &random(PAGES, 6000, 1));
    for guests in [1, 2, 3, 8] {
        let summary = sound(&Options { guests, ..options(&trace) });
        assert!(summary.details.splits > 100 && summary.details.moves > 100);
        assert!(summary.memory_failures.injected > 0);
    }
}

#[test]
fn heaps_address_ranges_and_slots_are_replayed_too() {
    let malloc = Shape { kind: 1, unit: 1, orders: 18 };
    let ranges = Shape { kind: 2, unit: 4096, orders: 13 };
    let slots = Shape { kind: 3, unit: 4096, orders: 1 };
    let large = Shape { kind: 2, unit: 2 << 20, orders: 4 };
    for (seed, shape) in (1..).zip([malloc, ranges, slots, large]) {
        let trace = Scratch::with("kinds", &random(shape, 2000, seed));
        sound(&options(&trace));
    }
}

#[test]
fn cold_blocks_go_to_the_swap_file_that_was_asked_for() {
    let trace = Scratch::with("swapped", &random(PAGES, 60_000, 7));
    let file = Scratch::new("file");
    let summary = sound(&Options { swap: Some(file.0.clone()), ..options(&trace) });
    assert!(summary.swap.slots_allocated > 0 && summary.swap.bytes_verified > 0);
    assert!(!file.0.exists(), "removed at the end");
}

#[test]
fn a_stop_ends_the_run_and_frees_everything() {
    let options = Options::default();
    let stop = options.stop.clone();
    let summary = run_with(&options, &mut |tick| {
        if tick.done > 5000 {
            stop.store(true, Ordering::Relaxed);
        }
    });
    let summary = summary.expect("a run");
    assert_eq!(summary.details.status, Status::Interrupted, "{summary}");
    assert_eq!(summary.details.status.code(), 130);
    assert!(summary.details.records.0 < summary.details.records.1);
    assert_eq!(summary.allocations, summary.frees);
    let last = &summary.details.at_last;
    assert_eq!(last.free + last.quarantined, last.granules);
}

#[test]
fn time_that_is_up_is_no_failure() {
    let summary = run(&Options { seconds: Some(0.02), ..Options::default() }).expect("a run");
    assert_eq!(summary.details.status, Status::Sound, "{summary}");
    assert_eq!(summary.allocations, summary.frees);
}

#[test]
fn the_machine_summary_has_the_keys_it_promises() {
    let trace = Scratch::with("keys", &random(PAGES, 2000, 3));
    let json = serde_json::to_value(sound(&options(&trace))).expect("plain data");
    let keys = |value: &serde_json::Value| -> Vec<String> {
        let object = value.as_object().expect("an object");
        let mut keys: Vec<_> = object.keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(
        keys(&json),
        [
            "allocations",
            "content_mismatches",
            "failed_allocations",
            "frees",
            "guests",
            "kinds",
            "lookup_mismatches",
            "lookups",
            "memory_failures",
            "memory_over_time",
            "reported_bytes",
            "resident_bytes_after_report",
            "resident_bytes_before_report",
            "seconds",
            "swap",
            "trace",
        ]
    );
    assert_eq!(
        keys(&json["memory_failures"]),
        ["injected", "lost", "owner_notified", "quarantined"]
    );
    assert_eq!(
        keys(&json["swap"]),
        ["bytes_verified", "bytes_written", "slots_allocated", "slots_freed"]
    );
}

#[test]
fn the_memory_over_time_is_in_order_and_ends_with_nothing() {
    let summary = sound(&Options { records: Some(20_000), ..Options::default() });
    let json = serde_json::to_value(&summary).expect("plain data");
    let series = json["memory_over_time"].as_array().expect("an array");
    let of = |key: &str| -> Vec<f64> {
        series.iter().map(|moment| moment[key].as_f64().expect("a number")).collect()
    };
    let (seconds, resident) = (of("seconds"), of("resident_bytes"));
    let reported = of("reported_bytes");
    // Thinned, but for those that mark the end of the replay and what follows.
    assert!((4..=260).contains(&series.len()), "{}", series.len());
    assert!(seconds.is_sorted() && reported.is_sorted(), "{series:?}");
    assert!(seconds[0] < summary.seconds && *seconds.last().expect("some") > summary.seconds);
    let most = resident.iter().fold(0.0, |most: f64, bytes| most.max(*bytes));
    assert!(most >= summary.resident_bytes_before_report as f64 && most > 16e6, "{most}");
    assert!(*resident.last().expect("some") < 1e6, "{series:?}");
    assert_eq!(*reported.last().expect("some"), summary.reported_bytes as f64);
    let text = summary.to_string();
    assert!(text.contains("  resident  [") && text.contains("  reported  ["), "{text}");
}

#[test]
fn the_map_shows_every_part() {
    let trace = Scratch::with("map", &random(PAGES, 2000, 3));
    let svg = sound(&options(&trace)).details.map.svg();
    for part in
        ["low span", "high span", "hot-added", "hole of", "quarantined", "resident", "given back"]
    {
        assert!(svg.contains(part), "{part}");
    }
}
