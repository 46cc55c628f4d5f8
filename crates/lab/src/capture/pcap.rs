//! The classic capture file format, as tcpdump writes it: both byte orders, microseconds or nanoseconds,
//! Ethernet only.

use std::io::Read;
use std::time::Duration;

use super::packet::Packet;
use crate::error::{Error, Result};

const FILE_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;
const MICROSECONDS_MAGIC: u32 = 0xa1b2_c3d4;
const NANOSECONDS_MAGIC: u32 = 0xa1b2_3c4d;
const LINK_TYPE_ETHERNET: u32 = 1;

/// One captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Since 1970.
    pub at: Duration,
    /// From the Ethernet header on, without the frame check sequence.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// What it carries; none if that is neither ARP nor IP, or contradicts itself.
    pub fn packet(&self) -> Option<Packet> {
        Packet::of(&self.bytes)
    }

    /// What a tunnel's packet carries inside, with this frame's MAC addresses; none of any other frame.
    pub fn inner_packet(&self) -> Option<Packet> {
        Packet::inside(&self.bytes)
    }
}

/// Reads a capture file. A last record that was cut off is left out; a frame that was captured in part is
/// refused.
pub fn read_pcap(bytes: &[u8]) -> Result<Vec<Frame>> {
    let mut stream = PcapStream::begin(bytes)?;
    let mut frames = Vec::new();
    while let Some(frame) = stream.next_frame()? {
        frames.push(frame);
    }
    Ok(frames)
}

/// A capture that is read while it is written.
#[derive(Debug)]
pub(crate) struct PcapStream<R> {
    reader: R,
    number: fn([u8; 4]) -> u32,
    nanoseconds: bool,
}

impl<R: Read> PcapStream<R> {
    /// Waits for the header, which a writer sends as soon as it captures.
    pub(crate) fn begin(mut reader: R) -> Result<Self> {
        let mut header = [0; FILE_HEADER_BYTES];
        reader.read_exact(&mut header).map_err(|_| refuse("it is shorter than its header"))?;
        let magic = word(&header, 0, u32::from_le_bytes);
        let (number, nanoseconds): (fn([u8; 4]) -> u32, _) = match (magic, magic.swap_bytes()) {
            (MICROSECONDS_MAGIC, _) => (u32::from_le_bytes, false),
            (NANOSECONDS_MAGIC, _) => (u32::from_le_bytes, true),
            (_, MICROSECONDS_MAGIC) => (u32::from_be_bytes, false),
            (_, NANOSECONDS_MAGIC) => (u32::from_be_bytes, true),
            _ => return Err(refuse("it does not begin as a classic pcap file does")),
        };
        if word(&header, 20, number) != LINK_TYPE_ETHERNET {
            return Err(refuse("its frames are not Ethernet frames"));
        }
        Ok(Self { reader, number, nanoseconds })
    }

    /// Waits for the next frame; none at the end, also in the middle of a record.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>> {
        let mut record = [0; RECORD_HEADER_BYTES];
        if self.reader.read_exact(&mut record).is_err() {
            return Ok(None);
        }
        let [seconds, fraction, captured, original] = [0, 4, 8, 12].map(|at| word(&record, at, self.number));
        if captured != original {
            return Err(refuse("it holds a frame that was captured in part"));
        }
        let mut bytes = Vec::new();
        let read = (&mut self.reader).take(captured.into()).read_to_end(&mut bytes);
        if read.ok() != Some(captured as usize) {
            return Ok(None);
        }
        let fraction_ns = if self.nanoseconds { u64::from(fraction) } else { u64::from(fraction) * 1_000 };
        let at = Duration::from_secs(seconds.into()) + Duration::from_nanos(fraction_ns);
        Ok(Some(Frame { at, bytes }))
    }
}

fn refuse(reason: &'static str) -> Error {
    Error::unusable("capture file", reason)
}

/// The word at an offset of a header whose length was proven; beyond it, zero.
fn word(header: &[u8], offset: usize, number: fn([u8; 4]) -> u32) -> u32 {
    header.get(offset..).and_then(|bytes| bytes.first_chunk().copied()).map_or(0, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(magic: u32, number: fn(u32) -> [u8; 4], link_type: u32, records: &[[u32; 4]]) -> Vec<u8> {
        let header = [magic, 0x0002_0004, 0, 0, 65_535, link_type];
        let mut bytes: Vec<u8> = header.into_iter().flat_map(number).collect();
        for record in records {
            bytes.extend(record.iter().copied().flat_map(number));
            bytes.extend(vec![0xab; record[2] as usize]);
        }
        bytes
    }

    #[test]
    fn both_byte_orders_and_both_clocks() {
        let records = [[5, 7, 60, 60], [6, 0, 14, 14]];
        for number in [u32::to_le_bytes as fn(u32) -> [u8; 4], u32::to_be_bytes] {
            for (magic, fraction_ns) in [(MICROSECONDS_MAGIC, 7_000), (NANOSECONDS_MAGIC, 7)] {
                let frames = read_pcap(&file(magic, number, 1, &records)).unwrap();
                assert_eq!(frames.len(), 2);
                assert_eq!(frames[0].at, Duration::new(5, fraction_ns));
                assert_eq!(frames[0].bytes, [0xab; 60]);
                assert_eq!(frames[1].bytes.len(), 14);
            }
        }
    }

    #[test]
    fn a_record_that_is_cut_off_is_left_out() {
        let whole = file(MICROSECONDS_MAGIC, u32::to_le_bytes, 1, &[[5, 7, 60, 60], [6, 0, 14, 14]]);
        for cut in [1, 14, 15, 29] {
            assert_eq!(read_pcap(&whole[..whole.len() - cut]).unwrap().len(), 1, "{cut}");
        }
        assert!(read_pcap(&whole[..23]).is_err());
    }

    #[test]
    fn other_files_are_refused() {
        assert!(read_pcap(&file(0x0a0d_0d0a, u32::to_le_bytes, 1, &[])).is_err(), "pcapng");
        assert!(read_pcap(&file(MICROSECONDS_MAGIC, u32::to_le_bytes, 113, &[])).is_err(), "cooked");
        assert!(
            read_pcap(&file(MICROSECONDS_MAGIC, u32::to_le_bytes, 1, &[[0, 0, 60, 1500]])).is_err(),
            "part"
        );
    }
}
