//! Fields of a header that is an array. Place and width are constants and checked by the compiler, so that no
//! accessor has a bound to check or a panic to reach.

/// The `N` bytes that start at `AT`.
#[inline]
pub(crate) fn get<const AT: usize, const N: usize, const L: usize>(header: &[u8; L]) -> [u8; N] {
    const { assert!(AT + N <= L, "the field ends within the header") };
    core::array::from_fn(|i| header[AT + i])
}

/// Writes `value` at `AT`.
#[inline]
pub(crate) fn set<const AT: usize, const N: usize, const L: usize>(header: &mut [u8; L], value: [u8; N]) {
    const { assert!(AT + N <= L, "the field ends within the header") };
    header[AT..AT + N].copy_from_slice(&value);
}

/// The 16-bit number at `AT`.
#[inline]
pub(crate) fn get_u16<const AT: usize, const L: usize>(header: &[u8; L]) -> u16 {
    u16::from_be_bytes(get::<AT, 2, L>(header))
}

/// Writes the 16-bit number at `AT`.
#[inline]
pub(crate) fn set_u16<const AT: usize, const L: usize>(header: &mut [u8; L], value: u16) {
    set::<AT, 2, L>(header, value.to_be_bytes());
}

/// The 32-bit number at `AT`.
#[inline]
pub(crate) fn get_u32<const AT: usize, const L: usize>(header: &[u8; L]) -> u32 {
    u32::from_be_bytes(get::<AT, 4, L>(header))
}

/// Writes the 32-bit number at `AT`.
#[inline]
pub(crate) fn set_u32<const AT: usize, const L: usize>(header: &mut [u8; L], value: u32) {
    set::<AT, 4, L>(header, value.to_be_bytes());
}

/// A view over the first bytes of something.
pub trait Header<'a>: Sized {
    /// Takes the header off the front of `bytes`, whatever it holds; `None` where there are too few.
    fn take(bytes: &'a mut [u8]) -> Option<(Self, &'a mut [u8])>;
}

/// Declares a header view over an array of `$length` bytes.
macro_rules! header {
    ($(#[$attribute:meta])* $name:ident, $length:literal) => {
        $(#[$attribute])*
        #[derive(Debug, PartialEq, Eq)]
        pub struct $name<'a>(&'a mut [u8; $length]);

        impl<'a> $name<'a> {
            /// Length of this header in bytes, without options.
            pub const LENGTH: usize = $length;

            /// A view over bytes that are enough, whatever they hold.
            #[inline]
            pub fn over(bytes: &'a mut [u8; $length]) -> Self {
                Self(bytes)
            }

            /// The same view for a shorter while.
            #[inline]
            pub fn reborrow(&mut self) -> $name<'_> {
                $name(self.0)
            }

            /// The header as it lies in the frame.
            #[inline]
            pub fn bytes(&self) -> &[u8; $length] {
                self.0
            }
        }

        impl<'a> $crate::Header<'a> for $name<'a> {
            #[inline(always)]
            fn take(bytes: &'a mut [u8]) -> Option<(Self, &'a mut [u8])> {
                let (header, rest) = bytes.split_first_chunk_mut()?;
                Some((Self(header), rest))
            }
        }
    };
}
pub(crate) use header;
