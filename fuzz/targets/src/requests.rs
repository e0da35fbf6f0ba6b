//! See `fuzz::requests`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: fuzz::write_before_a_panic(),
    |data: &[u8]| {
        fuzz::requests::run_kept(data);
    }
);
