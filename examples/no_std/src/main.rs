//! `memdesc`, `lookup`, `potad` and `reporting` without `std` and without libc,
//! as in a kernel: this program has its own entry, its own panic handler, its
//! own allocator and its own `memcpy`, and really runs. It exits with 0 if
//! everything was as it should be, with 101 if not.
//!
//! If anything below pulled `std` in, it would not compile (two panic handlers);
//! if anything wanted libc, it would not link.
//!
//! ```sh
//! cargo run --manifest-path examples/no_std/Cargo.toml
//! ```

#![no_std]
#![no_main]

extern crate alloc;

mod bare;
mod story;

/// Where [`bare`]'s entry goes on. Returns the exit status.
fn main() -> i32 {
    match story::tell() {
        Ok(()) => 0,
        Err(_) => 1,
    }
}
