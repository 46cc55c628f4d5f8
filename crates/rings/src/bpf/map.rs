//! Maps: memory that programs read and the control thread writes, at any time.

use super::call::{self, MapCreate, MapElement};
use crate::Error;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// CPUs that a kernel can be built for at the most (`NR_CPUS` of the largest configuration). A per-CPU read
/// returns one value for each possible CPU; room for this many costs 64 KiB once per read and spares trusting
/// a number from /sys.
const CPUS_MAX: usize = 8_192;

/// The kinds of maps that steering uses, by the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum MapKind {
    /// Any key to a value.
    Hash = 1,
    /// Index to a value; programs reach the first without a lookup.
    Array = 2,
    /// Index to a value of each CPU's own.
    PerCpuArray = 6,
    /// Queue to AF_XDP socket.
    Sockets = 17,
}

/// A map; gone when its last owner (this value, or a loaded program) is gone.
#[derive(Debug)]
pub(crate) struct Map {
    fd: OwnedFd,
    kind: MapKind,
    key_bytes: usize,
    value_bytes: usize,
}

impl Map {
    /// A new, empty map.
    pub fn new(
        kind: MapKind,
        key_bytes: usize,
        value_bytes: usize,
        entries: u32,
        name: &str,
    ) -> Result<Self, Error> {
        let mut attribute = MapCreate {
            map_type: kind as u32,
            key_size: key_bytes as u32,
            value_size: value_bytes as u32,
            max_entries: entries,
            map_name: call::name(name),
            ..MapCreate::default()
        };
        // SAFETY: `MapCreate` is the struct of this command and holds no address.
        let fd = unsafe { call::bpf_fd(call::MAP_CREATE, &mut attribute) }.map_err(|error| {
            Error::privileged(
                format!("making the BPF map {name} of {entries} entries"),
                "CAP_BPF and CAP_NET_ADMIN",
                error,
            )
        })?;
        Ok(Self { fd, kind, key_bytes, value_bytes })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn element(&self, key: &[u8], value: u64) -> MapElement {
        assert_eq!(key.len(), self.key_bytes, "a key of another length than the map's");
        let fd = self.fd.as_raw_fd() as u32;
        MapElement { map_fd: fd, key: key.as_ptr() as u64, value, ..MapElement::default() }
    }

    /// Sets the value of `key`. In a hash a program sees the old value or the new one; an array's is written
    /// in place.
    pub fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        assert_eq!(value.len(), self.value_bytes, "a value of another length than the map's");
        let mut attribute = self.element(key, value.as_ptr() as u64);
        // SAFETY: key and value have the lengths that the map was made with, and are borrowed over the call.
        // No map of kind `PerCpuArray`, whose values would be longer, is ever written.
        unsafe { call::bpf(call::MAP_UPDATE_ELEM, &mut attribute) }.map(|_| ())
    }

    /// Forgets `key`; that it was not there is no error.
    pub fn delete(&self, key: &[u8]) -> io::Result<()> {
        let mut attribute = self.element(key, 0);
        // SAFETY: the key has the length that the map was made with and is borrowed over the call.
        match unsafe { call::bpf(call::MAP_DELETE_ELEM, &mut attribute) } {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ => Ok(()),
        }
    }

    /// The eight bytes at `index` of an array of such values.
    pub fn number(&self, index: u32) -> io::Result<u64> {
        assert!(self.kind == MapKind::Array && self.value_bytes == 8, "not an array of eight-byte values");
        let mut value = 0u64;
        let key = index.to_ne_bytes();
        let mut attribute = self.element(&key, std::ptr::from_mut(&mut value) as u64);
        // SAFETY: the kernel writes the eight bytes of one value.
        unsafe { call::bpf(call::MAP_LOOKUP_ELEM, &mut attribute) }?;
        Ok(value)
    }

    /// The sum over all CPUs of counter `index`, in a per-CPU array of eight-byte values.
    pub fn sum_over_cpus(&self, index: u32) -> io::Result<u64> {
        assert!(self.kind == MapKind::PerCpuArray && self.value_bytes == 8, "not a map of per-CPU counters");
        let mut values = vec![0u64; CPUS_MAX];
        let key = index.to_ne_bytes();
        let mut attribute = self.element(&key, values.as_mut_ptr() as u64);
        // SAFETY: the kernel writes eight bytes for each possible CPU, and `values` has room for the largest
        // kernel.
        unsafe { call::bpf(call::MAP_LOOKUP_ELEM, &mut attribute) }?;
        Ok(values.iter().fold(0, |sum, value| sum.wrapping_add(*value)))
    }
}
