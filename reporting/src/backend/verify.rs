//! Trust, or look.

/// Whether memory is looked for after it was discarded. Debug builds do, unless
/// told otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Never.
    Never,
    /// After each discard.
    Always,
}
