//! Placement: which region a request or a refill prefers.
//!
//! # Picture
//!
//! ```text
//!  a region: 512 granules, 8 words of level 0, one cache line of them
//!
//!  free words   .. [ 0 ][ 3 ][64 ][ 0 ][64 ][ 1 ][ 0 ][ 0 ] ..     free granules in each
//!  its home     class 5        set by whoever opened or last adopted it
//! ```
//!
//! What is allocated together, by the same owner or for the same purpose, tends
//! to die together. A hand of a [`Class`] therefore stays in regions that are
//! its class's home, so that these become whole again and the survivors of
//! others do not pin them. A home is a preference and no border: rather than
//! break a region of which all is free, a class adopts another's, the one with
//! most room in it first, and rather than fail it takes whatever there is.
//!
//! # What always holds
//!
//! Nothing here decides whether a block is free or who owns it: a wrong or
//! stale home costs contiguity, never a granule.
//!
//! # Cost
//!
//! Nothing on the hot path. A refill looks into its last region first: one
//! line. Beyond it, at most a bounded number of regions, eight at a time, are
//! offered to the policy.

use core::fmt;

/// What blocks that probably die together have in common: a number of the
/// embedder's choosing, such as an owner's, or a purpose.
///
/// Few are better than many: every class keeps a region of its own partly
/// filled. Eight did well for whole systems (four groups of threads, each with
/// blocks for users apart from blocks for files and tables); the migrate types
/// of a kernel alone separate little.
///
/// ```
/// use potad::Class;
///
/// assert_eq!(Class::new(3), Class::new(3));
/// assert_eq!(Class::default(), Class::new(0));
/// assert_eq!(format!("{:?}", Class::new(3)), "class 3");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Class(u8);

impl Class {
    /// The home of regions that a block of orders 3 to 5 has opened, of whatever
    /// class: such blocks come and go differently from small ones, and rarely
    /// fit into what those leave. They themselves go wherever they fit next.
    pub const LARGE: Self = Self(LAST);

    /// The class of this number; those above 253 are taken modulo 254.
    pub const fn new(number: u8) -> Self {
        Self(number % LAST)
    }

    /// As stored in a byte in which 0 means none.
    pub(crate) const fn byte(self) -> u8 {
        self.0 + 1
    }

    /// What [`byte`](Self::byte) stored.
    pub(crate) const fn of_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => None,
            byte => Some(Self(byte - 1)),
        }
    }
}

/// The number of [`Class::LARGE`]; one less than the largest byte.
const LAST: u8 = 254;

impl fmt::Debug for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::LARGE => f.write_str("class large"),
            Self(number) => write!(f, "class {number}"),
        }
    }
}

/// What a policy is told of a region in which something is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Region {
    /// The class that opened or last adopted it.
    pub home: Option<Class>,
    /// Of its eight words of 64 granules, how many are wholly free.
    pub whole_words: u32,
}

impl Region {
    /// Words of 64 granules in a region.
    pub const WORDS: u32 = 8;

    /// A region with this home and so many wholly free words.
    pub const fn new(home: Option<Class>, whole_words: u32) -> Self {
        Self { home, whole_words }
    }

    /// Whether all of it is free: nothing in it pins it.
    pub const fn is_fresh(&self) -> bool {
        self.whole_words == Self::WORDS
    }
}

/// How much a class would like a region; [`Rating::BEST`] ends the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Rating(pub u8);

impl Rating {
    /// Taken without looking any further.
    pub const BEST: Self = Self(u8::MAX);
}

/// A policy: which regions a class prefers.
///
/// Asked by refills only, of regions in which something is free, from where
/// the hand took last upward; the highest rating wins, the first among equals.
/// It must not call the zone that asks.
///
/// ```
/// use potad::memdesc::Order;
/// use potad::{Class, Placement, Potad, Rating, Region, Resource};
///
/// /// First fit: wherever something is free.
/// #[derive(Debug)]
/// struct Anywhere;
///
/// impl Placement for Anywhere {
///     fn rate(&self, _: Class, _: &Region) -> Rating {
///         Rating::BEST
///     }
/// }
///
/// let resource = Resource::new("ram").granule(4096).span(0..1 << 30).placement(Anywhere);
/// let ram = Potad::new().register(resource)?;
/// let mut hand = ram.hand_for(Class::new(1));
/// let page = hand.alloc_bare(Order::ZERO)?;
/// hand.free_bare(page)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Placement: fmt::Debug + Send + Sync {
    /// Rates a region for a class that needs more room.
    fn rate(&self, class: Class, region: &Region) -> Rating;
}

/// The policy that a resource has unless told otherwise: classes keep together,
/// and small blocks out of regions that larger ones have broken.
///
/// | region | rating |
/// |---|---|
/// | its own, not all free | at once |
/// | another class's with at least [`adopt`](Self::adopt) whole words, by default any | the emptiest first |
/// | all free | if there is none of the above |
/// | the rest, and where [`Class::LARGE`] is at home | rather than fail |
///
/// Whatever a policy says, a region that is all free is opened only while there
/// are larger blocks to spare, or nothing broken fits.
///
/// ```
/// use potad::{Class, Placement, Rating, Region, Together};
///
/// let (mine, other) = (Class::new(1), Class::new(2));
/// let rate = |home, whole| Together::default().rate(mine, &Region::new(home, whole));
/// assert_eq!(rate(Some(mine), 0), Rating::BEST);
/// assert!(rate(Some(other), 5) > rate(None, 8));
/// assert!(rate(Some(other), 0) > rate(None, 8));
/// assert!(rate(None, 8) > rate(Some(Class::LARGE), 5));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Together {
    /// Whole words from which on another's region is adopted.
    pub adopt: u32,
}

/// Below it what is taken rather than to fail, above it what is preferred to it.
const FRESH: u8 = 2 * Region::WORDS as u8;

impl Placement for Together {
    #[inline]
    fn rate(&self, class: Class, region: &Region) -> Rating {
        // Lossless: at most eight.
        let whole = region.whole_words as u8;
        if region.is_fresh() {
            return Rating(FRESH);
        }
        if region.home == Some(class) {
            return Rating::BEST;
        }
        let is_small = region.home.is_some_and(|home| home != Class::LARGE);
        let adopts = is_small && region.whole_words >= self.adopt;
        Rating(if adopts { FRESH + 1 + whole } else { whole })
    }
}
