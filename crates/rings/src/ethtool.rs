//! Offloads and channels of an interface, by the ethtool ioctl.
//!
//! For the control thread, at start and at the end. A driver that cannot do something says so in a message
//! and work goes on: nothing here is worth ending for.

use crate::Error;
use crate::interface::Control;
use std::io;

// linux/ethtool.h
const GET_SETTINGS: u32 = 0x01;
const GET_DRIVER_INFORMATION: u32 = 0x03;
const GET_STRINGS: u32 = 0x1b;
const GET_RECEIVE_RINGS: u32 = 0x2d;
const GET_STRING_SET_INFORMATION: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
const SET_FEATURES: u32 = 0x3b;
const GET_CHANNELS: u32 = 0x3c;
const SET_CHANNELS: u32 = 0x3d;
const STRING_SET_FEATURES: u32 = 4;

/// Bytes of one name in a string set.
const STRING_BYTES: usize = 32;

/// Features of an interface at the most. Linux has 64 today; the bound is for the memory that the kernel's
/// own count asks for.
const FEATURES_MAX: usize = 1_024;

/// Features of the receiving side that a balancer must not have: merged segments are longer than any link
/// carries, and a stripped tag is lost to AF_XDP.
pub const RECEIVE_OFFLOADS: [&str; 7] = [
    "rx-gro",
    "rx-gro-hw",
    "rx-gro-list",
    "rx-udp-gro-forwarding",
    "rx-lro",
    "rx-vlan-hw-parse",
    "rx-vlan-stag-hw-parse",
];

/// Features of a sending peer on the same host that leave checksums and segmentation to hardware which a veth
/// pair has not.
pub const TRANSMIT_OFFLOADS: [&str; 9] = [
    "tx-checksum-ip-generic",
    "tx-checksum-ipv4",
    "tx-checksum-ipv6",
    "tx-checksum-sctp",
    "tx-tcp-segmentation",
    "tx-tcp-ecn-segmentation",
    "tx-tcp6-segmentation",
    "tx-udp-segmentation",
    "tx-generic-segmentation",
];

/// One switch of an interface, under its `ethtool --show-features` name of the kernel's own kind ("rx-gro").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// The kernel's name for it.
    pub name: String,
    /// Whether it is on.
    pub active: bool,
    /// Whether the driver lets it be changed.
    pub changeable: bool,
}

/// All features of `interface`.
pub fn features(interface: &str) -> Result<Vec<Feature>, Error> {
    read_features(&Control::open(interface)?)
}

/// Switches one feature of `interface` on or off.
pub fn set_feature(interface: &str, name: &str, active: bool) -> Result<(), Error> {
    let control = Control::open(interface)?;
    let features = read_features(&control)?;
    let unknown = || Error::Unsupported {
        what: format!("{interface}: {name}"),
        needs: "a driver and a kernel that have this feature",
    };
    let position = features.iter().position(|feature| feature.name == name).ok_or_else(unknown)?;
    write_features(&control, features.len(), &[(position, active)])
}

/// Offloads that were switched off, to be switched on again by [`ReceiveOffloads::restore`] or when this is
/// dropped.
///
/// It keeps a socket of the interface's own network namespace, so that it may be dropped by any thread.
#[derive(Debug)]
pub struct ReceiveOffloads {
    control: Control,
    feature_count: usize,
    switched_off: Vec<(usize, String)>,
    kept: Vec<String>,
}

impl ReceiveOffloads {
    /// Switches [`RECEIVE_OFFLOADS`] off where they are on.
    pub fn switch_off(interface: &str) -> Result<Self, Error> {
        Self::switch_off_these(interface, &RECEIVE_OFFLOADS)
    }

    /// Switches the named features off where they are on.
    pub fn switch_off_these(interface: &str, names: &[&str]) -> Result<Self, Error> {
        let control = Control::open(interface)?;
        let before = read_features(&control)?;
        let wanted: Vec<usize> = (0..before.len())
            .filter(|&position| before[position].active && names.contains(&before[position].name.as_str()))
            .collect();
        for &position in &wanted {
            // One by one: the kernel refuses a whole set for one switch that it cannot move. Whether it moved
            // is read back below, since a refusal is not always said.
            let _ = write_features(&control, before.len(), &[(position, false)]);
        }
        let after = read_features(&control)?;
        let name = |position: usize| before[position].name.clone();
        let is_off = |&&position: &&usize| after.get(position).is_some_and(|feature| !feature.active);
        let switched_off = wanted.iter().filter(is_off).map(|&position| (position, name(position))).collect();
        let kept = wanted.iter().filter(|position| !is_off(position)).map(|&at| name(at)).collect();
        Ok(Self { control, feature_count: before.len(), switched_off, kept })
    }

    /// The names of what was switched off.
    pub fn switched_off(&self) -> impl Iterator<Item = &str> {
        self.switched_off.iter().map(|(_, name)| name.as_str())
    }

    /// One message for each offload that stays on in spite of us.
    pub fn warnings(&self) -> Vec<String> {
        let interface = self.control.name();
        let warn = |name| {
            format!(
                "{interface}: {name} is on and the driver does not switch it off; frames that it merges are \
                 dropped as oversize, tags that it strips are lost to AF_XDP"
            )
        };
        self.kept.iter().map(warn).collect()
    }

    /// Switches on again what was switched off. An interface that is gone needs nothing.
    pub fn restore(mut self) -> Result<(), Error> {
        match self.switch_on() {
            Err(Error::NoInterface { .. }) => Ok(()),
            outcome => outcome,
        }
    }

    fn switch_on(&mut self) -> Result<(), Error> {
        let mut outcome = Ok(());
        for (position, _) in std::mem::take(&mut self.switched_off) {
            outcome = outcome.and(write_features(&self.control, self.feature_count, &[(position, true)]));
        }
        outcome
    }
}

impl Drop for ReceiveOffloads {
    fn drop(&mut self) {
        // Nobody is left to tell; `restore` is for those who want to know.
        let _ = self.switch_on();
    }
}

/// How many queues an interface has, in use and at the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// Receive-only queues in use.
    pub receive: u32,
    /// Transmit-only queues in use.
    pub transmit: u32,
    /// Queue pairs in use.
    pub combined: u32,
    /// Receive-only queues at the most.
    pub receive_max: u32,
    /// Transmit-only queues at the most.
    pub transmit_max: u32,
    /// Queue pairs at the most.
    pub combined_max: u32,
}

impl Channels {
    /// Queues on which frames arrive.
    pub fn receive_queues(&self) -> u32 {
        self.receive + self.combined
    }
}

/// The channels of `interface`.
pub fn channels(interface: &str) -> Result<Channels, Error> {
    let control = Control::open(interface)?;
    let words = read_channels(&control).map_err(|source| control.error("reading its channels", source))?;
    Ok(channels_of(&words))
}

/// Raises the channels of `interface` until frames arrive on `queues` queues, or on as many as it has, and
/// gives back what it has then. Never lowers any.
pub fn raise_channels(interface: &str, queues: u32) -> Result<Channels, Error> {
    let control = Control::open(interface)?;
    let mut words =
        read_channels(&control).map_err(|source| control.error("reading its channels", source))?;
    let now = channels_of(&words);
    if now.combined_max > 0 {
        words[8] = queues.saturating_sub(now.receive).min(now.combined_max).max(now.combined);
    } else {
        words[5] = queues.min(now.receive_max).max(now.receive);
        words[6] = queues.min(now.transmit_max).max(now.transmit);
    }
    if channels_of(&words) == now {
        return Ok(now);
    }
    words[0] = SET_CHANNELS;
    // SAFETY: struct ethtool_channels is nine words.
    let outcome = unsafe { control.ethtool(&mut words) };
    outcome.map_err(|source| control.error("raising its channels", source))?;
    channels(interface)
}

/// The name of the driver of `interface`.
pub fn driver(interface: &str) -> Result<String, Error> {
    let control = Control::open(interface)?;
    // struct ethtool_drvinfo: 196 bytes, the driver's name in 32 of them behind the command.
    let mut words = [0u32; 49];
    words[0] = GET_DRIVER_INFORMATION;
    // SAFETY: the structure is 49 words.
    let outcome = unsafe { control.ethtool(&mut words) };
    outcome.map_err(|source| control.error("asking for its driver", source))?;
    Ok(text(&bytes(&words[1..9])))
}

/// Bits each second that the link of `interface` carries; `None` when the driver does not tell or the link is
/// down.
pub fn link_bits_per_second(interface: &str) -> Result<Option<u64>, Error> {
    let control = Control::open(interface)?;
    // struct ethtool_cmd: 44 bytes, the speed in Mbit/s in the first half of word 3, its high half in word 7.
    let mut words = [0u32; 11];
    words[0] = GET_SETTINGS;
    // SAFETY: the structure is 11 words.
    if unsafe { control.ethtool(&mut words) }.is_err() {
        return Ok(None);
    }
    let half = |word: u32| u64::from(u16::from_ne_bytes([word.to_ne_bytes()[0], word.to_ne_bytes()[1]]));
    let megabits = half(words[7]) << 16 | half(words[3]);
    // All ones stand for an unknown speed.
    Ok((megabits > 0 && megabits < u64::from(u32::MAX)).then_some(megabits * 1_000_000))
}

/// Receive queues in use; 1 when the driver does not tell.
pub(crate) fn receive_queues(control: &Control) -> u32 {
    if let Ok(words) = read_channels(control) {
        return channels_of(&words).receive_queues().max(1);
    }
    // struct ethtool_rxnfc: 192 bytes, with the count in the first 64-bit word behind command and flow type.
    let mut words = [0u32; 48];
    words[0] = GET_RECEIVE_RINGS;
    // SAFETY: the structure is 48 words.
    match unsafe { control.ethtool(&mut words) } {
        Ok(()) => (u64::from(words[2]) | u64::from(words[3])).clamp(1, u64::from(u32::MAX)) as u32,
        Err(_) => 1,
    }
}

/// struct ethtool_channels: command, the four maxima, the four counts (receive, transmit, other, combined).
fn read_channels(control: &Control) -> io::Result<[u32; 9]> {
    let mut words = [0; 9];
    words[0] = GET_CHANNELS;
    // SAFETY: the structure is nine words.
    unsafe { control.ethtool(&mut words) }?;
    Ok(words)
}

fn channels_of(words: &[u32; 9]) -> Channels {
    let &[_, receive_max, transmit_max, _, combined_max, receive, transmit, _, combined] = words;
    Channels { receive, transmit, combined, receive_max, transmit_max, combined_max }
}

fn read_features(control: &Control) -> Result<Vec<Feature>, Error> {
    let failed = |source| control.error("reading its features", source);
    let count = feature_count(control).map_err(failed)?;
    // struct ethtool_gstrings: command, set, count, then the names.
    let mut names = vec![0u32; 3 + count * STRING_BYTES / 4];
    names[..3].copy_from_slice(&[GET_STRINGS, STRING_SET_FEATURES, count as u32]);
    // SAFETY: the kernel writes as many names as it counted, and its count is a constant of the running
    // kernel.
    unsafe { control.ethtool(&mut names) }.map_err(failed)?;
    // struct ethtool_gfeatures: command, blocks, then {available, requested, active, never changed} per block
    // of 32.
    let blocks = count.div_ceil(32);
    let mut states = vec![0u32; 2 + blocks * 4];
    states[..2].copy_from_slice(&[GET_FEATURES, blocks as u32]);
    // SAFETY: the kernel writes no more blocks than it is given.
    unsafe { control.ethtool(&mut states) }.map_err(failed)?;
    let names = bytes(&names[3..]);
    let feature = |(position, name): (usize, &[u8])| {
        let block = &states[2 + position / 32 * 4..][..4];
        let has = |word: u32| word & (1 << (position % 32)) != 0;
        Feature { name: text(name), active: has(block[2]), changeable: has(block[0]) && !has(block[3]) }
    };
    Ok(names.chunks_exact(STRING_BYTES).enumerate().map(feature).collect())
}

fn feature_count(control: &Control) -> io::Result<usize> {
    // struct ethtool_sset_info: command, reserved, a 64-bit mask of sets, then one count.
    let mut words = [0u32; 5];
    words[0] = GET_STRING_SET_INFORMATION;
    let mask = (1u64 << STRING_SET_FEATURES).to_ne_bytes();
    let (halves, _) = mask.as_chunks::<4>();
    words[2] = u32::from_ne_bytes(halves[0]);
    words[3] = u32::from_ne_bytes(halves[1]);
    // SAFETY: one set is asked for, so one count is written.
    unsafe { control.ethtool(&mut words) }?;
    match words[4] as usize {
        count if count <= FEATURES_MAX => Ok(count),
        count => {
            Err(io::Error::other(format!("the kernel has {count} features; {FEATURES_MAX} can be held")))
        }
    }
}

fn write_features(control: &Control, count: usize, changes: &[(usize, bool)]) -> Result<(), Error> {
    // struct ethtool_sfeatures: command, blocks, then {valid, requested} per block of 32.
    let blocks = count.div_ceil(32);
    let mut words = vec![0u32; 2 + blocks * 2];
    words[..2].copy_from_slice(&[SET_FEATURES, blocks as u32]);
    for &(position, active) in changes {
        let block = 2 + position / 32 * 2;
        words[block] |= 1 << (position % 32);
        words[block + 1] |= u32::from(active) << (position % 32);
    }
    // SAFETY: the kernel reads as many blocks as it is told there are.
    let outcome = unsafe { control.ethtool(&mut words) };
    outcome.map_err(|source| control.error("switching a feature", source))
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// The text before the first zero byte.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
