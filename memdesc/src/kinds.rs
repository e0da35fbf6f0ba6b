//! Kinds: which type a descriptor word's five tag bits mean.
//!
//! # What always holds
//!
//! A number is given to one type and never taken back: an entry goes from null
//! to a type and stays. A type has at most one number. What an entry points to
//! is a constant of the program, so nothing here is ever freed.
//!
//! A number alone proves nothing, for two crates can pick the same: whoever
//! turns a word into a reference to `T` compares the entry's `TypeId`.
//!
//! # Sharing and cost
//!
//! A look-up is one load of a line that nobody writes (two more when the type
//! has no number of its own choice). Registering takes a lock.

use crate::cell::TypeInfo;
use crate::sync::Mutex;
use crate::sync::atomic::AtomicPtr;
use crate::{Descriptor, KindError};
use alloc::sync::Arc;
use core::fmt;
use core::num::NonZeroU8;
use core::ptr;

/// Kinds of descriptors in one set: 1 to 31.
pub const MAX_KINDS: u8 = 31;

/// The number of a descriptor type, `1..=31`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Kind(NonZeroU8);

impl Kind {
    /// The kind of this number, or `None` outside `1..=31`.
    #[inline]
    pub const fn new(number: u8) -> Option<Self> {
        match NonZeroU8::new(number) {
            Some(number) if number.get() <= MAX_KINDS => Some(Self(number)),
            _ => None,
        }
    }

    /// The number.
    #[inline]
    pub const fn get(self) -> u8 {
        self.0.get()
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kind{}", self.0)
    }
}

/// The types that live in one resource, by number. A cheap handle: clones
/// share the set.
///
/// ```
/// use potad_memdesc::{Descriptor, KindError, Kinds};
///
/// struct Folio;
/// impl Descriptor for Folio {
///     const NAME: &'static str = "folio";
/// }
///
/// let kinds = Kinds::new();
/// let folio = kinds.register::<Folio>()?;
/// assert_eq!(kinds.of::<Folio>(), Some(folio));
/// assert_eq!(kinds.name(folio), Some("folio"));
/// assert!(matches!(kinds.register::<Folio>(), Err(KindError::Registered { number: 1, .. })));
/// # Ok::<(), KindError>(())
/// ```
#[derive(Clone)]
pub struct Kinds(Arc<Table>);

struct Table {
    /// Written once each, under the lock; read by anybody. Number 0 stays null.
    entries: [AtomicPtr<TypeInfo>; MAX_KINDS as usize + 1],
    registering: Mutex<()>,
}

impl Kinds {
    /// An empty set.
    pub fn new() -> Self {
        Self(Arc::new(Table {
            entries: core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            registering: Mutex::new(()),
        }))
    }

    /// Gives `T` a number: its [`Descriptor::KIND_HINT`], or the lowest free
    /// one if the hint is 0.
    ///
    /// Fails if `T` has one, if the hint is taken or above 31, or if all 31
    /// are given out.
    pub fn register<T: Descriptor>(&self) -> Result<Kind, KindError> {
        let _registering = self.0.registering.lock();
        let name = T::NAME;
        if let Some(kind) = self.of::<T>() {
            return Err(KindError::Registered { number: kind.get(), name });
        }
        let kind = match T::KIND_HINT {
            0 => self.first_free().ok_or(KindError::Full { name })?,
            number => Kind::new(number).ok_or(KindError::OutOfRange { number, name })?,
        };
        if let Some(taken) = self.info(kind) {
            let taken_by = taken.name;
            return Err(KindError::NumberTaken { number: kind.get(), name, taken_by });
        }
        let info = ptr::from_ref(TypeInfo::of::<T>()).cast_mut();
        // `Release` pairs with the load in `info`; what it publishes is
        // constant, so this is for the models' sake.
        self.0.entries[usize::from(kind.get())]
            .store(info, crate::weakened!("kind is registered relaxed", Release));
        Ok(kind)
    }

    /// The number of `T`, if it is registered.
    #[inline]
    pub fn of<T: Descriptor>(&self) -> Option<Kind> {
        if let Some(kind) = Kind::new(T::KIND_HINT)
            && self.is::<T>(kind)
        {
            return Some(kind);
        }
        self.all().find(|&kind| self.is::<T>(kind))
    }

    /// Whether `kind` is `T`'s number.
    #[inline]
    pub fn is<T: Descriptor>(&self, kind: Kind) -> bool {
        self.info(kind).is_some_and(TypeInfo::is::<T>)
    }

    /// The name of the type with this number.
    pub fn name(&self, kind: Kind) -> Option<&'static str> {
        self.info(kind).map(|info| info.name)
    }

    /// The number of types registered.
    pub fn len(&self) -> usize {
        self.all().filter(|&kind| self.info(kind).is_some()).count()
    }

    /// Whether no type is registered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What there is to know of the type with this number.
    #[doc(hidden)]
    #[inline]
    pub fn info(&self, kind: Kind) -> Option<&'static TypeInfo> {
        // Pairs with the store in `register`.
        let info = self.0.entries[usize::from(kind.get())]
            .load(crate::weakened!("kind is seen relaxed", Acquire));
        // SAFETY: null, or made in `register` from a `&'static TypeInfo`.
        unsafe { info.cast_const().as_ref() }
    }

    fn all(&self) -> impl Iterator<Item = Kind> {
        (1..=MAX_KINDS).filter_map(Kind::new)
    }

    fn first_free(&self) -> Option<Kind> {
        self.all().find(|&kind| self.info(kind).is_none())
    }
}

impl Default for Kinds {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.all().filter_map(|kind| Some((kind.get(), self.name(kind)?)));
        f.debug_map().entries(known).finish()
    }
}

/// Whether the numbers of one `descriptors!` are `1..=31` and differ: called
/// by the macro while compiling.
#[doc(hidden)]
pub const fn kinds_differ(numbers: &[u8]) -> bool {
    let mut seen = 0u32;
    let mut at = 0;
    while at < numbers.len() {
        let number = numbers[at];
        if number == 0 || number > MAX_KINDS || seen >> number & 1 != 0 {
            return false;
        }
        seen |= 1 << number;
        at += 1;
    }
    true
}
