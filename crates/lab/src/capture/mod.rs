//! What was on the wire: tcpdump on one interface, and what its file tells.
//!
//! Any thread. A capture is listening when [`Capture::start`] returns, so nothing that is sent afterwards is
//! missed.

mod addresses;
mod packet;
mod pcap;

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

pub use addresses::{AddressRow, address_rows, address_table};
pub use packet::Packet;
pub(crate) use pcap::PcapStream;
pub use pcap::{Frame, read_pcap};

use crate::error::{Error, Result};
use crate::link::Endpoint;
use crate::process::{Process, Signal};
use crate::program;

/// How long tcpdump may take to open its socket, or to end.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A capture is complete when its file has not grown for this long; tcpdump writes each frame as it comes.
const QUIET_TIME: Duration = Duration::from_millis(100);

/// How long a capture on a busy interface is given to fall quiet. Then it is cut off.
const QUIET_LIMIT: Duration = Duration::from_secs(3);

/// tcpdump's kernel buffer: a thousand times what a lab's bursts need, and still nothing for a machine.
const BUFFER_KIB: &str = "16384";

/// Which frames of the interface to take. Frames that leave by a ring which bypasses the kernel's queues pass
/// no tap, so [`Direction::Out`] where an appliance runs shows what its *kernel* sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    Both,
    /// Received ones.
    In,
    /// Sent ones.
    Out,
}

/// A running capture. Dropped, it ends without a result.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
    log: PathBuf,
}

/// A capture that has ended.
#[derive(Clone, Debug)]
pub struct Captured {
    /// The frames, whole, in order.
    pub frames: Vec<Frame>,
    /// Frames that the kernel had no room for: above zero, an absent frame proves nothing.
    pub dropped_by_kernel: u64,
}

/// A captured frame whose checksum is wrong.
#[derive(Clone, Debug)]
pub struct WrongChecksum {
    /// Its place in the capture.
    pub index: usize,
    /// What is wrong.
    pub fault: wire::check::Fault,
    /// The frame.
    pub bytes: Vec<u8>,
}

impl Capture {
    /// Starts to capture on an interface. The name, unique in the testbed, becomes the file's.
    pub fn start(end: &Endpoint, name: &str, direction: Direction) -> Result<Self> {
        let namespace = end.namespace();
        let file = namespace.directory().join(format!("{name}.pcap"));
        let log = file.with_extension("log");
        if file.exists() {
            return Err(Error::unusable(name, "the testbed already has a capture with this name"));
        }
        let mut command = namespace.command("tcpdump")?;
        let direction = match direction {
            Direction::Both => "inout",
            Direction::In => "in",
            Direction::Out => "out",
        };
        command.args(["-n", "-U", "--immediate-mode", "-s", "0", "-B", BUFFER_KIB, "-Z", "root"]);
        command.args(["-Q", direction, "-i", end.interface(), "-w"]).arg(&file);
        let stderr = fs::File::create(&log).map_err(Error::system(format!("creating {}", log.display())))?;
        command.stdout(Stdio::null()).stderr(stderr);
        let capture = Self { process: namespace.spawn(command)?, file, log };
        let listens = program::wait_until(START_LIMIT, || {
            !capture.process.is_running() || capture.log_text().contains("listening on")
        });
        if listens && capture.process.is_running() {
            return Ok(capture);
        }
        let complaint = capture.log_text();
        Err(Error::TooSlow { waiting_for: format!("tcpdump to listen on {}: {complaint}", end.interface()) })
    }

    /// Waits for the interface to fall quiet, ends the capture and reads it.
    pub fn stop(self) -> Result<Captured> {
        let length = || fs::metadata(&self.file).map_or(0, |data| data.len());
        program::wait_until(QUIET_LIMIT, || {
            let before = length();
            std::thread::sleep(QUIET_TIME);
            length() == before
        });
        self.process.end_with(Signal::INT, START_LIMIT)?;
        let bytes =
            fs::read(&self.file).map_err(Error::system(format!("reading {}", self.file.display())))?;
        let frames = read_pcap(&bytes)?;
        Ok(Captured { frames, dropped_by_kernel: dropped(&self.log_text()) })
    }

    fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Captured {
    /// What the frames carry; those that are neither ARP nor IP, or contradict themselves, are left out.
    pub fn packets(&self) -> impl Iterator<Item = Packet> {
        self.frames.iter().filter_map(Frame::packet)
    }

    /// The packets from or to an address.
    pub fn packets_of(&self, address: IpAddr) -> Vec<Packet> {
        self.packets().filter(|packet| packet.involves(address)).collect()
    }

    /// Verifies every checksum of every frame. No frame at all is *not* right: such a check would show
    /// nothing.
    pub fn verify_checksums(&self) -> Result<usize, Vec<WrongChecksum>> {
        let verify = |(index, frame): (usize, &Frame)| {
            let fault = wire::check::frame_checksums(&frame.bytes).err()?;
            Some(WrongChecksum { index, fault, bytes: frame.bytes.clone() })
        };
        let wrong: Vec<_> = self.frames.iter().enumerate().filter_map(verify).collect();
        if wrong.is_empty() && !self.frames.is_empty() { Ok(self.frames.len()) } else { Err(wrong) }
    }
}

/// tcpdump's last words: `3 packets dropped by kernel`.
fn dropped(log: &str) -> u64 {
    let line = log.lines().find(|line| line.contains("dropped by kernel"));
    line.and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_read_from_the_last_words() {
        let log = "listening on eth0\n10 packets received by filter\n3 packets dropped by kernel\n";
        assert_eq!(dropped(log), 3);
        assert_eq!(dropped("listening on eth0\n"), 0);
    }

    #[test]
    fn a_wrong_checksum_is_found_and_an_empty_capture_is_not_right() {
        let mut bytes = wire::build::ethernet(wire::Mac([2, 0, 0, 0, 0, 1]), wire::Mac([2, 0, 0, 0, 0, 2]))
            .ipv4([198, 18, 0, 1].into(), [198, 18, 0, 10].into())
            .tcp(40_000, 80)
            .finish();
        let capture = |bytes: &[u8]| {
            let frames = vec![Frame { at: Duration::ZERO, bytes: bytes.to_vec() }];
            Captured { frames, dropped_by_kernel: 0 }
        };
        assert_eq!(capture(&bytes).verify_checksums().unwrap(), 1);
        bytes[34] ^= 1;
        assert_eq!(capture(&bytes).verify_checksums().unwrap_err()[0].index, 0);
        let empty = Captured { frames: Vec::new(), dropped_by_kernel: 0 };
        assert!(empty.verify_checksums().is_err());
    }
}
