//! The `bpf(2)` system call and its attributes, one struct per command.
//!
//! The kernel takes the size of the attribute with each call and reads a shorter one as if zeros followed, so
//! each struct ends with the last field that is used (`union bpf_attr` in `linux/bpf.h`).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

pub(super) const MAP_CREATE: u32 = 0;
pub(super) const MAP_LOOKUP_ELEM: u32 = 1;
pub(super) const MAP_UPDATE_ELEM: u32 = 2;
pub(super) const MAP_DELETE_ELEM: u32 = 3;
pub(super) const PROG_LOAD: u32 = 5;
pub(super) const PROG_TEST_RUN: u32 = 10;
pub(super) const OBJ_GET_INFO_BY_FD: u32 = 15;
pub(super) const LINK_CREATE: u32 = 28;
pub(super) const LINK_DETACH: u32 = 34;

/// Names of maps and programs, as other tools list them: at most 15 bytes and a zero.
pub(super) const NAME_BYTES: usize = 16;

#[repr(C)]
#[derive(Default)]
pub(super) struct MapCreate {
    pub map_type: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub map_flags: u32,
    pub inner_map_fd: u32,
    pub numa_node: u32,
    pub map_name: [u8; NAME_BYTES],
}

#[repr(C)]
#[derive(Default)]
pub(super) struct MapElement {
    pub map_fd: u32,
    pub padding: u32,
    pub key: u64,
    pub value: u64,
    pub flags: u64,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct ProgLoad {
    pub prog_type: u32,
    pub insn_cnt: u32,
    pub insns: u64,
    pub license: u64,
    pub log_level: u32,
    pub log_size: u32,
    pub log_buf: u64,
    pub kern_version: u32,
    pub prog_flags: u32,
    pub prog_name: [u8; NAME_BYTES],
    pub prog_ifindex: u32,
    pub expected_attach_type: u32,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct ProgTestRun {
    pub prog_fd: u32,
    pub retval: u32,
    pub data_size_in: u32,
    pub data_size_out: u32,
    pub data_in: u64,
    pub data_out: u64,
    pub repeat: u32,
    pub duration: u32,
    pub ctx_size_in: u32,
    pub ctx_size_out: u32,
    pub ctx_in: u64,
    pub ctx_out: u64,
    pub flags: u32,
    pub cpu: u32,
    pub batch_size: u32,
    pub padding: u32,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct GetInfo {
    pub bpf_fd: u32,
    pub info_len: u32,
    pub info: u64,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct LinkCreate {
    pub prog_fd: u32,
    pub target_ifindex: u32,
    pub attach_type: u32,
    pub flags: u32,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct LinkDetach {
    pub link_fd: u32,
}

/// One `bpf(2)` call.
///
/// # Safety
///
/// `attribute` must be the struct of `command`, and every address in it must stay readable (or writable,
/// where the kernel writes) for the length that it states, until the call returns.
pub(super) unsafe fn bpf<T>(command: u32, attribute: &mut T) -> io::Result<RawFd> {
    let bytes = std::mem::size_of::<T>();
    // SAFETY: `attribute` is a live, exclusively borrowed struct of exactly `bytes` bytes; the addresses
    // inside are the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attribute), bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as RawFd) }
}

/// As [`bpf`], for the commands that return a new file descriptor.
///
/// # Safety
///
/// As for [`bpf`]; `command` must be one that creates a descriptor.
pub(super) unsafe fn bpf_fd<T>(command: u32, attribute: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise is the same.
    let fd = unsafe { bpf(command, attribute) }?;
    // SAFETY: the kernel has just made this descriptor for us, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `name` as the kernel wants it; longer names are cut.
pub(super) fn name(name: &str) -> [u8; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    let length = name.len().min(NAME_BYTES - 1);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}
