//! Edges of the header, by hand, in one thread.

use super::*;
use crate::lock::TryLock;

fn header() -> Header {
    Header::new(OwnerId(7))
}

#[test]
fn the_last_put_of_an_unlocked_header_kills_it() {
    let header = header();
    assert!(header.try_get());
    assert_eq!(header.put(), After::Lives);
    assert_eq!(header.put(), After::Dies);
    assert!(header.is_dead());
    assert!(!header.try_get(), "zero is sticky");
    assert_eq!(header.owner(), OwnerId(7));
}

#[test]
fn a_lock_outlives_the_last_put_and_its_unlock_kills() {
    let header = header();
    assert_eq!(header.try_lock(), TryLock::Locked);
    assert_eq!(header.put(), After::Lives);
    assert!(!header.is_dead());
    assert_eq!(header.unlock(), After::Dies);
    assert!(header.is_dead());
}

#[test]
fn who_tries_is_told_whether_it_is_held_or_dead() {
    let header = header();
    assert_eq!(header.try_lock(), TryLock::Locked);
    assert_eq!(header.try_lock(), TryLock::Held);
    assert_eq!(header.unlock(), After::Lives);
    assert_eq!(header.put(), After::Dies);
    assert_eq!(header.try_lock(), TryLock::Dead);
}

#[test]
fn a_get_under_the_lock_revives() {
    let header = header();
    assert_eq!(header.try_lock(), TryLock::Locked);
    assert_eq!(header.put(), After::Lives);
    assert!(header.try_get());
    assert_eq!(header.unlock(), After::Lives);
    assert_eq!(header.put(), After::Dies);
}

#[test]
fn get_refuses_above_two_to_the_31_and_counts_exactly() {
    let header = header();
    header.state.fetch_add((MAX_REFS - 1) << REFS_SHIFT, Ordering::Relaxed);
    assert!(!header.try_get());
    assert_eq!(u64::from(header.refs()), MAX_REFS);
    assert_eq!(header.put(), After::Lives);
    assert!(header.try_get());
}

#[test]
fn failed_gets_of_the_dead_touch_nothing_but_refs() {
    let header = header();
    assert_eq!(header.put(), After::Dies);
    header.state.fetch_add(u64::from(u32::MAX) << REFS_SHIFT, Ordering::Relaxed);
    assert!(!header.try_get());
    assert!(!header.try_get());
    assert!(header.is_dead());
    assert_eq!(header.owner(), OwnerId(7));
    assert_eq!(header.flags(), 0);
}

#[test]
fn flags_are_eight_and_alone() {
    let header = header();
    assert_eq!(header.set_flags(0xff), 0);
    assert_eq!(header.owner(), OwnerId(7));
    assert_eq!(header.refs(), 1);
    assert_eq!(header.clear_flags(0x0f), 0xff);
    assert_eq!(header.flags(), 0xf0);
    assert_eq!(header.put(), After::Dies);
}
