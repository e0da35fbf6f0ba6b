//! A process whose kernel refuses its barrier to the thread that asks first: one
//! choice a process, so the one test of this file.

#![cfg(all(target_os = "linux", not(any(miri, crossbeam_sanitize_thread))))]

mod barred;

use barred::forbid_membarrier;
use potad_memdesc::sync::barrier;
use std::thread;

/// A cheap side that comes first chooses, and the choice stands for those whom
/// the kernel would serve.
#[test]
fn the_first_cheap_side_chooses_for_all() {
    let first = thread::spawn(|| forbid_membarrier().then(barrier::light));
    if first.join().unwrap().is_none() {
        return;
    }
    assert!(!barrier::is_asymmetric(), "fences, here too");
    // Nobody asks a kernel that was not chosen.
    let dear = thread::spawn(|| forbid_membarrier().then(barrier::heavy));
    assert_eq!(dear.join().unwrap(), Some(()));
}
