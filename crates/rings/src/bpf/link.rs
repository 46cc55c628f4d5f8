//! Links: a program's hold on an interface, which ends with its descriptor. A killed process leaves nothing
//! behind.

use super::Program;
use super::call::{self, GetInfo, LinkCreate, LinkDetach};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Where on an interface a program is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// In the driver.
    XdpNative,
    /// In the kernel's own emulation of that, for drivers without.
    XdpGeneric,
    /// At ingress, behind the taps of AF_PACKET and before everything else (kernel 6.6 and later).
    TcxIngress,
}

impl Hook {
    /// Attach type and flags by the kernel's numbers.
    fn numbers(self) -> (u32, u32) {
        const XDP: u32 = 37;
        const TCX_INGRESS: u32 = 46;
        const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
        const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
        match self {
            Self::XdpNative => (XDP, XDP_FLAGS_DRV_MODE),
            Self::XdpGeneric => (XDP, XDP_FLAGS_SKB_MODE),
            Self::TcxIngress => (TCX_INGRESS, 0),
        }
    }
}

/// A program attached to an interface, until dropped.
#[derive(Debug)]
pub(crate) struct Link {
    fd: OwnedFd,
}

/// `struct bpf_link_info` up to the first word that depends on the kind of the link, which for both of ours
/// is the interface's index.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program_id: u32,
    padding: u32,
    interface_index: u32,
    attach_type: u32,
}

impl Drop for Link {
    /// Detaches in so many words: closing the descriptor does so only when no child that is just being
    /// started has still inherited it.
    fn drop(&mut self) {
        let mut attribute = LinkDetach { link_fd: self.fd.as_raw_fd() as u32 };
        // SAFETY: `LinkDetach` is the struct of this command and holds no address. It fails when the
        // interface has gone, which is as good.
        let _ = unsafe { call::bpf(call::LINK_DETACH, &mut attribute) };
    }
}

impl Link {
    /// Attaches `program` to the interface.
    pub fn attach(program: &Program, interface_index: u32, hook: Hook) -> io::Result<Self> {
        let (attach_type, flags) = hook.numbers();
        let mut attribute = LinkCreate {
            prog_fd: program.fd().as_raw_fd() as u32,
            target_ifindex: interface_index,
            attach_type,
            flags,
        };
        // SAFETY: `LinkCreate` is the struct of this command and holds no address.
        unsafe { call::bpf_fd(call::LINK_CREATE, &mut attribute) }.map(|fd| Self { fd })
    }

    /// The index of the interface that it holds on to; 0 when that was deleted.
    pub fn interface_index(&self) -> io::Result<u32> {
        let mut info = LinkInfo::default();
        let mut attribute = GetInfo {
            bpf_fd: self.fd.as_raw_fd() as u32,
            info_len: std::mem::size_of::<LinkInfo>() as u32,
            info: std::ptr::from_mut(&mut info) as u64,
        };
        // SAFETY: `info` is writable for `info_len` bytes and outlives the call.
        unsafe { call::bpf(call::OBJ_GET_INFO_BY_FD, &mut attribute) }?;
        Ok(info.interface_index)
    }
}
