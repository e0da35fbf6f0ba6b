//! What a run is asked to do.

use potad::memdesc::sync::Arc;
use potad::memdesc::sync::atomic::AtomicBool;
use std::path::PathBuf;

/// A run: plain data with good defaults.
///
/// ```
/// use potad_examples::vmm::Options;
///
/// let options = Options::default();
/// assert_eq!((options.guests, options.failures), (2, 48));
/// assert!(options.trace.ends_with("page-compileall-mthp.pot.zst"));
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// The block trace to replay.
    pub trace: PathBuf,
    /// Guests, 1 to 64: threads that the trace is dealt to.
    pub guests: usize,
    /// Memory failures to inject.
    pub failures: u64,
    /// Replay at most so many records.
    pub records: Option<u64>,
    /// Replay for at most so many seconds.
    pub seconds: Option<f64>,
    /// Percent of the trace's peak that the resource has beyond it; 25 by
    /// default, 100 where the trace splits blocks.
    pub headroom: Option<u32>,
    /// The swap file, which must not exist; a nameless temporary one by default.
    pub swap: Option<PathBuf>,
    /// Bytes of the swap file.
    pub swap_bytes: u64,
    /// Memory that may be used, in bytes; what the system has by default.
    pub available: Option<u64>,
    /// Makes the driver of the reporter fail from its nth range on: for tests.
    pub driver_fault: Option<u64>,
    /// Where chance begins.
    pub seed: u64,
    /// Set by somebody else to end the run early and cleanly.
    pub stop: Arc<AtomicBool>,
}

impl Options {
    /// The trace that ships with the workspace.
    pub fn shipped_trace() -> PathBuf {
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let root = here.parent().map(PathBuf::from).unwrap_or(here);
        root.join("benches/traces/page-compileall-mthp.pot.zst")
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            trace: Self::shipped_trace(),
            guests: 2,
            failures: 48,
            records: None,
            seconds: None,
            headroom: None,
            swap: None,
            swap_bytes: 64 << 20,
            available: None,
            driver_fault: None,
            seed: 1,
            stop: Arc::new(AtomicBool::new(false)),
        }
    }
}
