//! Frame sizes: one, or the mix of the Internet.
//!
//! A size counts what RFC 2544 counts: the whole Ethernet frame with its check sequence. Rings carry frames
//! without it, so a frame of 64 is one of 60 bytes in a buffer.

/// Bytes of the frame check sequence, which hardware adds.
pub const FCS_BYTES: usize = 4;

/// The shortest frame of Ethernet.
pub const FRAME_BYTES_MIN: usize = 64;

/// The longest that an MTU of 1500 carries untagged.
pub const FRAME_BYTES_MAX: usize = 1_518;

/// The three sizes of the mix.
pub const IMIX_BYTES: [usize; 3] = [64, 594, 1_518];

/// The order of the mix: seven of the first size, four of the second, one of the third in twelve frames,
/// spread out.
pub const IMIX_ORDER: [usize; 12] = [0, 1, 0, 0, 1, 0, 0, 1, 0, 1, 0, 2];

/// Which sizes the frames of a stream have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// All the same, check sequence included.
    Fixed(usize),
    /// [`IMIX_BYTES`] as 7 : 4 : 1, of which the first may have been raised to the shortest that holds a
    /// stamp.
    Mix {
        /// The first size.
        shortest: usize,
    },
}

impl Sizes {
    /// The sizes that occur, each once.
    pub fn list(self) -> Vec<usize> {
        match self {
            Self::Fixed(bytes) => vec![bytes],
            Self::Mix { shortest } => vec![shortest, IMIX_BYTES[1], IMIX_BYTES[2]],
        }
    }

    /// Which of [`Sizes::list`] the frame of this number has.
    #[inline]
    pub fn of_frame(self, number: u64) -> usize {
        match self {
            Self::Fixed(_) => 0,
            Self::Mix { .. } => IMIX_ORDER[(number % IMIX_ORDER.len() as u64) as usize],
        }
    }

    /// The mean over many frames.
    pub fn mean_bytes(self) -> f64 {
        match self {
            Self::Fixed(bytes) => bytes as f64,
            Self::Mix { .. } => {
                let sizes = self.list();
                let total: usize = IMIX_ORDER.iter().map(|&which| sizes[which]).sum();
                total as f64 / IMIX_ORDER.len() as f64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_is_seven_to_four_to_one() {
        let sizes = Sizes::Mix { shortest: 64 };
        let mut counts = [0; 3];
        (0..1_200).for_each(|number| counts[sizes.of_frame(number)] += 1);
        assert_eq!(counts, [700, 400, 100]);
        assert!((sizes.mean_bytes() - 361.83).abs() < 0.01);
    }
}
