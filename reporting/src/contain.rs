//! Containing a driver's panic.

/// The driver panicked; the panic went through the panic hook already.
#[derive(Debug)]
pub(crate) struct Panicked;

/// Runs the driver's code. With `std` a panic ends here; without, it goes on
/// through the batch, whose drop puts the blocks back.
#[cfg(feature = "std")]
pub(crate) fn contain<R>(code: impl FnOnce() -> R) -> Result<R, Panicked> {
    // What the closure borrows is the batch, which is sound in any state
    // (outcomes are plain values, and those of a panic are not credited), and
    // the driver, which is not called again until somebody revives it.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(code)).map_err(|_| Panicked)
}

/// Runs the driver's code.
#[cfg(not(feature = "std"))]
#[expect(clippy::unnecessary_wraps, reason = "with `std` it can fail")]
pub(crate) fn contain<R>(code: impl FnOnce() -> R) -> Result<R, Panicked> {
    Ok(code())
}
