//! The table of pages, the oracle and the line, by hand.

use super::oracle::{Event, oracle};
use super::pages::{Counts, Pages};
use super::run::{Figure, Panel, Part};

#[test]
fn pages_count_only_what_was_there() {
    let mut pages = Pages::new(4);
    pages.take_back(0, 0);
    assert_eq!(pages.counts, Counts::default(), "never touched");
    pages.touch(0);
    pages.now = 10;
    pages.take_back(0, 10);
    pages.take_back(0, 12);
    pages.now = 30;
    pages.touch(0);
    assert_eq!(pages.counts, Counts { returned: 20, refaulted: 1, reported: 1 });
    assert_eq!(pages.resident, 1);
    pages.take_back(0, 30);
    assert_eq!((pages.at_end(100).returned, pages.resident), (90, 0));
}

#[test]
fn the_oracle_returns_at_once_what_is_not_wanted_soon() {
    let event = |at, first, pages, is_alloc| Event { at, first, pages, is_alloc };
    // Granules of two pages. The first is free from 10 to 15 and from 20 on, the
    // second from 10 to 60, of which only one page is touched again.
    let events = [
        event(0, 0, 4, true),
        event(10, 0, 4, false),
        event(15, 0, 2, true),
        event(20, 0, 2, false),
        event(60, 2, 1, true),
    ];
    let counts = oracle(&events, 4, 1, 10, 100);
    // 2 * 80, and 50 + 90.
    assert_eq!(counts, Counts { returned: 300, refaulted: 1, reported: 4 });
}

#[test]
fn the_line_is_straight_between_two_ages() {
    let figure = |refaulted, of_oracle| Figure {
        name: String::new(),
        returned: 0.0,
        refaulted,
        reported: 0.0,
        of_oracle,
        failed: 0,
        over_time: Vec::new(),
    };
    let fixed = vec![figure(100.0, 0.9), figure(20.0, 0.5)];
    let panel = Panel { name: String::new(), fixed, presets: Vec::new() };
    let at = [0.0, 20.0, 60.0, 100.0, 300.0].map(|x| (panel.line_at(x) * 100.0).round());
    assert_eq!(at, [50.0, 50.0, 70.0, 90.0, 90.0]);
}

#[test]
fn the_second_half_begins_where_the_first_ends() {
    let bounds = |part: Part| part.bounds(5);
    assert_eq!(bounds(Part::Whole), (0, 5));
    assert_eq!((bounds(Part::First), bounds(Part::Second)), ((0, 2), (2, 5)));
    assert_eq!(Part::Second.bounds(0), (0, 0));
}
