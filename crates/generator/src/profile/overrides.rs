//! What the command line changes in a profile.

use std::time::Duration;

use wire::Mac;

use super::streams::check_frame_bytes;
use super::{Mode, Profile};
use crate::sizes::Sizes;
use crate::units::Rate;

/// Values of the command line, which go before the file's.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The rate of all streams together, sent evenly; each gets its share by the rates in the file, or the
    /// same as the others where not all of these are in packets. Percents are of each port's link.
    pub rate: Option<Rate>,
    /// The size of all frames.
    pub frame_bytes: Option<u64>,
    /// How long frames are sent at the most.
    pub duration: Option<Duration>,
    /// How many frames are sent at the most.
    pub packets: Option<u64>,
    /// The next hop of the streams that a port sends, by the port's name.
    pub destination_macs: Vec<(String, Mac)>,
}

impl Overrides {
    /// Changes `profile`, or says which option does not fit it.
    pub fn apply(&self, profile: &mut Profile) -> Result<(), String> {
        if let Some(bytes) = self.frame_bytes {
            for stream in &mut profile.streams {
                let checked = check_frame_bytes(bytes, stream.protocol, stream.destination.is_ipv4());
                let bytes = checked.map_err(|why| format!("--frame-bytes: stream {}: {why}", stream.name))?;
                stream.sizes = Sizes::Fixed(bytes);
            }
        }
        if let Some(rate) = self.rate {
            share_rate(profile, rate);
        }
        if self.packets == Some(0) {
            return Err("--packets: a run of no packets; give at least 1".to_owned());
        }
        profile.duration = self.duration.or(profile.duration);
        profile.packets = self.packets.or(profile.packets);
        for (name, mac) in &self.destination_macs {
            let Some(port) = profile.ports.iter().position(|port| port.name == *name) else {
                return Err(format!("--destination-mac: the profile has no port {name:?}"));
            };
            let sent = profile.streams.iter_mut().filter(|stream| stream.transmit == port);
            sent.for_each(|stream| stream.destination_mac = Some(*mac));
        }
        Ok(())
    }
}

fn share_rate(profile: &mut Profile, rate: Rate) {
    let weights: Option<Vec<f64>> = profile.streams.iter().map(|stream| weight(&stream.mode)).collect();
    let weights = weights.unwrap_or_else(|| vec![1.0; profile.streams.len()]);
    let ports: Vec<usize> = profile.streams.iter().map(|stream| stream.transmit).collect();
    for (index, stream) in profile.streams.iter_mut().enumerate() {
        let together = |other: &usize| !matches!(rate, Rate::Percent(_)) || ports[*other] == ports[index];
        let total: f64 = (0..weights.len()).filter(together).map(|other| weights[other]).sum();
        let share = weights[index] / total;
        let rate = match rate {
            Rate::Packets(packets) => Rate::Packets(packets * share),
            Rate::Bits(bits) => Rate::Bits(bits * share),
            Rate::Percent(percent) => Rate::Percent(percent * share),
            Rate::Max => Rate::Max,
        };
        stream.mode = Mode::Continuous { rate };
    }
}

/// What a stream's share is by, where all streams have rates in packets.
fn weight(mode: &Mode) -> Option<f64> {
    match mode {
        Mode::Continuous { rate: Rate::Packets(packets) } => Some(*packets),
        _ => None,
    }
}
