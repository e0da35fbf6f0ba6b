//! What may be called in a signal handler.
//!
//! A thread that touches failed memory gets a SIGBUS, and the handler must know
//! at once whose the address is; everything else can wait for a normal thread.
//! So a handler looks up ([`Zone::find_signal`]), leaves a note
//! ([`FailureQueue::push`](crate::FailureQueue::push)) and returns; a thread
//! takes the notes through [`Zone::report_queued`], which locks, re-checks and
//! tells the owner.
//!
//! # What always holds
//!
//! What a handler may call takes no lock, allocates nothing, touches no
//! thread-local, does not pin and does not panic. It ends after a bounded number
//! of steps of its own (a look-up begins again only when a live block has risen
//! above the sections meanwhile), so it does not matter what the interrupted
//! thread was doing: holding a lock of ours, inside a bracket, inside `malloc`,
//! or in one of these very calls.
//!
//! Why a pin will not do, and what stands for it, is in the gate's module in
//! `memdesc`.

use crate::Zone;
use memdesc::Snapshot;

impl Zone {
    /// A copy of what lives at an address: for signal handlers, where
    /// [`find`](Self::find) is unsound. Async-signal-safe.
    ///
    /// What it says was true at a moment of the call: whoever acts on it locks
    /// and looks again, in a normal thread. Blocks are in granules;
    /// [`address_of`](Self::address_of) is allowed, too.
    ///
    /// Two RMWs on one line that all handlers share, a fence, and the loads of a
    /// `find`; nothing is freed meanwhile that the handler may look at.
    ///
    /// # What a handler may call
    ///
    /// | call | does |
    /// |---|---|
    /// | `find_signal` | as above |
    /// | [`address_of`](Self::address_of), [`granule`](Self::granule), [`id`](Self::id), [`name`](Self::name) | loads of what never changes |
    /// | [`FailureQueue::push`](crate::FailureQueue::push), `dropped`, `capacity` | two RMWs as a rule; at most one a cell |
    ///
    /// And nothing else: `find`, `get` and `lock` pin;
    /// [`Potad::zone_at`](crate::Potad::zone_at),
    /// [`granule_at`](Self::granule_at) and `stats` lock; the last drop of a
    /// zone frees. The handler reaches zone and queue by shared references that
    /// outlive it: through a `static OnceLock`, say, that is set before the
    /// handler is installed (reading it is a load).
    ///
    /// Leaving a handler by `siglongjmp` is fine, but not out of one of these
    /// calls (where only another handler on top could be): the gate would stay
    /// occupied, and nothing be freed from then on. The feature `count` of
    /// `memdesc`, which is for measuring, changes none of this.
    ///
    /// ```
    /// use potad::{FailureQueue, Potad, Resource, Zone};
    /// use potad::memdesc::{FailureKind, Order, Seen, descriptors};
    /// use std::sync;
    ///
    /// struct Folio;
    /// descriptors! { set Mm { Folio = 1 } }
    ///
    /// static RAM: sync::OnceLock<(Zone, FailureQueue)> = sync::OnceLock::new();
    ///
    /// /// What a handler of SIGBUS does with `si_addr` and `si_addr_lsb`.
    /// fn on_bus_error(address: u64, lsb: u32) -> bool {
    ///     let Some((ram, queue)) = RAM.get() else { return false };
    ///     let Some(seen) = ram.find_signal(address) else { return false };
    ///     let is_folio = matches!(seen.seen, Seen::Descriptor { name: "Folio", .. });
    ///     is_folio && queue.push(address, lsb, FailureKind::Consumed).is_ok()
    /// }
    ///
    /// let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// let folio = ram.alloc(Order::new(3)?, Folio)?;
    /// RAM.get_or_init(|| (ram.clone(), FailureQueue::new(64).unwrap()));
    ///
    /// assert!(on_bus_error(folio.address() + 4096 + 77, 12));
    /// assert!(!on_bus_error(1 << 40, 12), "nothing of ours");
    ///
    /// // Later, in a thread of the embedder's:
    /// let (_, queue) = RAM.get().unwrap();
    /// let taken = ram.report_queued(queue, |_, report| assert_eq!(report.unwrap().notified, 1));
    /// assert_eq!(taken, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn find_signal(&self, address: u64) -> Option<Snapshot> {
        let state = self.state();
        state.tree.find_signal(state.units.index(address)?)
    }
}
