//! An access switch in user space, for kernels without VLAN devices: untagged access ports, and one trunk
//! that carries them all with 802.1Q tags.
//!
//! A frame from an access port leaves by the trunk with the port's tag in front; a frame from the trunk loses
//! its tag and leaves by the access port of that VLAN. Every other frame is dropped and counted. Whatever
//! comes in by one interface leaves in its order: one thread per receiving interface, and nothing is held
//! back.
//!
//! A packet socket does not see the tag of a frame that it receives: the kernel takes it off before. tcpdump
//! puts it back, so frames from the trunk come through its pipe. Any thread may hold the handle; dropped, the
//! switch ends.

use std::io;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pnet::datalink::{DataLinkReceiver, DataLinkSender};

use super::packet_socket::{self, BUFFER_BYTES, LOOK_INTERVAL, send};
use crate::capture::PcapStream;
use crate::error::{Error, Result};
use crate::link::Endpoint;
use crate::process::Process;

/// Room in a socket that nobody reads: the kernel's least.
const UNREAD_BUFFER_BYTES: usize = 0;

/// tcpdump's buffer in the kernel, of the same size.
const CAPTURE_BUFFER_KIB: &str = "16384";

/// How long tcpdump may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Destination and source address, before which no tag stands.
const ADDRESSES_BYTES: usize = 12;

const TAG_BYTES: usize = 4;

/// The EtherType of an 802.1Q tag.
const TAG_ETHERTYPE: [u8; 2] = [0x81, 0x00];

/// The VLAN's number in a tag; priority and drop eligibility stand above it.
const VLAN_MASK: u16 = 0x0fff;

/// A running switch; see the module.
#[derive(Debug)]
pub struct VlanSwitch {
    ending: Arc<AtomicBool>,
    dropped: Arc<AtomicU64>,
    trunk: Option<Process>,
    threads: Vec<JoinHandle<()>>,
}

impl VlanSwitch {
    /// Starts it between a trunk and access ports, each with its VLAN; all in one namespace, where the kernel
    /// itself should be silent (see [`Endpoint::silence_ipv6`]). It switches from here on.
    pub fn start(trunk: &Endpoint, access: &[(u16, Endpoint)]) -> Result<Self> {
        let namespace = trunk.namespace();
        let mut switch =
            Self { ending: Arc::default(), dropped: Arc::default(), trunk: None, threads: Vec::new() };
        let mut ports = Vec::new();
        for (vlan, end) in access {
            let (to_access, from_access) = packet_socket::open(end, BUFFER_BYTES)?;
            // What comes in by the trunk is tcpdump's to take.
            let (to_trunk, _unread) = packet_socket::open(trunk, UNREAD_BUFFER_BYTES)?;
            ports.push((*vlan, to_access));
            let (ending, dropped, vlan) = (Arc::clone(&switch.ending), Arc::clone(&switch.dropped), *vlan);
            let work = move || tag_until(&ending, &dropped, vlan, from_access, to_trunk);
            switch.threads.push(thread::spawn(work));
        }
        let (reader, writer) = io::pipe().map_err(Error::system("making a pipe for tcpdump"))?;
        let mut command = namespace.command("tcpdump")?;
        command.args(["-n", "-U", "--immediate-mode", "-s", "0", "-B", CAPTURE_BUFFER_KIB, "-Z", "root"]);
        command.args(["-Q", "in", "-i", trunk.interface(), "-w", "-"]);
        command.stdout(writer).stderr(Stdio::null());
        switch.trunk = Some(namespace.spawn(command)?);
        let dropped = Arc::clone(&switch.dropped);
        let (said, listens) = mpsc::channel();
        switch.threads.push(thread::spawn(move || untag_to_the_end(&dropped, reader, ports, &said)));
        let waiting_for = format!("tcpdump to listen on {}", trunk.interface());
        listens.recv_timeout(START_LIMIT).map_err(|_| Error::TooSlow { waiting_for })?;
        Ok(switch)
    }

    /// Frames that no port wanted.
    pub fn dropped_frames(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for VlanSwitch {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        self.trunk = None;
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// From an access port to the trunk.
fn tag_until(
    ending: &AtomicBool,
    dropped: &AtomicU64,
    vlan: u16,
    mut from_access: Box<dyn DataLinkReceiver>,
    mut to_trunk: Box<dyn DataLinkSender>,
) {
    while !ending.load(Ordering::Relaxed) {
        match from_access.next() {
            Ok(frame) => count(dropped, push(frame, vlan).and_then(|frame| send(&mut *to_trunk, &frame))),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            // An interface that is down must not keep a CPU busy.
            Err(_) => thread::sleep(LOOK_INTERVAL),
        }
    }
}

/// From the trunk to the access ports, until tcpdump ends. Says when it listens, which its file's header
/// tells.
fn untag_to_the_end(
    dropped: &AtomicU64,
    from_trunk: io::PipeReader,
    mut ports: Vec<(u16, Box<dyn DataLinkSender>)>,
    said: &mpsc::Sender<()>,
) {
    let Ok(mut stream) = PcapStream::begin(io::BufReader::new(from_trunk)) else { return };
    // Nobody waits any longer when this fails.
    let _ = said.send(());
    while let Ok(Some(frame)) = stream.next_frame() {
        let done = pop(&frame.bytes).and_then(|(vlan, untagged)| {
            let (_, port) = ports.iter_mut().find(|(known, _)| *known == vlan)?;
            send(&mut **port, &untagged)
        });
        count(dropped, done);
    }
}

fn count(dropped: &AtomicU64, done: Option<()>) {
    if done.is_none() {
        dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// The frame with a tag of this VLAN in front of its EtherType; none of what is no frame.
fn push(frame: &[u8], vlan: u16) -> Option<Vec<u8>> {
    let (addresses, rest) = frame.split_at_checked(ADDRESSES_BYTES)?;
    let tag = [TAG_ETHERTYPE, (vlan & VLAN_MASK).to_be_bytes()].concat();
    Some([addresses, &tag, rest].concat())
}

/// The VLAN of a tagged frame, and the frame without the tag; none without an 802.1Q tag.
fn pop(frame: &[u8]) -> Option<(u16, Vec<u8>)> {
    let (addresses, rest) = frame.split_at_checked(ADDRESSES_BYTES)?;
    let (tag, rest) = rest.split_at_checked(TAG_BYTES)?;
    let [first, second, high, low] = *tag.first_chunk::<TAG_BYTES>()?;
    let vlan = u16::from_be_bytes([high, low]) & VLAN_MASK;
    ([first, second] == TAG_ETHERTYPE).then(|| (vlan, [addresses, rest].concat()))
}

#[cfg(test)]
mod tests {
    use wire::Mac;

    use super::*;

    #[test]
    fn a_tag_goes_on_and_off() {
        let builder = || wire::build::ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let (plain, tagged) = (builder().raw(0x88b5, b"hello"), builder().vlan(20).raw(0x88b5, b"hello"));
        assert_eq!(push(&plain, 20), Some(tagged.clone()));
        assert_eq!(pop(&tagged), Some((20, plain.clone())));
        assert_eq!(pop(&plain), None);
        assert_eq!(pop(&builder().service_vlan(20).raw(0x88b5, b"hello")), None);
        assert_eq!((push(&plain[..11], 20), pop(&tagged[..15])), (None, None));
    }
}
