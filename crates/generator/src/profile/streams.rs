//! What the keys of a profile mean, and what they may not mean together.

use std::cell::RefCell;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use wire::Mac;

use super::file::{Document, Family, ModeTable, PortTable, RampTable, StepTable, StreamTable};
use super::refusal::Refusal;
use super::{Close, Mode, Port, Profile, Protocol, STREAMS_MAX, Step, Stream, frame_bytes_min};
use crate::flows::{FLOWS_MAX, Flows, Network};
use crate::sizes::{FRAME_BYTES_MAX, IMIX_BYTES, Sizes};
use crate::units::{Rate, duration};

/// What is not said is this.
const SOURCE_PORTS_DEFAULT: RangeInclusive<u16> = 1_024..=65_535;
const DESTINATION_PORT_DEFAULT: u16 = 9;
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);

/// Bursts of one stream at the most.
const BURSTS_MAX: u64 = 1_000_000;

pub(super) fn read(document: Document, text: &str, name: &str) -> Result<Profile, Vec<Refusal>> {
    let reader = Reader { text, name, refusals: RefCell::default() };
    let profile = reader.profile(document);
    let mut refusals = reader.refusals.into_inner();
    refusals.sort_by_key(|refusal| (refusal.line, refusal.column));
    if refusals.is_empty() { Ok(profile) } else { Err(refusals) }
}

struct Reader<'a> {
    text: &'a str,
    name: &'a str,
    refusals: RefCell<Vec<Refusal>>,
}

impl Reader<'_> {
    fn refuse<T>(&self, at: &Spanned<T>, message: impl Into<String>) {
        self.refusals.borrow_mut().push(Refusal::at(self.name, self.text, at.span(), message));
    }

    /// Reads a text; what is wrong is refused in the words of its type.
    fn read<T>(&self, text: &Spanned<String>, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        read(text.get_ref())
            .map_err(|message| self.refuse(text, format!("{:?}: {message}", text.get_ref())))
            .ok()
    }

    fn parsed<T: FromStr>(&self, text: &Spanned<String>) -> Option<T>
    where
        T::Err: ToString,
    {
        self.read(text, |text| text.parse().map_err(|error: T::Err| error.to_string()))
    }

    fn duration(&self, text: &Spanned<String>) -> Option<Duration> {
        self.read(text, |text| duration(text).map_err(|error| error.to_string()))
    }

    fn profile(&self, document: Document) -> Profile {
        let mut ports = Vec::new();
        document.port.iter().for_each(|table| self.port(table, &mut ports));
        if document.stream.is_empty() || document.stream.len() > STREAMS_MAX {
            let message = format!("a profile has from 1 to {STREAMS_MAX} [[stream]]s");
            self.refusals.borrow_mut().push(Refusal::whole(self.name, message));
        }
        let mut streams: Vec<Stream> = Vec::new();
        for table in &document.stream {
            if streams.iter().any(|stream| stream.name == *table.name.get_ref()) {
                self.refuse(&table.name, "another stream has this name; take another");
            }
            streams.extend(self.stream(table, &mut ports));
        }
        self.connections_on_two_ports(&document, &streams);
        let limits = &document.limits;
        if let Some(packets) = limits.packets.as_ref().filter(|packets| *packets.get_ref() == 0) {
            self.refuse(packets, "a run of no packets; write at least 1");
        }
        Profile {
            name: self.name.to_owned(),
            ports,
            streams,
            duration: limits.duration.as_ref().and_then(|text| self.duration(text)),
            packets: limits.packets.as_ref().map(|packets| *packets.get_ref()),
        }
    }

    fn port(&self, table: &PortTable, ports: &mut Vec<Port>) {
        if ports.iter().any(|port| port.name == *table.name.get_ref()) {
            self.refuse(&table.name, "another [[port]] has this name");
        }
        let answers = table.answers.iter().filter_map(|text| self.parsed(text)).collect();
        ports.push(Port { name: table.name.get_ref().clone(), answers });
    }

    /// A far end answers whatever comes, so a port serves no two streams of connections.
    fn connections_on_two_ports(&self, document: &Document, streams: &[Stream]) {
        for (table, stream) in document.stream.iter().zip(streams) {
            let same = |other: &&Stream| other.protocol.connects() && other.transmit == stream.receive;
            if stream.protocol.connects() && streams.iter().any(|other| same(&other)) {
                self.refuse(
                    &table.protocol,
                    "connections need a port that sends them and another that answers; \
                     no port can do both",
                );
            }
        }
    }

    fn stream(&self, table: &StreamTable, ports: &mut Vec<Port>) -> Option<Stream> {
        let transmit = index_of(ports, table.port.get_ref());
        let receive = table.receive.as_ref().map_or(transmit, |name| index_of(ports, name.get_ref()));
        let protocol = *table.protocol.get_ref();
        let source: Option<Network> = self.parsed(&table.source);
        let destination: Option<IpAddr> =
            self.read(&table.destination, |text| text.parse().map_err(|_| "write one address".to_owned()));
        let (source, destination) = (source?, destination?);
        self.families(table, source, destination);
        let sizes = self.sizes(table, protocol, destination.is_ipv4());
        let flows = self.flows(table, source);
        let mode = self.mode(&table.mode);
        let mac = table.destination_mac.as_ref().map(|text| self.parsed::<Mac>(text));
        let timeout = table.timeout.as_ref().map_or(Some(TIMEOUT_DEFAULT), |text| self.duration(text));
        self.only_for_connections(table, protocol);
        let hold = table.hold.as_ref().and_then(|text| self.duration(text));
        let exchange = table.exchange.as_ref().and_then(|text| self.duration(text));
        self.held(table, hold, timeout);
        Some(Stream {
            name: table.name.get_ref().clone(),
            transmit,
            receive,
            sizes: sizes?,
            flows: flows?,
            protocol,
            destination,
            destination_port: table
                .destination_port
                .as_ref()
                .map_or(DESTINATION_PORT_DEFAULT, |port| *port.get_ref()),
            destination_mac: match mac {
                Some(mac) => Some(mac?),
                None => None,
            },
            mode: mode?,
            latency: table.latency.unwrap_or(true),
            close: table.close.as_ref().map_or(Close::Fin, |close| *close.get_ref()),
            timeout: timeout?,
            hold,
            exchange,
        })
    }

    /// Which of the keys about held connections fit each other.
    fn held(&self, table: &StreamTable, hold: Option<Duration>, timeout: Option<Duration>) {
        let keeps = table.close.as_ref().is_some_and(|close| *close.get_ref() == Close::Keep);
        if let Some(text) = &table.hold {
            if keeps {
                self.refuse(text, "with close = \"keep\" connections stay open; leave one of both out");
            } else if let (Some(hold), Some(timeout)) = (hold, timeout)
                && hold < timeout
            {
                self.refuse(text, format!("connections are held for at least the timeout, {timeout:?}"));
            }
        }
        if let Some(exchange) = table.exchange.as_ref().filter(|_| table.hold.is_none() && !keeps) {
            self.refuse(
                exchange,
                "something is said only on connections that are held; write hold, or close = \"keep\"",
            );
        }
    }

    fn families(&self, table: &StreamTable, source: Network, destination: IpAddr) {
        let is_ipv4 = destination.is_ipv4();
        if source.first().is_ipv4() != is_ipv4 {
            self.refuse(&table.source, "source and destination are of different families");
        }
        if let Some(family) =
            table.family.as_ref().filter(|family| (*family.get_ref() == Family::Ipv4) != is_ipv4)
        {
            self.refuse(family, "the destination is of the other family");
        }
    }

    fn only_for_connections(&self, table: &StreamTable, protocol: Protocol) {
        if protocol.connects() {
            return;
        }
        const WHY: &str = "only for protocol = \"tcp-handshake\" and \"tcp-data\"; leave it out";
        if let Some(close) = &table.close {
            self.refuse(close, WHY);
        }
        for duration in [&table.timeout, &table.hold, &table.exchange].into_iter().flatten() {
            self.refuse(duration, WHY);
        }
    }

    fn sizes(&self, table: &StreamTable, protocol: Protocol, is_ipv4: bool) -> Option<Sizes> {
        let least = frame_bytes_min(protocol, is_ipv4);
        let imix = table.imix.as_ref().filter(|imix| *imix.get_ref());
        let Some(bytes) = &table.frame_bytes else {
            return match imix {
                Some(imix) if protocol.connects() => {
                    self.refuse(imix, "connections have frames of one size; write frame_bytes");
                    None
                }
                Some(_) => Some(Sizes::Mix { shortest: IMIX_BYTES[0].max(least) }),
                None => Some(Sizes::Fixed(least)),
            };
        };
        if let Some(imix) = imix {
            self.refuse(imix, "a stream has either frame_bytes or imix");
        }
        match check_frame_bytes(*bytes.get_ref(), protocol, is_ipv4) {
            Ok(bytes) => Some(Sizes::Fixed(bytes)),
            Err(message) => {
                self.refuse(bytes, message);
                None
            }
        }
    }

    fn flows(&self, table: &StreamTable, source: Network) -> Option<Flows> {
        let ports = match &table.source_ports {
            Some(text) => self.read(text, port_range)?,
            None => SOURCE_PORTS_DEFAULT,
        };
        let count = table.flows.as_ref().map_or(1, |flows| *flows.get_ref());
        let place = table.flows.as_ref().map_or_else(|| table.source.span(), Spanned::span);
        match Flows::new(source, ports, count) {
            Ok(flows) => Some(flows),
            Err(too_many) => {
                let message = format!(
                    "{count} flows: source and source_ports make {}, and {FLOWS_MAX} is the bound",
                    too_many.possible
                );
                self.refusals.borrow_mut().push(Refusal::at(self.name, self.text, place, message));
                None
            }
        }
    }

    fn mode(&self, table: &Spanned<ModeTable>) -> Option<Mode> {
        match table.get_ref() {
            ModeTable::Continuous { rate } => Some(Mode::Continuous { rate: self.parsed(rate)? }),
            ModeTable::Burst { packets, gap, count, rate } => {
                let bursts = *count.get_ref();
                if *packets.get_ref() == 0 || bursts == 0 || bursts > BURSTS_MAX {
                    self.refuse(
                        table,
                        format!("bursts have packets, and there are from 1 to {BURSTS_MAX} of them"),
                    );
                    return None;
                }
                let rate = rate.as_ref().map_or(Some(Rate::Max), |rate| self.parsed(rate))?;
                let gap = self.duration(gap)?;
                Some(Mode::Burst { packets: *packets.get_ref(), gap, count: bursts, rate })
            }
            ModeTable::Steps(steps) => {
                if steps.is_empty() {
                    self.refuse(table, "no steps; write at least one { rate, duration }");
                }
                let steps: Vec<Option<Step>> = steps.iter().map(|step| self.step(step)).collect();
                steps.into_iter().collect::<Option<Vec<Step>>>().map(Mode::Steps)
            }
            ModeTable::Ramp(ramp) => self.ramp(ramp),
        }
    }

    fn ramp(&self, table: &RampTable) -> Option<Mode> {
        let phase =
            |text: Option<&Spanned<String>>| text.map_or(Some(Duration::ZERO), |text| self.duration(text));
        let phases = [phase(table.up.as_ref()), phase(Some(&table.sustain)), phase(table.down.as_ref())];
        let rate = self.rate_in_numbers(&table.rate);
        let [up, sustain, down] = phases;
        Some(Mode::Ramp { rate: rate?, phases: [up?, sustain?, down?] })
    }

    /// A rate that can be shared out over time.
    fn rate_in_numbers(&self, text: &Spanned<String>) -> Option<Rate> {
        let rate = self.parsed(text)?;
        if rate == Rate::Max {
            self.refuse(text, "a rate in numbers; \"max\" is for mode = { continuous = … }");
            return None;
        }
        Some(rate)
    }

    fn step(&self, table: &StepTable) -> Option<Step> {
        let (rate, duration) = (self.rate_in_numbers(&table.rate), self.duration(&table.duration));
        Some(Step { rate: rate?, duration: duration? })
    }
}

/// The size, when frames of this kind can have it and be measured.
pub(super) fn check_frame_bytes(bytes: u64, protocol: Protocol, is_ipv4: bool) -> Result<usize, String> {
    let least = frame_bytes_min(protocol, is_ipv4);
    match usize::try_from(bytes) {
        Ok(bytes) if (least..=FRAME_BYTES_MAX).contains(&bytes) => Ok(bytes),
        _ => Err(format!(
            "frames of {bytes} bytes: with this protocol and family they have from {least} (headers, stamp and the \
             4 bytes of the check sequence) to {FRAME_BYTES_MAX}"
        )),
    }
}

fn index_of(ports: &mut Vec<Port>, name: &str) -> usize {
    ports.iter().position(|port| port.name == name).unwrap_or_else(|| {
        ports.push(Port { name: name.to_owned(), answers: Vec::new() });
        ports.len() - 1
    })
}

/// "1024-65535" or "5000".
fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    const FORM: &str = "write ports as \"1024-65535\" or \"5000\"";
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
        _ => Err(FORM.to_owned()),
    }
}
