//! Round after round, turn after turn: builds what a turn needs, has it measured, removes it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ::bench::Results;
use ::bench::profile::{Device, DeviceKind, Family, FrameSize, Method, Profile, Setting, Trial};
use ::bench::results::{DeviceFacts, GeneratorLimit};
use ::bench::schedule::{Next, Schedule, Step};
use lab::Testbed;
use lab::device::{self, Plan, Tools};
use lab::topology::straight::FarEnds;

use super::cpu::Watch;
use super::devices::{self, Cpus};
use super::generator::{Generator, Order, Outcome, Send};
use super::{Stopped, environment, frames, peers};
use crate::check::available_cpus;

/// How long the generator's own limit is measured.
const LIMIT_DURATION: Duration = Duration::from_millis(800);

/// After a turn, the kernel ends its namespaces on whatever CPU it likes: a million connections, some hundred MiB of rings.
/// The next turn begins once both CPUs are as idle as this, in percent, or after so long, or after as long as the turn
/// took: others may be at work too.
const QUIET_PERCENT: f64 = 25.0;
const QUIET_LIMIT: Duration = Duration::from_secs(3);
const QUIET_STEP: Duration = Duration::from_millis(80);

/// A bench that runs.
pub(super) struct Bench<'a> {
    profile: &'a Profile,
    pub(super) results: Results,
    pub(super) cpus: Cpus,
    pub(super) generator: Option<Generator>,
    tools: Tools,
    /// What the generator reaches by itself.
    limits: BTreeMap<(Option<FrameSize>, Family), f64>,
    /// Throughput of this round's turns: device and setting.
    pub(super) throughput: HashMap<(usize, Setting), f64>,
    testbeds: u32,
    /// How long it took.
    last_turn: Duration,
}

/// One turn, with what it is about.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    pub step: Step,
    pub trial: &'a Trial,
    pub device: &'a Device,
}

/// Measures everything that a profile asks for. `keep` is given after each turn what there is until then, with as many
/// rounds as are whole: a bench may be ended at any time.
pub(super) fn run(profile: &Profile, keep: &dyn Fn(&Results)) -> Result<Results, Stopped> {
    Testbed::check_machine()?;
    let began = Instant::now();
    let (tools, directory) = devices::tools()?;
    let cpus = Cpus::of(&available_cpus());
    let reference = &profile.devices[profile.reference];
    let mut results =
        Results::new(&profile.title, &reference.name, &profile.text, environment::environment(cpus));
    results.started_at = environment::now();
    results.devices = profile.devices.iter().map(devices::facts).collect();
    let mut bench = Bench {
        profile,
        results,
        cpus,
        generator: None,
        tools,
        limits: BTreeMap::new(),
        throughput: HashMap::new(),
        testbeds: 0,
        last_turn: Duration::ZERO,
    };
    eprintln!("{}: {} turns, {}", profile.title, Schedule::new(profile).turns(), super::estimate(profile));
    bench.prepare_generator(directory);
    bench.notes();
    bench.take_turns(began, keep);
    let mut results = bench.results;
    results.duration_s = began.elapsed().as_secs_f64();
    results.summarise();
    Ok(results)
}

impl<'a> Bench<'a> {
    /// Finds the generator and measures what it reaches with a wire, by frame size and family.
    fn prepare_generator(&mut self, directory: PathBuf) {
        let settings = self.profile.trials.iter().filter(|trial| sends_frames(&trial.method));
        let settings: Vec<Setting> = settings.flat_map(|trial| trial.settings.clone()).collect();
        if settings.is_empty() {
            return;
        }
        let settings = settings.into_iter().filter(|setting| setting.frame_bytes.is_some());
        match Generator::find(&directory, self.cpus.peers) {
            Ok(generator) => self.generator = Some(generator),
            Err(error) => return self.results.not_measured("trials with the generator", error.to_string()),
        }
        for setting in settings {
            let key = (setting.frame_bytes, setting.family);
            if self.limits.contains_key(&key) {
                continue;
            }
            match self.generator_limit(setting) {
                Ok(outcome) => {
                    let limit = outcome.delivered_pps();
                    eprintln!("the generator alone, {setting}: {:.2} Mpps ({})", limit / 1e6, outcome.driver);
                    self.limits.insert(key, limit);
                    self.results.generator_limits.push(GeneratorLimit {
                        frame_bytes: setting.frame_bytes,
                        packets_per_second: limit,
                        how: format!("{}, over a veth pair, {setting}: {}", outcome.driver, outcome.command),
                    });
                }
                Err(error) => {
                    self.results
                        .not_measured(format!("the generator's own limit, {setting}"), error.to_string());
                }
            }
        }
    }

    fn generator_limit(&mut self, setting: Setting) -> Result<Outcome, Stopped> {
        let wire = Device { name: "direct".into(), kind: DeviceKind::Direct, driver: None, polling: None };
        let plan = devices::plan(&wire, &self.profile.trials[0], setting, self.cpus);
        let testbed = self.testbed()?;
        let device = plan.start(&testbed, FarEnds::Generator, &self.tools)?;
        let order = Order { setting, flows: None, send: Send::Flood, duration: LIMIT_DURATION };
        self.generate(&device, &order)
    }

    /// A testbed with a name of its own.
    fn testbed(&mut self) -> Result<Testbed, Stopped> {
        self.testbeds += 1;
        Ok(Testbed::new(&format!("bench-{}", self.testbeds))?)
    }

    fn take_turns(&mut self, began: Instant, keep: &dyn Fn(&Results)) {
        let mut schedule = Schedule::new(self.profile);
        loop {
            match schedule.next(began.elapsed()) {
                Next::Step(step) => {
                    self.take_turn(step);
                    self.results.rounds = step.round - 1;
                    self.results.duration_s = began.elapsed().as_secs_f64();
                    self.results.summarise();
                    keep(&self.results);
                }
                Next::Finished => {
                    self.results.rounds = self.profile.rounds;
                    return;
                }
                Next::OutOfTime { rounds } => {
                    self.results.rounds = rounds;
                    let missing = format!("rounds {} to {}", rounds + 1, self.profile.rounds);
                    return self
                        .results
                        .not_measured(missing, "another round would have ended after the time budget");
                }
            }
        }
    }

    fn take_turn(&mut self, step: Step) {
        let turn = Turn {
            step,
            trial: &self.profile.trials[step.trial],
            device: &self.profile.devices[step.device],
        };
        let what = format!("{}, {}, {}", turn.trial.name, step.setting, turn.device.name);
        let plan = devices::plan(turn.device, turn.trial, step.setting, self.cpus);
        if let Some(why) = self.unavailable(&plan, &turn.trial.method) {
            return self.results.not_measured(format!("{}, {}", turn.device.name, turn.trial.name), why);
        }
        self.wait_for_quiet();
        let before = Instant::now();
        match self.measure(turn, &plan) {
            Ok(said) => eprintln!(
                "round {}/{}: {what}: {said} ({:.1} s)",
                step.round,
                self.profile.rounds,
                before.elapsed().as_secs_f64()
            ),
            Err(error) => {
                eprintln!("round {}/{}: {what}: {error}", step.round, self.profile.rounds);
                self.results.not_measured(format!("{what}, round {}", step.round), error.to_string());
            }
        }
        self.last_turn = before.elapsed();
    }

    fn wait_for_quiet(&self) {
        let limit = self.last_turn.min(QUIET_LIMIT);
        let began = Instant::now();
        let mut is_quiet = false;
        while !is_quiet && began.elapsed() < limit {
            let watch = Watch::begin(&[self.cpus.peers, self.cpus.device]);
            std::thread::sleep(QUIET_STEP);
            is_quiet = watch.busy_percent().into_iter().flatten().all(|busy| busy <= QUIET_PERCENT);
        }
    }

    /// Why a device cannot have its turn.
    fn unavailable(&self, plan: &Plan, method: &Method) -> Option<String> {
        let tracked = || {
            let tracked = devices::tracked_max().filter(|tracked| *tracked < plan.flows.into())?;
            Some(format!(
                "the kernel tracks {tracked} connections, and {} are needed: sysctl {}",
                plan.flows,
                devices::TRACKED_MAX
            ))
        };
        // How many at once is a figure of its own, and a bound on it belongs to it.
        let counts_them = matches!(method, Method::ConcurrentConnections(_));
        let needs_tracking = plan.kind == device::Kind::Nftables && !counts_them;
        plan.unavailable(&self.tools).or_else(|| if needs_tracking { tracked() } else { None })
    }

    /// Builds the device, has it measured, ends it in order; what came of it in a few words.
    fn measure(&mut self, turn: Turn<'_>, plan: &Plan) -> Result<String, Stopped> {
        let generates = sends_frames(&turn.trial.method);
        if generates && self.generator.is_none() {
            return Err("there is no generator".into());
        }
        let far_ends = if generates { FarEnds::Generator } else { FarEnds::Peers };
        let testbed = self.testbed()?;
        let device = plan.start(&testbed, far_ends, &self.tools)?;
        self.note_facts(turn.step.device, &device);
        let measured = match generates {
            true => frames::measure(self, turn, &device),
            false => peers::measure(self, turn, &device),
        };
        // A device that ended by itself explains what its figures would not.
        if let Some(ended) = device.ended() {
            return Err(ended.into());
        }
        device.stop();
        measured
    }

    /// What a device says of itself at its first turn.
    fn note_facts(&mut self, index: usize, device: &device::Device) {
        let Some(facts) = self.results.devices.get_mut(index) else { return };
        if facts.driver.is_empty() {
            let DeviceFacts { driver, commands, configuration, .. } = facts;
            *driver = device.mode().into();
            *commands = device.commands().to_vec();
            *configuration = device.configuration().into();
        }
    }

    /// Runs the generator.
    pub(super) fn generate(&self, device: &device::Device, order: &Order) -> Result<Outcome, Stopped> {
        self.generator.as_ref().ok_or("there is no generator")?.run(device, order)
    }

    /// Frames a second that the generator reaches.
    pub(super) fn limit(&self, setting: Setting) -> Option<f64> {
        self.limits.get(&(setting.frame_bytes, setting.family)).copied()
    }

    /// What limits the meaning of all figures alike.
    fn notes(&mut self) {
        let mut notes = vec![
            "Links are veth pairs: figures say what the kernel's veth and the device cost together on this machine, \
             not what a network card allows. No driver here has AF_XDP zero-copy."
                .to_string(),
        ];
        if self.cpus.are_shared() {
            notes.push("There is one CPU, so generator and device were in each other's way.".into());
        } else {
            notes.push(
                "Frames that come in are taken from the link on the sender's CPU (softirq), whatever the device; \
                 the kernel's own forwarding is steered to the device's CPU (RPS)."
                    .into(),
            );
        }
        notes.push(
            "In trials of frames, but for connections at once, the appliance translates source and destination, with a port of its own for every flow; \
             nftables translates the destination alone, and plain forwarders nothing."
                .into(),
        );
        self.results.notes = notes;
        let missing = [
            ("zero-copy AF_XDP", "a network card whose driver has it, and a second machine to send from"),
            ("more workers than one", "more CPUs than two: the generator and the device have one each"),
        ];
        for (what, needed) in missing {
            self.results.not_measured(what, format!("it needs {needed}"));
        }
    }
}

/// Whether a trial is done by the generator.
pub(super) fn sends_frames(method: &Method) -> bool {
    match method {
        Method::ConnectionRate(search) => search.client == ::bench::profile::Client::Generator,
        Method::RoundTrip { .. } | Method::Transfer { .. } | Method::Idle { .. } => false,
        _ => true,
    }
}
