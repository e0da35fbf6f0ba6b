//! What a descriptor is, and the closed set of them.
//!
//! A type becomes a descriptor by a name and, if it wants a number of its own
//! choice, a hint. Everything else (count, lock, place, home) is put around it
//! by the cell, so neither the type nor the macro needs unsafe code.

use crate::{Dead, Kinds, Tail};

/// A type that can describe a block. Any size; readers share it, so what
/// changes inside is atomic or behind the user's own lock.
///
/// Its header and the alignment of 64 that words ask for are put around it: a
/// type brings neither, so one that is under-aligned does not compile.
///
/// ```compile_fail,E0624
/// struct Mine(potad_memdesc::Header);
/// let mine = Mine(potad_memdesc::Header::new(potad_memdesc::OwnerId(1)));
/// ```
pub trait Descriptor: Send + Sync + 'static {
    /// A short name for reports.
    const NAME: &'static str;
    /// The number the type asks for in a [`Kinds`], `1..=31`; 0 for any.
    const KIND_HINT: u8 = 0;
    /// What follows each body of the type, if anything: a run of items whose
    /// number is chosen when the descriptor is made, by
    /// [`Fresh::with_tail`](crate::Fresh::with_tail).
    const TAIL: Option<Tail> = None;
}

/// Where a descriptor belongs: a handle on the resource that published it. All
/// descriptors made of one [`Keep`](crate::Keep) share the home inside.
///
/// Nothing here is trusted for soundness: a home that answers oddly leaks
/// descriptors, but frees none early.
pub trait Home: Sized + Send + Sync + 'static {
    /// The types that live in this resource; the same set at every call.
    fn kinds(&self) -> &Kinds;

    /// Takes over a descriptor that died: its last reference and its lock are
    /// gone, its words are still published. Retract it from the tree it was
    /// published in, give the range back, retire the memory.
    ///
    /// Runs in whichever thread gave up last, with no lock of this crate held.
    fn teardown(dead: Dead<'_, Self>);
}

/// Makes descriptors of types and collects them in a closed set.
///
/// The set is an enum with one variant per type, holding a [`Peek`](crate::Peek)
/// of it, so that a `match` on what was found is exhaustive. Its `register`
/// registers all of them, `of` classifies what was found.
///
/// ```
/// use potad_memdesc::{Kinds, descriptors};
///
/// pub struct Folio { mapped: u32 }
/// pub struct Slab;
///
/// descriptors! {
///     /// What lives in memory.
///     pub set Mm { Folio = 1, Slab = 2 }
/// }
///
/// let kinds = Kinds::new();
/// Mm::register(&kinds)?;
/// assert_eq!(kinds.of::<Slab>().map(|kind| kind.get()), Some(2));
/// assert!(Mm::register(&kinds).is_err());
/// # Ok::<(), potad_memdesc::KindError>(())
/// ```
///
/// A number that is given twice does not compile:
///
/// ```compile_fail,E0080
/// # use potad_memdesc::descriptors;
/// pub struct Folio;
/// pub struct Slab;
/// descriptors! { pub set Mm { Folio = 1, Slab = 1 } }
/// ```
///
/// nor does 0, or one above 31:
///
/// ```compile_fail,E0080
/// # use potad_memdesc::descriptors;
/// pub struct Folio;
/// descriptors! { pub set Mm { Folio = 0 } }
/// ```
///
/// ```compile_fail,E0080
/// # use potad_memdesc::descriptors;
/// pub struct Folio;
/// descriptors! { pub set Mm { Folio = 32 } }
/// ```
///
/// nor a type that is in a set already:
///
/// ```compile_fail,E0119
/// # use potad_memdesc::descriptors;
/// pub struct Folio;
/// descriptors! { pub set Mm { Folio = 1 } }
/// descriptors! { pub set Other { Folio = 1 } }
/// ```
///
/// and what is found lives no longer than the pin:
///
/// ```compile_fail,E0505
/// # use potad_memdesc::{descriptors, pin, Found, Home};
/// # pub struct Folio { pub mapped: u32 }
/// # descriptors! { pub set Mm { Folio = 1 } }
/// # fn find<'g, H: Home>(_: &'g potad_memdesc::Guard) -> Found<'g, H> { unimplemented!() }
/// # fn model<H: Home>() {
/// let guard = pin();
/// let found = find::<H>(&guard);
/// let folio = found.downcast::<Folio>();
/// drop(guard);
/// let mapped = folio.map(|folio| folio.mapped);
/// # }
/// ```
#[macro_export]
macro_rules! descriptors {
    (
        $(#[$attribute:meta])*
        $visible:vis set $set:ident { $($name:ident = $number:literal),+ $(,)? }
    ) => {
        $(
            impl $crate::Descriptor for $name {
                const NAME: &'static str = ::core::stringify!($name);
                const KIND_HINT: u8 = $number;
            }
        )+

        const _: () = ::core::assert!(
            $crate::kinds_differ(&[$($number),+]),
            "kinds of one set are 1 to 31, each given once"
        );

        $(#[$attribute])*
        #[doc = "\n\nOne variant per type, made by `descriptors!`."]
        #[derive(Debug)]
        $visible enum $set<'g> {
            $(
                #[doc = ::core::concat!("A `", ::core::stringify!($name), "`.")]
                $name($crate::Peek<'g, $name>),
            )+
        }

        impl<'g> $set<'g> {
            /// Registers every type of the set under its number.
            $visible fn register(
                kinds: &$crate::Kinds,
            ) -> ::core::result::Result<(), $crate::KindError> {
                $( kinds.register::<$name>()?; )+
                ::core::result::Result::Ok(())
            }

            /// What was found, as a member of the set; `None` for the rest.
            $visible fn of<H: $crate::Home>(
                found: &$crate::Found<'g, H>,
            ) -> ::core::option::Option<Self> {
                $(
                    if let ::core::option::Option::Some(peek) = found.downcast::<$name>() {
                        return ::core::option::Option::Some(Self::$name(peek));
                    }
                )+
                ::core::option::Option::None
            }
        }
    };
}
