//! See `fuzz::reporting`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzz::reporting::run(data);
});
