//! Programs: instructions that the kernel has verified.

use super::Instruction;
use super::call::{self, ProgLoad};
use crate::Error;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Where a program can run, by the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum ProgramKind {
    /// On a socket: which frames it gets.
    SocketFilter = 1,
    /// At the ingress of an interface, after the taps.
    Classifier = 3,
    /// In the driver, or as early as the kernel can without its help.
    Xdp = 6,
}

/// Bytes kept of what the verifier says when it refuses; its last lines name the instruction.
const LOG_BYTES: usize = 64 * 1_024;
const LOG_LINES_SHOWN: usize = 4;

/// What the programs are under. They call no helper that wants GPL.
const LICENSE: &std::ffi::CStr = c"MIT OR Apache-2.0";

/// A loaded program; gone when its last owner (this value, a link, a socket) is gone.
#[derive(Debug)]
pub(crate) struct Program {
    fd: OwnedFd,
}

impl Program {
    /// Has the kernel verify and compile `instructions`.
    pub fn load(kind: ProgramKind, instructions: &[Instruction], name: &'static str) -> Result<Self, Error> {
        let mut attribute = ProgLoad {
            prog_type: kind as u32,
            insn_cnt: instructions.len() as u32,
            insns: instructions.as_ptr() as u64,
            license: LICENSE.as_ptr() as u64,
            prog_name: call::name(name),
            ..ProgLoad::default()
        };
        // SAFETY: `insns` and `license` point at a borrowed slice of `insn_cnt` instructions and a static C
        // string.
        let error = match unsafe { call::bpf_fd(call::PROG_LOAD, &mut attribute) } {
            Ok(fd) => return Ok(Self { fd }),
            Err(error) => error,
        };
        // EACCES is the verifier's word for a bad access; without a log it cannot be told from a missing
        // privilege.
        match refusal(&mut attribute) {
            Some(log) => Err(Error::Refused { program: name, log }),
            None => Err(Error::privileged(
                format!("loading the BPF program {name}"),
                "CAP_BPF and CAP_NET_ADMIN",
                error,
            )),
        }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Program {
    /// Runs the program over `count` frames that begin as `frame` and go where it says, in batches of `batch`;
    /// Linux 5.18. Blocks until all are sent or a signal comes. The kernel reuses the frames' memory: what the
    /// program or a receiver wrote into one is in a later one.
    pub fn run_live(&self, frame: &[u8], count: u32, batch: u32) -> io::Result<()> {
        const LIVE_FRAMES: u32 = 1 << 1;
        let mut attribute = call::ProgTestRun {
            prog_fd: self.fd.as_raw_fd() as u32,
            data_size_in: frame.len() as u32,
            data_in: frame.as_ptr() as u64,
            repeat: count,
            flags: LIVE_FRAMES,
            batch_size: batch,
            ..call::ProgTestRun::default()
        };
        // SAFETY: `data_in` points at `data_size_in` borrowed bytes, and no output buffer is given.
        unsafe { call::bpf(call::PROG_TEST_RUN, &mut attribute) }.map(|_| ())
    }
}

/// Loads once more with a log and returns its end; `None` when the verifier was not even asked.
fn refusal(attribute: &mut ProgLoad) -> Option<String> {
    let mut log = vec![0u8; LOG_BYTES];
    attribute.log_level = 1;
    attribute.log_size = LOG_BYTES as u32;
    attribute.log_buf = log.as_mut_ptr() as u64;
    // SAFETY: as in `load`, and `log_buf` points at `log_size` writable bytes.
    let _ = unsafe { call::bpf_fd(call::PROG_LOAD, attribute) };
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..end]);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let shown = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join(" | ");
    (!shown.is_empty()).then_some(shown)
}

#[cfg(test)]
impl Program {
    /// Runs the program once over `frame`, with no interface, and returns its verdict.
    pub fn test_run(&self, frame: &[u8]) -> std::io::Result<u32> {
        let mut attribute = call::ProgTestRun {
            prog_fd: self.fd.as_raw_fd() as u32,
            data_size_in: frame.len() as u32,
            data_in: frame.as_ptr() as u64,
            repeat: 1,
            ..call::ProgTestRun::default()
        };
        // SAFETY: `data_in` points at `data_size_in` borrowed bytes, and no output buffer is given.
        unsafe { call::bpf(call::PROG_TEST_RUN, &mut attribute) }?;
        Ok(attribute.retval)
    }
}
