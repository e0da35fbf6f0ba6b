//! Every weak compare-exchange may fail for nothing, and on the processors at hand
//! none ever does. Here every second one does, or every third: the stories come
//! out as they always do.
//!
//! `cargo test -p potad-fuzz --no-default-features --features count --test spurious`

use fuzz::{Bytes, Tally};
use memdesc::sync::count::fail_weak;

/// Stories of bytes that a multiplication mixes.
fn stories(body: fn(&[u8]) -> Tally, bytes: usize) {
    for every in [2, 3, 7] {
        let before = fail_weak(every);
        for story in 1..40u64 {
            let mut state = story;
            let mut next = || {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(story | 1);
                (state >> 56) as u8
            };
            let data: Vec<u8> = std::iter::repeat_with(&mut next).take(bytes).collect();
            assert!(!Bytes::new(&data).is_empty());
            body(&data);
        }
        let failed = fail_weak(0) - before;
        assert!(failed > 100, "one in {every} was to fail, and {failed} did");
    }
}

#[test]
fn the_allocator_retries() {
    stories(fuzz::allocator::run, 250);
}

#[test]
fn runs_and_directed_requests_retry() {
    stories(fuzz::requests::run, 250);
}

#[test]
fn reports_retry() {
    stories(fuzz::reporting::run, 350);
}
