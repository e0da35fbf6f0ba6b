//! What a range names: one word of 63 bits, or one counted pointer.
//!
//! # Why this and not any type
//!
//! A look-up ends in a word that it has loaded already. A value inside that
//! word costs no further line; a value behind it costs the reader one, and only
//! if it wants it. So a value is what fits: a [`Payload`] (an index, an owner,
//! an address), or a pointer that is counted: an [`Arc`], which makes any type a
//! value, or a [`Ref`], by which ranges of one space name the descriptors of
//! another, as those of a process name the folios that back them.
//!
//! A range is stored as a few pieces, and cutting one makes more. **Each stored
//! piece owns one unit** of the value: a clone of the `Arc`. A unit is given up
//! after the grace period of the change that removed its piece.

use super::RangesError;
use alloc::sync::Arc;
use core::fmt;
use core::ptr;
use memdesc::{Descriptor, Home, Ref, Word};

/// What a range can name.
///
/// # Safety
///
/// - `into_raw` gives a pointer whose lowest bit is clear, and `from_raw` takes
///   exactly such a pointer back as the same value.
/// - `again` makes one more unit of the same value, under the same pointer:
///   each unit may be turned back and dropped on its own, in any thread, and
///   what one unit lends lives until the last is dropped.
/// - If not `COUNTED`, a bitwise copy is as good as a unit and needs no drop.
pub unsafe trait Value: Send + Sync + 'static {
    /// Whether units are counted.
    const COUNTED: bool;

    /// Turns the value into a word.
    fn into_raw(self) -> *mut ();

    /// Turns a word back.
    ///
    /// # Safety
    ///
    /// - `raw` came from `into_raw` of this type.
    /// - The unit is the caller's, who gives it up; or the result is never
    ///   dropped, and not used after the unit is gone.
    unsafe fn from_raw(raw: *mut ()) -> Self;

    /// Makes one more unit, unless there are as many as can be counted: then the
    /// change that needed it is refused.
    ///
    /// # Safety
    ///
    /// - `raw` came from `into_raw` of this type, and one unit of it is live
    ///   throughout the call.
    unsafe fn again(raw: *mut ()) -> Option<()>;
}

/// A number below 2^63: the value that costs nothing.
///
/// ```
/// use potad_lookup::Payload;
///
/// assert_eq!(Payload::new(7)?.get(), 7);
/// assert!(Payload::new(1 << 63).is_err());
/// # Ok::<(), potad_lookup::RangesError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Payload(u64);

impl Payload {
    /// Returns the payload, or says that it has too many bits.
    pub const fn new(payload: u64) -> Result<Self, RangesError> {
        if payload >> 63 != 0 {
            return Err(RangesError::PayloadTooLarge { payload });
        }
        Ok(Self(payload))
    }

    /// Returns the number.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<u32> for Payload {
    fn from(payload: u32) -> Self {
        Self(payload.into())
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

// SAFETY: a number doubled is even, and halves to the same; numbers need no
// drop and lend nothing.
unsafe impl Value for Payload {
    const COUNTED: bool = false;

    #[inline]
    fn into_raw(self) -> *mut () {
        // Lossless: below 2^63, on a 64-bit target, as `memdesc` demands.
        ptr::without_provenance_mut((self.0 << 1) as usize)
    }

    #[inline]
    unsafe fn from_raw(raw: *mut ()) -> Self {
        Self(raw.addr() as u64 >> 1)
    }

    #[inline]
    unsafe fn again(_: *mut ()) -> Option<()> {
        Some(())
    }
}

/// A pointee whose address is even.
const fn even<T>() {
    assert!(align_of::<T>() >= 2, "a pointer to bytes has no bit to spare");
}

// SAFETY: the address is even, which `even` checks when this is compiled; the
// rest is what `Arc` promises of its raw pointers and counts.
unsafe impl<T: Send + Sync + 'static> Value for Arc<T> {
    const COUNTED: bool = true;

    fn into_raw(self) -> *mut () {
        const { even::<T>() };
        Self::into_raw(self).cast_mut().cast()
    }

    #[inline]
    unsafe fn from_raw(raw: *mut ()) -> Self {
        // SAFETY: from `into_raw`, and the unit is the caller's, or the result
        // is never dropped.
        unsafe { Self::from_raw(raw.cast_const().cast()) }
    }

    unsafe fn again(raw: *mut ()) -> Option<()> {
        // SAFETY: from `into_raw`, and one unit is live.
        unsafe { Self::increment_strong_count(raw.cast_const().cast::<T>()) };
        Some(())
    }
}

// SAFETY: the address is even, which `even` checks when this is compiled; a
// shared reference is copied at will.
unsafe impl<T: Sync + 'static> Value for &'static T {
    const COUNTED: bool = false;

    fn into_raw(self) -> *mut () {
        const { even::<T>() };
        ptr::from_ref(self).cast_mut().cast()
    }

    #[inline]
    unsafe fn from_raw(raw: *mut ()) -> Self {
        // SAFETY: made of a `&'static T`, by the first promise.
        unsafe { &*raw.cast_const().cast() }
    }

    #[inline]
    unsafe fn again(_: *mut ()) -> Option<()> {
        Some(())
    }
}

/// A counted reference to a descriptor: what a range names stays allocated, and
/// each piece of the range is one reference. Dropping the last one tears the
/// descriptor down, in whatever thread collects what the map has retired.
///
/// ```
/// # use memdesc::*;
/// # use potad_lookup::*;
/// # struct Ram(Kinds, Tree<Ram>);
/// # impl Home for Ram {
/// #     fn kinds(&self) -> &Kinds { &self.0 }
/// #     fn teardown(dead: Dead<Self>) {
/// #         dead.with_home(|ram, dead, guard| ram.1.retract(dead).unwrap().garbage.retire(guard));
/// #     }
/// # }
/// # struct Folio(u32);
/// # impl Descriptor for Folio { const NAME: &'static str = "folio"; }
/// # let kinds = Kinds::new();
/// # kinds.register::<Folio>()?;
/// # let ram = Keep::new(Ram(kinds, Tree::new()));
/// # let fresh = Fresh::of(&ram, OwnerId(0), Folio(7)).map_err(|(why, _)| why)?;
/// // A folio of physical memory, and the addresses at which a process has it.
/// let folio: Ref<Ram, Folio> = ram.1.publish(Block::new(Granule(64), Order::ZERO)?, fresh)?;
/// let mapped = Ranges::new();
/// mapped.insert(Addresses::starting(0x7000, 0x1000)?, folio)?;
///
/// let guard = pin();
/// let found = mapped.find(0x7123, &guard).unwrap();
/// assert_eq!((found.0, found.block().base()), (7, Granule(64)));
/// let mine = found.try_clone().unwrap();
/// drop(guard);
/// mapped.remove(Addresses::ALL)?;
/// assert_eq!(mine.0, 7, "counted, so it outlives the guard and the range");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
// SAFETY: the pointer is a descriptor's word with its kind one bit further up,
// which `Word` checks that it leaves the lowest bit clear; it has the same value
// and provenance when it is moved back. Each unit is one of the header's count,
// and the cell is not freed before the last is given up.
unsafe impl<H: Home, T: Descriptor> Value for Ref<H, T> {
    const COUNTED: bool = true;

    fn into_raw(self) -> *mut () {
        // The unit goes along.
        core::mem::ManuallyDrop::new(self).word().to_even()
    }

    #[inline]
    unsafe fn from_raw(raw: *mut ()) -> Self {
        // SAFETY: the word of a `Ref` of these types, whose unit is the caller's,
        // or the result is never dropped.
        unsafe { Self::adopt(Word::of_even(raw)) }
    }

    unsafe fn again(raw: *mut ()) -> Option<()> {
        // SAFETY: as above; it is not dropped here, and a unit is live.
        let lent = core::mem::ManuallyDrop::new(unsafe { Self::adopt(Word::of_even(raw)) });
        lent.try_clone().map(core::mem::forget)
    }
}
