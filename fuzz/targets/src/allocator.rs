//! See `fuzz::allocator`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzz::allocator::run(data);
});
