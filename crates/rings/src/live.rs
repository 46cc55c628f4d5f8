//! Live frames: frames that the kernel makes and sends itself, by a program that is run over and over
//! (`BPF_PROG_TEST_RUN` with `BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18). For generators: no system call, no
//! copy and no descriptor for each frame.
//!
//! ```text
//!   LiveSender::send(count) ─▶ kernel: a page from its pool ─▶ program: headers, source, sequence, time,
//!                                             ▲                          checksums
//!                                             │                           │ redirect
//!                                             └── receiver lets it go ◀── interface
//! ```
//!
//! The program is assembled for one frame and writes every header byte anew, since a page comes back as its
//! last receiver left it. Frames take their numbers from a [`LiveSequence`], which several programs may
//! share; a number says the frame's flow. Times are `bpf_ktime_get_ns`, which is `CLOCK_MONOTONIC`.
//!
//! A program that is run for the first time is entered in the kernel's table of XDP programs, and taken out
//! again at the end of each run, which waits for a grace period both times: 24 ms for a call that lasts some
//! microseconds. A program that is attached somewhere stays in the table. So each is attached to a TAP device
//! of its own (`Keeper`), which is never switched on and goes with the sender, also after `kill -9`.
//!
//! The thread that sends may be any, but one at a time for a sequence, and it must be in the network namespace
//! of the interface. The kernel drops what the interface does not take and tells nobody but the interface's
//! own counters ([`crate::interface::transmitted`]); a veth takes frames only while its peer has an XDP
//! program or GRO. Refused is a frame longer than a page of the kernel's pool holds, and places outside it.

use crate::Error;
use crate::bpf::{
    Assembler, Comparison, Hook, Instruction, Label, Link, Map, MapKind, Program, ProgramKind, Register,
    Width,
};
use crate::tap::Device;
use Register::{R0, R1, R2, R3, R6, R7, R8, R9};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The longest frame: a 4 KiB page without what the kernel keeps in it.
pub const FRAME_BYTES_MAX: usize = 3_216;

/// Frames that the kernel makes before it hands them on; its own bound is 256.
const BATCH_FRAMES: u32 = 64;

/// Helper numbers (`enum bpf_func_id`).
const KTIME_GET_NS: i32 = 5;
const REDIRECT: i32 = 23;

const XDP_DROP: i32 = 1;

/// Context offsets: `struct xdp_md`.
const DATA: i16 = 0;
const DATA_END: i16 = 4;

/// A checksum of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveChecksum {
    /// Where it lies.
    pub at: usize,
    /// The folded sum of what it covers beside the fields that change.
    pub sum: u16,
}

/// A frame and what changes from one to the next. All numbers are written in network byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveFrame {
    /// The whole frame, without its check sequence.
    pub frame: Vec<u8>,
    /// So many bytes from the front are written anew each time; the others stay as a receiver left them.
    pub headers_bytes: usize,
    /// Frame number `n` is of flow `n mod flows`; at least 1.
    pub flows: u32,
    /// Flow `f` has the address `address_first + f mod addresses`, at least 1, and the port
    /// `port_first + f div addresses`.
    pub addresses: u32,
    /// The low 32 bits of the first source address.
    pub address_first: u32,
    /// The first source port.
    pub port_first: u16,
    /// Where the low 32 bits of the source address lie.
    pub address_at: usize,
    /// Where the source port lies.
    pub port_at: usize,
    /// Where the low 32 bits of the frame's number lie.
    pub sequence_at: usize,
    /// Where the time in nanoseconds lies, 64 bits.
    pub time_at: Option<usize>,
    /// The network header's, which covers the address.
    pub network_checksum: Option<LiveChecksum>,
    /// The transport header's, which covers all fields that change.
    pub transport_checksum: LiveChecksum,
    /// Whether a transport checksum of zero is written as all ones (UDP, RFC 768).
    pub zero_is_ones: bool,
}

/// Numbers for frames, from 0.
#[derive(Clone, Debug)]
pub struct LiveSequence {
    map: Arc<Map>,
}

impl LiveSequence {
    /// A sequence that has given out no number.
    pub fn new() -> Result<Self, Error> {
        Ok(Self { map: Arc::new(Map::new(MapKind::Array, 4, 8, 1, "live_sequence")?) })
    }

    /// How many numbers were given out.
    pub fn count(&self) -> Result<u64, Error> {
        self.map.number(0).map_err(|error| Error::from_io("reading how many live frames were made", error))
    }
}

/// A program that makes and sends frames. Dropping it ends it.
#[derive(Debug)]
pub struct LiveSender {
    program: Program,
    frame: Vec<u8>,
    _keeper: Keeper,
}

/// Keeps a program in the kernel's table between two runs; see the module.
#[derive(Debug)]
struct Keeper {
    _link: Link,
    _device: Device,
}

impl Keeper {
    fn new(program: &Program) -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // At most ten and four digits, so that the name is not cut.
        let number = NEXT.fetch_add(1, Ordering::Relaxed) % 10_000;
        let device = Device::make(&format!("j{}-{number}", std::process::id()))?;
        let link = Link::attach(program, device.index()?, Hook::XdpNative).map_err(|error| {
            Error::from_io("keeping the program of live frames in the kernel's table", error)
        })?;
        Ok(Self { _link: link, _device: device })
    }
}

impl LiveSender {
    /// A sender of such frames out of the interface of this index.
    pub fn new(interface_index: u32, plan: &LiveFrame, sequence: &LiveSequence) -> Result<Self, Error> {
        plan.check()?;
        let instructions = assemble(interface_index, plan, &sequence.map);
        let program = Program::load(ProgramKind::Xdp, &instructions, "live_frames")?;
        let keeper = Keeper::new(&program)?;
        Ok(Self { program, frame: plan.frame.clone(), _keeper: keeper })
    }

    /// Makes and sends `count` frames, at least 1. Blocks meanwhile; a signal may end it early, and so may a
    /// receiver that wrote where the kernel keeps its own words before a frame. The sequence tells.
    pub fn send(&self, count: u32) -> Result<(), Error> {
        match self.program.run_live(&self.frame, count.max(1), BATCH_FRAMES) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let what = "sending live frames".to_owned();
                match error.raw_os_error() {
                    // `xdp_update_frame_from_buff`; the next run has pages of its own.
                    Some(libc::ENOSPC) => Ok(()),
                    Some(libc::EINVAL) => Err(Error::Unsupported { what, needs: "Linux 5.18" }),
                    _ => Err(Error::privileged(what, "CAP_BPF and CAP_NET_ADMIN", error)),
                }
            }
            _ => Ok(()),
        }
    }
}

impl LiveFrame {
    /// Whether everything lies inside the frame.
    fn check(&self) -> Result<(), Error> {
        let checksums = self.network_checksum.iter().chain([&self.transport_checksum]);
        let ends = [(self.address_at, 4), (self.port_at, 2), (self.sequence_at, 4), (self.headers_bytes, 0)];
        let ends = ends.into_iter().chain(self.time_at.map(|at| (at, 8)));
        let ends = ends.chain(checksums.map(|checksum| (checksum.at, 2)));
        let farthest = ends.map(|(at, bytes)| at.saturating_add(bytes)).max().unwrap_or(0);
        let bounds = [
            ("bytes of a live frame", self.frame.len(), FRAME_BYTES_MAX, "send shorter frames"),
            ("end of what changes in a live frame", farthest, self.frame.len(), "it must lie in the frame"),
            ("flows of live frames", self.flows as usize, i32::MAX as usize, "send fewer"),
            ("addresses of live frames", self.addresses as usize, i32::MAX as usize, "send fewer"),
        ];
        for (what, value, bound, advice) in bounds {
            if value > bound {
                let (what, value, bound) = (what.to_owned(), value as u64, bound as u64);
                return Err(Error::OutOfBounds { what, value, bound, advice });
            }
        }
        Ok(())
    }
}

/// `R6` context, then the network checksum; `R7` the frame, `R8` the transport checksum, `R9` the number.
fn assemble(interface_index: u32, plan: &LiveFrame, sequence: &Map) -> Vec<Instruction> {
    let mut assembler = Assembler::default();
    let drop = assembler.label();
    assembler.copy(R6, R1);
    frame_start(&mut assembler, plan.frame.len(), drop);
    headers(&mut assembler, &plan.frame[..plan.headers_bytes]);
    number(&mut assembler, plan, sequence);
    if let Some(at) = plan.time_at {
        time(&mut assembler, at);
    }
    source(&mut assembler, plan);
    if let Some(checksum) = plan.network_checksum {
        store_checksum(&mut assembler, R6, checksum.at, false);
    }
    store_checksum(&mut assembler, R8, plan.transport_checksum.at, plan.zero_is_ones);
    assembler.set(R1, interface_index as i32);
    assembler.set(R2, 0);
    assembler.call(REDIRECT);
    assembler.exit();
    assembler.bind(drop);
    assembler.set(R0, XDP_DROP);
    assembler.exit();
    assembler.finish()
}

/// Proves to the verifier that the frame is as long as it is.
fn frame_start(assembler: &mut Assembler, frame_bytes: usize, drop: Label) {
    assembler.load(Width::Word, R7, R6, DATA);
    assembler.load(Width::Word, R8, R6, DATA_END);
    assembler.copy(R1, R7);
    assembler.add(R1, frame_bytes as i32);
    assembler.jump_if_above(R1, R8, drop);
}

fn headers(assembler: &mut Assembler, bytes: &[u8]) {
    let (words, rest) = bytes.as_chunks::<4>();
    for (index, word) in words.iter().enumerate() {
        assembler.store_value(Width::Word, R7, (index * 4) as i16, i32::from_ne_bytes(*word));
    }
    for (index, byte) in rest.iter().enumerate() {
        assembler.store_value(Width::Byte, R7, (words.len() * 4 + index) as i16, i32::from(*byte));
    }
}

/// Takes the next number into `R9`. One thread sends at a time, so a plain addition loses nothing.
fn number(assembler: &mut Assembler, plan: &LiveFrame, sequence: &Map) {
    assembler.map_value(R1, sequence);
    assembler.load(Width::Double, R9, R1, 0);
    assembler.copy(R2, R9);
    assembler.add(R2, 1);
    assembler.store(Width::Double, R1, 0, R2);
    assembler.set(R8, i32::from(plan.transport_checksum.sum));
    assembler.copy_low(R2, R9);
    assembler.add_register(R8, R2);
    assembler.swap_network(Width::Word, R2);
    assembler.store(Width::Word, R7, plan.sequence_at as i16, R2);
}

/// The halves of the time are added as numbers of 32 bits: their carries fold into the same 16 bits
/// (RFC 1071, section 2.B).
fn time(assembler: &mut Assembler, at: usize) {
    assembler.call(KTIME_GET_NS);
    assembler.copy(R1, R0);
    assembler.shift_right(R1, 32);
    assembler.add_register(R8, R1);
    assembler.copy_low(R1, R0);
    assembler.add_register(R8, R1);
    assembler.swap_network(Width::Double, R0);
    assembler.store(Width::Double, R7, at as i16, R0);
}

fn source(assembler: &mut Assembler, plan: &LiveFrame) {
    assembler.copy(R2, R9);
    assembler.modulo(R2, plan.flows as i32);
    assembler.copy(R3, R2);
    assembler.divide(R3, plan.addresses as i32);
    assembler.add(R3, i32::from(plan.port_first));
    assembler.add_register(R8, R3);
    assembler.swap_network(Width::Half, R3);
    assembler.store(Width::Half, R7, plan.port_at as i16, R3);
    assembler.modulo(R2, plan.addresses as i32);
    assembler.add_low(R2, plan.address_first);
    assembler.add_register(R8, R2);
    assembler.set(R6, plan.network_checksum.map_or(0, |checksum| i32::from(checksum.sum)));
    assembler.add_register(R6, R2);
    assembler.swap_network(Width::Word, R2);
    assembler.store(Width::Word, R7, plan.address_at as i16, R2);
}

/// Folds a sum to 16 bits and stores its complement.
fn store_checksum(assembler: &mut Assembler, sum: Register, at: usize, zero_is_ones: bool) {
    // Once from 64 to 33 bits, twice to 17, once to 16.
    for bits in [32, 16, 16, 16] {
        assembler.copy(R1, sum);
        assembler.shift_right(R1, bits);
        match bits {
            32 => assembler.copy_low(sum, sum),
            _ => assembler.and(sum, 0xffff),
        }
        assembler.add_register(sum, R1);
    }
    assembler.xor(sum, 0xffff);
    if zero_is_ones {
        let other = assembler.label();
        assembler.jump_if(sum, Comparison::NotEqual, 0, other);
        assembler.set(sum, 0xffff);
        assembler.bind(other);
    }
    assembler.swap_network(Width::Half, sum);
    assembler.store(Width::Half, R7, at as i16, sum);
}
