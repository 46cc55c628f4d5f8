//! From the text of a profile to a [`Profile`].

use std::collections::HashSet;
use std::time::Duration;

use toml::de::DeTable;

use super::error::ProfileError;
use super::fields::{Fields, Findings, Value};
use super::trial::RFC_2544_FRAME_BYTES;
use super::{
    Client, Concurrency, ConnectionRate, Device, DeviceKind, FILE_BYTES_MAX, Family, FrameSize, Job,
    LatencyRate, Method, Phases, Profile, ROUNDS_DEFAULT, Setting, Trial, TrialKind,
};

pub(super) const TOP_KEYS: &[&str] =
    &["title", "rounds", "time_budget", "reference", "job", "family", "flows", "device", "trial"];
pub(super) const DEVICE_KEYS: &[&str] = &["kind", "driver", "polling", "name"];
/// Keys that every trial takes.
pub(super) const TRIAL_KEYS: &[&str] = &["kind", "name", "job", "devices", "family"];
/// Keys of trials that send frames of their own.
const FRAME_KEYS: &[&str] = &["frame_bytes", "flows"];
const PHASE_KEYS: &[&str] = &["ramp_up", "sustain", "ramp_down"];

/// Rounds at the most.
const ROUNDS_MAX: u64 = 100;
/// Flows at the most: as many as the generator holds.
const FLOWS_MAX: u64 = 10_000_000;
/// Flows where a profile says nothing: few enough for any cache.
const FLOWS_DEFAULT: u64 = 1_000;
/// Settings of one trial at the most.
const SETTINGS_MAX: usize = 64;
/// Longest frame with its FCS, in bytes: what the generator's buffers hold (2048, less head room).
const FRAME_BYTES_MAX: u64 = 1_522;
/// Shortest (IEEE 802.3, 3.2.7), in bytes with the FCS.
const FRAME_BYTES_MIN: u64 = 64;
/// Shortest run: a generator needs some time to get going.
const RUN_MIN: Duration = Duration::from_millis(100);
/// A share of failures that is no failure (RFC 9411, 7.2.3.3 asks for a tenth of it, which takes 100,000 connections
/// to see).
const FAILURES_MAX_DEFAULT: f64 = 0.0001;
/// Finest and coarsest resolution of a search.
const RESOLUTION: std::ops::RangeInclusive<f64> = 0.001..=0.25;

/// What trials take from the top of the file.
struct Defaults {
    job: Job,
    family: Family,
    flows: Vec<u64>,
}

pub(super) fn profile(text: &str, file_name: &str) -> Result<Profile, Vec<ProfileError>> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the profile is longer than {FILE_BYTES_MAX} bytes");
        return Err(vec![ProfileError::nowhere(file_name, message, "split it")]);
    }
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    let findings = Findings::new(file_name, text);
    for error in &syntax_errors {
        findings.add(error.span().unwrap_or_default(), error.message(), "see https://toml.io/en/v1.0.0");
    }
    if !syntax_errors.is_empty() {
        return Err(findings.into_sorted());
    }
    let at = 0..0;
    let profile = read(Fields::new(document.get_ref(), "the profile", &at, &findings), text, &findings);
    let errors = findings.into_sorted();
    if errors.is_empty() { Ok(profile) } else { Err(errors) }
}

fn read(top: Fields<'_>, text: &str, findings: &Findings<'_>) -> Profile {
    top.refuse_unknown(TOP_KEYS);
    let devices = devices(top, findings);
    let defaults = Defaults {
        job: top.word("job", Job::SlbRouted),
        family: top.word("family", Family::Ipv4),
        flows: top.get("flows").map_or_else(|| vec![FLOWS_DEFAULT], flows),
    };
    Profile {
        title: top
            .required("title", "\"Throughput\"")
            .and_then(|value| value.text())
            .unwrap_or_default()
            .to_owned(),
        rounds: u32::try_from(top.integer("rounds", 1..=ROUNDS_MAX, ROUNDS_DEFAULT.into()))
            .unwrap_or(ROUNDS_DEFAULT),
        time_budget: top.get("time_budget").and_then(|value| value.duration(Duration::from_secs(1))),
        reference: reference(top, &devices),
        trials: trials(top, &devices, &defaults, findings),
        devices,
        text: text.to_owned(),
    }
}

fn devices<'a>(top: Fields<'a>, findings: &'a Findings<'a>) -> Vec<Device> {
    let Some(list) = top.required("device", "{ kind = \"jeoul\", driver = \"af_xdp\" } under `[[device]]`")
    else {
        return Vec::new();
    };
    let mut names = HashSet::new();
    let mut devices = Vec::new();
    for (table, at) in list.tables() {
        let fields = Fields::new(table, "this device", &at, findings);
        fields.refuse_unknown(DEVICE_KEYS);
        let Some(device) = device(fields) else { continue };
        if !names.insert(device.name.clone()) {
            fields.refuse(format!("two devices are called {:?}", device.name), "give one another `name`");
        }
        devices.push(device);
    }
    devices
}

fn device(fields: Fields<'_>) -> Option<Device> {
    let kind: DeviceKind = fields.required("kind", "\"jeoul\"")?.word()?;
    let driver = fields.get("driver");
    if driver.is_some() != kind.takes_driver() {
        match &driver {
            Some(driver) => driver.refuse(format!("{kind} has no driver"), "remove `driver`"),
            None => fields.refuse(format!("{kind} lacks `driver`"), "`driver = \"af_xdp\"` or \"af_packet\""),
        }
    }
    let driver = driver.and_then(|driver| driver.word()).filter(|_| kind.takes_driver());
    let polling = fields.get("polling");
    if let Some(polling) = polling.as_ref().filter(|_| kind != DeviceKind::Jeoul) {
        polling.refuse(format!("{kind} has no `polling`"), "only jeoul has");
    }
    let polling = polling.and_then(|polling| polling.word()).filter(|_| kind == DeviceKind::Jeoul);
    let default = match driver {
        Some(driver) => format!("{kind}/{driver}"),
        None => kind.to_string(),
    };
    let name = name(fields, default);
    Some(Device { name, kind, driver, polling })
}

/// The value of `name`, which stands in tables and file names.
fn name(fields: Fields<'_>, default: String) -> String {
    let Some(value) = fields.get("name") else { return default };
    let Some(name) = value.text() else { return default };
    if name.is_empty() || name.chars().count() > 60 || name.chars().any(char::is_control) {
        value.refuse("`name` is no name", "1 to 60 printable letters");
    }
    name.to_owned()
}

/// The device that ratios are of. Default: the first that is neither ours nor a wire.
fn reference(top: Fields<'_>, devices: &[Device]) -> usize {
    let Some(value) = top.get("reference") else {
        let peer = |device: &Device| !matches!(device.kind, DeviceKind::Jeoul | DeviceKind::Direct);
        return devices.iter().position(peer).unwrap_or(0);
    };
    device_index(&value, devices).unwrap_or(0)
}

fn device_index(value: &Value<'_>, devices: &[Device]) -> Option<usize> {
    let name = value.text()?;
    let index = devices.iter().position(|device| device.name == name);
    if index.is_none() {
        let known: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
        value.refuse(format!("no device is called {name:?}"), format!("known: {}", known.join(", ")));
    }
    index
}

fn trials<'a>(
    top: Fields<'a>,
    devices: &[Device],
    defaults: &Defaults,
    findings: &'a Findings<'a>,
) -> Vec<Trial> {
    let Some(list) = top.required("trial", "{ kind = \"throughput\" } under `[[trial]]`") else {
        return Vec::new();
    };
    let mut names = HashSet::new();
    let mut trials = Vec::new();
    for (table, at) in list.tables() {
        let fields = Fields::new(table, "this trial", &at, findings);
        let Some(trial) = trial(fields, devices, defaults) else { continue };
        if !names.insert(trial.name.clone()) {
            fields.refuse(format!("two trials are called {:?}", trial.name), "give one another `name`");
        }
        if needs_throughput(&trial) && !trials.iter().any(|before| provides_throughput(before, &trial)) {
            let help = "put a `throughput` trial of the same job, sizes, flows and devices before it, or give `rate` in pps";
            fields.refuse("the rate is a share of a throughput that no earlier trial measures", help);
        }
        trials.push(trial);
    }
    trials
}

fn needs_throughput(trial: &Trial) -> bool {
    matches!(trial.method, Method::Latency { rate: LatencyRate::OfThroughput(_), .. })
}

/// Whether `before` measures what `trial` takes a share of.
fn provides_throughput(before: &Trial, trial: &Trial) -> bool {
    before.method.kind() == TrialKind::Throughput
        && before.job == trial.job
        && trial.settings.iter().all(|setting| before.settings.contains(setting))
        && trial.devices.iter().all(|device| before.devices.contains(device))
}

/// The keys of a kind of trial, beside [`TRIAL_KEYS`]; the second list: those it has alone.
pub(super) fn keys(kind: TrialKind) -> Vec<&'static str> {
    let (groups, own): (&[&[&str]], &[&str]) = match kind {
        TrialKind::Throughput => (
            &[FRAME_KEYS],
            &["duration", "highest_rate", "resolution", "acceptable_loss", "retries", "verify"],
        ),
        TrialKind::Latency => (&[FRAME_KEYS], &["duration", "rate"]),
        TrialKind::LossCurve => (&[FRAME_KEYS], &["duration", "highest_rate", "step"]),
        TrialKind::BackToBack => (&[FRAME_KEYS], &["searches", "longest_burst", "resolution", "settle"]),
        TrialKind::Flood => (&[FRAME_KEYS], &["duration", "highest_rate"]),
        TrialKind::NewFlows => (&[], &["frame_bytes", "duration", "highest_rate"]),
        TrialKind::ConnectionRate => {
            (&[PHASE_KEYS], &["client", "start", "highest", "resolution", "failures", "parallel"])
        }
        TrialKind::ConcurrentConnections => (&[], &["connections", "rate", "failures", "sustain"]),
        TrialKind::Ramp => (&[PHASE_KEYS], &["rate", "failures"]),
        TrialKind::RoundTrip | TrialKind::Idle => (&[], &["duration"]),
        TrialKind::Transfer => (&[], &["volume", "streams"]),
    };
    groups.iter().chain([&TRIAL_KEYS, &own]).flat_map(|keys| keys.iter().copied()).collect()
}

fn trial(fields: Fields<'_>, devices: &[Device], defaults: &Defaults) -> Option<Trial> {
    let kind: TrialKind = fields.required("kind", "\"throughput\"")?.word()?;
    let known = keys(kind);
    fields.refuse_unknown(&known);
    let job = fields.word("job", defaults.job);
    Some(Trial {
        name: name(fields, format!("{kind} {job}")),
        job,
        devices: devices_of(fields, kind, devices),
        settings: settings(fields, &known, defaults),
        method: method(fields, kind),
    })
}

/// Which devices take part. Default: all that can.
fn devices_of(fields: Fields<'_>, kind: TrialKind, devices: &[Device]) -> Vec<usize> {
    let Some(value) = fields.get("devices") else {
        let able =
            (0..devices.len()).filter(|&index| can_take_part(devices[index].kind, kind)).collect::<Vec<_>>();
        if able.is_empty() && !devices.is_empty() {
            fields.refuse(format!("no device of this profile can take part in {kind}"), "add one that can");
        }
        return able;
    };
    let mut indices = Vec::new();
    for item in value.items() {
        let Some(index) = device_index(&item, devices) else { continue };
        if !can_take_part(devices[index].kind, kind) {
            let message = match kind {
                TrialKind::Idle => format!("{} has no process that waits for frames", devices[index].kind),
                _ => {
                    format!("{} sees no frames of a generator that opens no connections", devices[index].kind)
                }
            };
            item.refuse(message, format!("it cannot take part in {kind}"));
        }
        indices.push(index);
    }
    if indices.is_empty() {
        value.refuse("no device takes part", "name one, or leave `devices` out: all that can");
    }
    indices.sort_unstable();
    indices.dedup();
    indices
}

/// A proxy ends connections, so it needs whole ones; what has no process costs nothing while it is idle.
fn can_take_part(device: DeviceKind, kind: TrialKind) -> bool {
    match kind {
        TrialKind::ConnectionRate
        | TrialKind::ConcurrentConnections
        | TrialKind::Ramp
        | TrialKind::Transfer => true,
        TrialKind::Idle => device.waits(),
        _ => !device.is_proxy(),
    }
}

fn settings(fields: Fields<'_>, known: &[&str], defaults: &Defaults) -> Vec<Setting> {
    let family = fields.word("family", defaults.family);
    let sizes: Vec<Option<FrameSize>> = match fields.get("frame_bytes") {
        _ if !known.contains(&"frame_bytes") => vec![None],
        Some(value) => value.items().iter().map(frame_size).collect(),
        None => RFC_2544_FRAME_BYTES.iter().map(|bytes| Some(FrameSize::Bytes(*bytes))).collect(),
    };
    let flows: Vec<Option<u64>> = match fields.get("flows") {
        _ if !known.contains(&"flows") => vec![None],
        Some(value) => flows(value).into_iter().map(Some).collect(),
        None => defaults.flows.iter().copied().map(Some).collect(),
    };
    let pairs = flows.iter().flat_map(|flows| sizes.iter().map(move |size| (*size, *flows)));
    let settings: Vec<Setting> =
        pairs.map(|(frame_bytes, flows)| Setting { frame_bytes, flows, family }).collect();
    let unique: HashSet<&Setting> = settings.iter().collect();
    if settings.is_empty() || settings.len() > SETTINGS_MAX {
        fields.refuse("no combination of size and flows, or too many", format!("1 to {SETTINGS_MAX}"));
    } else if unique.len() != settings.len() {
        fields.refuse("a frame size or number of flows stands twice", "remove one");
    }
    settings
}

fn frame_size(value: &Value<'_>) -> Option<FrameSize> {
    if value.is_text() {
        if value.text() != Some("imix") {
            value.refuse("`frame_bytes` is no frame size", "a number of bytes with the FCS, or \"imix\"");
        }
        return Some(FrameSize::Imix);
    }
    let bytes = value.integer(FRAME_BYTES_MIN..=FRAME_BYTES_MAX)?;
    u16::try_from(bytes).ok().map(FrameSize::Bytes)
}

fn flows(value: Value<'_>) -> Vec<u64> {
    value.items().iter().filter_map(|item| item.integer(1..=FLOWS_MAX)).collect()
}

fn method(fields: Fields<'_>, kind: TrialKind) -> Method {
    let run = |seconds| fields.duration("duration", RUN_MIN, Duration::from_secs(seconds));
    let resolution = |default| fields.share("resolution", RESOLUTION, default);
    match kind {
        TrialKind::Throughput => Method::Throughput {
            duration: run(2),
            highest_pps: fields.packet_rate("highest_rate"),
            resolution: resolution(0.02),
            acceptable_loss: fields.share("acceptable_loss", 0.0..=0.1, 0.0),
            retries: small(fields.integer("retries", 0..=5, 0)),
            verify: fields.get("verify").and_then(|value| value.duration(RUN_MIN)),
        },
        TrialKind::Latency => Method::Latency { duration: run(2), rate: latency_rate(fields) },
        TrialKind::LossCurve => Method::LossCurve {
            duration: run(2),
            highest_pps: fields.packet_rate("highest_rate"),
            step: fields.share("step", 0.01..=0.1, 0.1),
        },
        TrialKind::BackToBack => Method::BackToBack {
            searches: small(fields.integer("searches", 1..=1_000, 5)),
            longest_packets: fields.integer("longest_burst", 2..=100_000_000, 1_000_000),
            resolution: resolution(0.05),
            settle: fields.duration("settle", Duration::ZERO, Duration::from_millis(200)),
        },
        TrialKind::Flood => {
            Method::Flood { duration: run(2), highest_pps: fields.packet_rate("highest_rate") }
        }
        TrialKind::NewFlows => {
            Method::NewFlows { duration: run(2), highest_pps: fields.packet_rate("highest_rate") }
        }
        TrialKind::ConnectionRate => Method::ConnectionRate(connection_rate(fields)),
        TrialKind::ConcurrentConnections => Method::ConcurrentConnections(Concurrency {
            connections: fields.integer("connections", 1..=FLOWS_MAX, 100_000),
            rate_per_s: per_second(fields, "rate", 50_000),
            failures_max: failures(fields),
            sustain: fields.duration("sustain", RUN_MIN, Duration::from_secs(5)),
        }),
        TrialKind::Ramp => Method::Ramp {
            rate_per_s: per_second(fields, "rate", 10_000),
            failures_max: failures(fields),
            phases: phases(fields, [2, 5, 2]),
        },
        TrialKind::RoundTrip => Method::RoundTrip { duration: run(2) },
        TrialKind::Transfer => Method::Transfer {
            bytes: fields.get("volume").and_then(|value| value.volume_bytes()).unwrap_or(1 << 30),
            streams: small(fields.integer("streams", 1..=1_000, 1)),
        },
        TrialKind::Idle => Method::Idle { duration: run(2) },
    }
}

fn connection_rate(fields: Fields<'_>) -> ConnectionRate {
    let (start_per_s, highest_per_s) =
        (per_second(fields, "start", 1_000), per_second(fields, "highest", 1_000_000));
    if start_per_s > highest_per_s {
        fields.refuse("`start` is above `highest`", "begin lower");
    }
    ConnectionRate {
        client: fields.word("client", Client::Generator),
        start_per_s,
        highest_per_s,
        resolution: fields.share("resolution", RESOLUTION, 0.05),
        failures_max: failures(fields),
        phases: phases(fields, [1, 3, 1]),
        parallel: small(fields.integer("parallel", 1..=10_000, 64)),
    }
}

fn latency_rate(fields: Fields<'_>) -> LatencyRate {
    let Some(value) = fields.get("rate") else { return LatencyRate::OfThroughput(1.0) };
    let rate = if value.text().is_some_and(|text| text.ends_with('%')) {
        value.share(0.01..=1.0).map(LatencyRate::OfThroughput)
    } else {
        value.packet_rate().map(LatencyRate::PacketsPerSecond)
    };
    rate.unwrap_or(LatencyRate::OfThroughput(1.0))
}

/// Connections a second.
fn per_second(fields: Fields<'_>, key: &'static str, default: u64) -> f64 {
    // Bounded by a hundred million, which a double holds.
    fields.integer(key, 1..=100_000_000, default) as f64
}

fn failures(fields: Fields<'_>) -> f64 {
    fields.share("failures", 0.0..=0.5, FAILURES_MAX_DEFAULT)
}

fn phases(fields: Fields<'_>, [up, sustain, down]: [u64; 3]) -> Phases {
    Phases {
        ramp_up: fields.duration("ramp_up", Duration::ZERO, Duration::from_secs(up)),
        sustain: fields.duration("sustain", RUN_MIN, Duration::from_secs(sustain)),
        ramp_down: fields.duration("ramp_down", Duration::ZERO, Duration::from_secs(down)),
    }
}

/// A number whose range fits 32 bits.
fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Driver, Polling, Word};
    use super::*;

    fn words<W: Word>() -> impl Iterator<Item = &'static str> {
        W::WORDS.iter().map(|(word, _)| *word)
    }

    #[test]
    fn the_page_about_benches_explains_every_key_and_word() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/bench.md");
        let page = std::fs::read_to_string(path).expect("docs/bench.md exists");
        let kinds = TrialKind::WORDS.iter().flat_map(|(_, kind)| keys(*kind));
        let keys = TOP_KEYS.iter().chain(DEVICE_KEYS).copied().chain(kinds);
        let ticked = words::<TrialKind>().chain(words::<DeviceKind>()).chain(words::<Job>());
        for key in keys.chain(ticked).filter(|key| !["device", "trial"].contains(key)) {
            assert!(page.contains(&format!("`{key}`")), "{key}");
        }
        let quoted =
            words::<Driver>().chain(words::<Polling>()).chain(words::<Family>()).chain(words::<Client>());
        for word in quoted {
            assert!(page.contains(&format!("\"{word}\"")), "{word}");
        }
    }

    #[test]
    fn the_sample_profiles_use_every_key() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/bench");
        let samples: String = std::fs::read_dir(folder)
            .expect("configs/bench exists")
            .map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).expect("a text"))
            .collect();
        let kinds = TrialKind::WORDS.iter().flat_map(|(_, kind)| keys(*kind));
        for key in TOP_KEYS.iter().chain(DEVICE_KEYS).copied().chain(kinds) {
            let used = samples.lines().any(|line| {
                let line = line.trim_start_matches("# ");
                line.starts_with(&format!("{key} = ")) || line.starts_with(&format!("[[{key}]]"))
            });
            assert!(used, "{key}");
        }
        for kind in words::<TrialKind>() {
            assert!(samples.contains(&format!("kind = \"{kind}\"")), "{kind}");
        }
    }
}
