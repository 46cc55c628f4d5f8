//! What limited a figure, as far as the facts tell.

use std::fmt;

/// A share of the generator's own limit from which on it is the generator that is measured.
const GENERATOR_SHARE: f64 = 0.95;

/// Load of a CPU that counts as all of it, in percent.
const BUSY_PERCENT: f64 = 95.0;

/// What is known of the run that gave a figure; `None` where it was not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadFacts {
    /// Packets a second that the generator was asked for; `None`: as many as it can.
    pub asked_pps: Option<f64>,
    /// Packets a second that it sent.
    pub offered_pps: f64,
    /// Packets a second that came back.
    pub delivered_pps: f64,
    /// Packets a second that it reaches with a wire for a device.
    pub generator_limit_pps: Option<f64>,
    /// The search ended because the generator fell short.
    pub generator_fell_short: bool,
    /// Bits a second on the wire that the link carries at most.
    pub link_bits_per_s: Option<f64>,
    /// Bits a second on the wire that came back.
    pub delivered_bits_per_s: Option<f64>,
    /// The busiest CPU of the device, in percent of one, work of the kernel on its behalf included.
    pub device_cpu_percent: Option<f64>,
    /// The device polls: its CPU is always busy and says nothing.
    pub device_polls: bool,
    /// The busiest CPU of the generator, or of clients and servers, in percent of one.
    pub generator_cpu_percent: Option<f64>,
    /// Generator and device share a CPU.
    pub shares_cpu: bool,
    /// Packets that the device's rings, or the kernel's queues before it, dropped.
    pub ring_drops: u64,
    /// Packets that the device saw and refused.
    pub refused: u64,
}

/// The answer, which [`fmt::Display`] turns into a sentence. It holds no numbers, so that rounds say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The generator cannot send more.
    Generator,
    /// The link carries no more.
    Link,
    /// The device and the generator want the same CPU.
    SharedCpu,
    /// A CPU of the device has no time left.
    DeviceCpu,
    /// The device polls and its rings ran over: it, or the kernel below it on its CPU, could not keep up.
    DeviceRings,
    /// The device refused packets that it saw.
    Refused,
    /// The rate that was asked for.
    Asked,
    /// The connections that were asked for.
    AskedConnections,
    /// The device may track no more connections.
    Sessions,
    /// Connections reached nobody who knew them.
    Forgot,
    /// The CPU of clients and servers has no time left.
    Peers,
    /// Clients and servers wait for each other with time to spare.
    Way,
    /// Loss that no fact explains.
    Unknown,
}

/// The first of these that the facts bear out: the generator, the link, a CPU that both want, the device's CPU, its rings,
/// its refusals, the rate that was asked for. What limits comes before what merely was full. A device that loses nothing
/// has done all that the generator asked of it, so then it is the generator.
pub fn limit(facts: &LoadFacts) -> Limit {
    let lost = facts.offered_pps - facts.delivered_pps;
    let loses = lost > facts.offered_pps * 0.001;
    let near_limit = |limit: f64| facts.delivered_pps >= limit * GENERATOR_SHARE;
    if facts.generator_fell_short || !loses && facts.generator_limit_pps.is_some_and(near_limit) {
        return Limit::Generator;
    }
    let link_is_full = facts.link_bits_per_s.zip(facts.delivered_bits_per_s);
    if link_is_full.is_some_and(|(link, delivered)| delivered >= link * GENERATOR_SHARE) {
        return Limit::Link;
    }
    if !loses && facts.asked_pps.is_some_and(|asked| facts.offered_pps >= asked * GENERATOR_SHARE) {
        return Limit::Asked;
    }
    let is_busy = |percent: f64| percent >= BUSY_PERCENT;
    if facts.shares_cpu {
        return Limit::SharedCpu;
    }
    if !facts.device_polls && facts.device_cpu_percent.is_some_and(is_busy) {
        return Limit::DeviceCpu;
    }
    if facts.ring_drops > 0 {
        return Limit::DeviceRings;
    }
    if facts.refused > 0 {
        return Limit::Refused;
    }
    if loses { Limit::Unknown } else { Limit::Generator }
}

/// The same for clients and servers that wait for answers: their CPU, the device's, or the way through it.
pub fn limit_of_peers(facts: &LoadFacts) -> Limit {
    let is_busy = |percent: f64| percent >= BUSY_PERCENT;
    if facts.shares_cpu {
        Limit::SharedCpu
    } else if facts.generator_cpu_percent.is_some_and(is_busy) {
        Limit::Peers
    } else if !facts.device_polls && facts.device_cpu_percent.is_some_and(is_busy) {
        Limit::DeviceCpu
    } else {
        Limit::Way
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Generator => formatter.write_str("the generator, which could not send more: the device may do better"),
            Limit::Link => formatter.write_str("the link, which was full"),
            Limit::SharedCpu => formatter.write_str("the CPU that both sides share"),
            Limit::DeviceCpu => formatter.write_str("the device's CPU, which had no time left"),
            Limit::DeviceRings => formatter.write_str(
                "the device's core: packets were dropped before it because it, or the kernel below it, had no time left",
            ),
            Limit::Refused => formatter.write_str("the device, which refused packets that it saw"),
            Limit::Asked => formatter.write_str("the rate that was asked for"),
            Limit::AskedConnections => formatter.write_str("what was asked for: the device may do more"),
            Limit::Sessions => formatter.write_str(
                "a bound on the connections that the device may track, which is below what was asked for",
            ),
            Limit::Forgot => formatter.write_str("the device, which did not know open connections any more"),
            Limit::Peers => formatter.write_str("clients and servers, whose CPU had no time left: the device may do better"),
            Limit::Way => formatter.write_str("the way through the device, for which clients and servers waited"),
            Limit::Unknown => formatter.write_str("not known: no CPU was full and no ring ran over"),
        }
    }
}
