//! Seeded bugs for twins of models.
//!
//! A model that cannot fail proves nothing. Its twin runs the same code with
//! one step broken, and must fail. The production code asks
//! [`seeded!`](crate::seeded) at that step: a constant `false` but under
//! `cfg(loom)` and `cfg(shuttle)`, where the harness plants one seed for the
//! time of one run, and `cfg(potad_seeded)`.
//!
//! All threads of a model are one thread of the system, so the seed lives in a
//! plain thread-local and tests that run beside each other do not meet.
//!
//! Under `cfg(potad_seeded)`, for sanitizers, threads are threads: there is one
//! seed for the process, planted before any other thread begins.

#[cfg(all(potad_seeded, not(any(loom, shuttle))))]
static OF_ALL: std::sync::OnceLock<std::string::String> = std::sync::OnceLock::new();

/// Plants `seed` for good, in all threads; later calls do nothing.
#[cfg(all(potad_seeded, not(any(loom, shuttle))))]
pub fn plant_for_all(seed: &str) {
    OF_ALL.get_or_init(|| seed.into());
}

/// Whether `seed` is planted.
#[cfg(all(potad_seeded, not(any(loom, shuttle))))]
pub fn is_planted(seed: &str) -> bool {
    OF_ALL.get().is_some_and(|planted| planted == seed)
}

#[cfg(any(loom, shuttle))]
std::thread_local! {
    static PLANTED: core::cell::Cell<Option<&'static str>> = const { core::cell::Cell::new(None) };
}

/// No bug, but planted like one: pins are none, and loom sees nothing of them; what
/// is put off meanwhile waits for the next. For models that show that two operations
/// share nothing else.
#[cfg(any(loom, shuttle))]
pub const PINS_OUT_OF_SIGHT: &str = "pins out of sight";

/// Plants `seed` until the guard is dropped.
#[cfg(any(loom, shuttle))]
#[must_use]
pub fn plant(seed: &'static str) -> Planted {
    PLANTED.set(Some(seed));
    Planted(())
}

/// Whether `seed` is planted.
#[cfg(any(loom, shuttle))]
pub fn is_planted(seed: &str) -> bool {
    PLANTED.get() == Some(seed)
}

/// Takes the seed out again.
#[cfg(any(loom, shuttle))]
#[derive(Debug)]
pub struct Planted(());

#[cfg(any(loom, shuttle))]
impl Drop for Planted {
    fn drop(&mut self) {
        PLANTED.set(None);
    }
}

/// Whether the named bug is to happen here; always `false` outside models.
#[doc(hidden)]
#[macro_export]
macro_rules! seeded {
    ($seed:literal) => {{
        #[cfg(any(loom, shuttle, potad_seeded))]
        let planted = $crate::sync::seed::is_planted($seed);
        #[cfg(not(any(loom, shuttle, potad_seeded)))]
        let planted = false;
        planted
    }};
}

/// The ordering, or `Relaxed` where the named seed is planted: a twin that
/// finds it shows that the ordering is needed.
#[doc(hidden)]
#[macro_export]
macro_rules! weakened {
    ($seed:literal, $ordering:ident) => {
        match $crate::seeded!($seed) {
            true => $crate::sync::atomic::Ordering::Relaxed,
            false => $crate::sync::atomic::Ordering::$ordering,
        }
    };
}
