//! Options for tests that run the library.

use super::common::Scratch;
use potad_examples::vmm::Options;

/// A short run of a trace.
pub(crate) fn options(trace: &Scratch) -> Options {
    Options {
        trace: trace.0.clone(),
        failures: 12,
        swap_bytes: 4 << 20,
        headroom: Some(300),
        ..Options::default()
    }
}
