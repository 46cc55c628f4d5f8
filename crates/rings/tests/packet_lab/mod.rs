//! Two network namespaces joined by a veth pair, for one test: `near0` in ours, `far0` in the other.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test's own helper")]

use rings::namespace;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// IEEE 802's own EtherType for experiments: no kernel answers it.
pub const EXPERIMENT: [u8; 2] = [0x88, 0xb5];

/// How long a test waits for what must come. Reached by a failing test only.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long no answer counts as none.
const SILENCE: Duration = Duration::from_secs(1);

/// What the oracle keeps of frames that nobody has asked for yet: a few batches of the longest, each charged with
/// the buffer that it came in.
const RECEIVE_BUFFER_BYTES: libc::c_int = 4 << 20;

static COUNT: AtomicU32 = AtomicU32::new(0);

pub struct Lab {
    near: String,
    far: String,
}

impl Lab {
    /// Runs `test` in a thread of its own inside the near namespace, and removes both afterwards, come what
    /// may.
    pub fn run(queues: u32, test: impl FnOnce(&Lab) + Send) {
        // SAFETY: no pointer is passed.
        if unsafe { libc::geteuid() } != 0 {
            println!("skipped: needs root to make network namespaces");
            return;
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // The process id stands last but one, where whoever removes the leftovers of dead processes looks for
        // it.
        let name = |end| format!("jeoul-ringspacket-{number}-{}-{end}", std::process::id());
        let lab = Lab { near: name("near"), far: name("far") };
        for name in [&lab.near, &lab.far] {
            ip(&format!("netns add {name}"));
            set_ipv6(name, false);
        }
        let queues = format!("numtxqueues {queues} numrxqueues {queues}");
        ip(&format!(
            "link add near0 index 77 netns {} {queues} type veth peer name far0 netns {} {queues}",
            lab.near, lab.far
        ));
        lab.link_up();
        std::thread::scope(|scope| {
            let test = scope.spawn(|| {
                namespace::enter(&lab.near).unwrap();
                test(&lab);
            });
            if let Err(panic) = test.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    /// The near namespace, for a child to enter.
    pub fn near_name(&self) -> &str {
        &self.near
    }

    /// Lets both kernels speak IPv6; without it they say nothing that they are not asked.
    pub fn enable_ipv6(&self) {
        set_ipv6(&self.near, true);
        set_ipv6(&self.far, true);
    }

    /// Runs `ip` in the near namespace.
    pub fn near(&self, arguments: &str) -> String {
        ip(&format!("-n {} {arguments}", self.near))
    }

    /// Runs `ip` in the far namespace.
    pub fn far(&self, arguments: &str) -> String {
        ip(&format!("-n {} {arguments}", self.far))
    }

    /// Switches both ends on, and waits until their kernels send: they learn of a carrier some time later,
    /// and until then throw away what they are given.
    pub fn link_up(&self) {
        let switch_on = || {
            self.near("link set near0 up");
            self.far("link set far0 up");
        };
        switch_on();
        eventually("the carrier", || {
            let is_up = |listed: String| listed.contains("state UP");
            (is_up(self.near("link show near0")) && is_up(self.far("link show far0"))).then_some(())
        });
        // Waits for the lock under which the kernel first says so and then begins to send.
        switch_on();
    }

    /// Moves an interface of the near namespace to the far one and back.
    pub fn move_away_and_back(&self, interface: &str) {
        self.near(&format!("link set {interface} netns {}", self.far));
        self.far(&format!("link set {interface} netns {}", self.near));
    }

    /// Whether the kernel at `address` answers the far one: it resets a connection to a port that nobody has.
    pub fn answers_far(&self, address: &str) -> bool {
        let target = SocketAddr::new(address.parse().unwrap(), 9);
        let outcome = self.in_far(|| TcpStream::connect_timeout(&target, SILENCE));
        outcome.unwrap_err().kind() == io::ErrorKind::ConnectionRefused
    }

    /// What `make` makes inside the far namespace; sockets stay there.
    pub fn in_far<T: Send>(&self, make: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                namespace::enter(&self.far).unwrap();
                make()
            });
            made.join().unwrap()
        })
    }

    /// A plain packet socket in the far namespace.
    pub fn far_wire(&self) -> Wire {
        self.in_far(|| Wire::open("far0"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn set_ipv6(namespace: &str, enabled: bool) {
    for which in ["default", "all"] {
        let setting = format!("net.ipv6.conf.{which}.disable_ipv6={}", u8::from(!enabled));
        ip(&format!("netns exec {namespace} sysctl -qw {setting}"));
    }
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Asks again and again until the answer is there.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < PATIENCE, "never came: {what}");
        std::thread::yield_now();
    }
}

/// One interface as an ordinary packet socket without a ring: the oracle.
pub struct Wire(OwnedFd);

impl Wire {
    pub fn open(interface: &str) -> Self {
        let index = rings::interface::find(interface).unwrap().index;
        // SAFETY: no pointer is passed but that of `address`, with its true size; the descriptor is new.
        unsafe {
            let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            let raw = libc::socket(libc::AF_PACKET, kind, 0);
            assert!(raw >= 0, "{}", io::Error::last_os_error());
            let level = libc::SOL_SOCKET;
            let room = RECEIVE_BUFFER_BYTES;
            let (value, size) = ((&raw const room).cast(), size_of_val(&room) as u32);
            assert_eq!(libc::setsockopt(raw, level, libc::SO_RCVBUFFORCE, value, size), 0);
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            address.sll_ifindex = index as i32;
            let size = size_of_val(&address) as u32;
            assert_eq!(libc::bind(raw, (&raw const address).cast(), size), 0);
            Self(OwnedFd::from_raw_fd(raw))
        }
    }

    pub fn send(&self, frame: &[u8]) {
        // SAFETY: the bytes outlive the call.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(sent, frame.len() as isize, "{}", io::Error::last_os_error());
    }

    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut frame = vec![0; 70_000];
        // SAFETY: the bytes outlive the call.
        let length = unsafe { libc::recv(self.0.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0) };
        frame.truncate(usize::try_from(length).ok()?);
        Some(frame)
    }
}

/// A frame of `length` bytes that carries `number` and is filled with a pattern of it.
pub fn experiment(number: u32, length: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(EXPERIMENT);
    frame.extend(number.to_be_bytes());
    frame.extend(
        (frame.len()..length).map(|place| (place as u32).wrapping_mul(31).wrapping_add(number) as u8),
    );
    frame
}

/// The number that an experiment's frame carries.
pub fn number_of(frame: &[u8]) -> Option<u32> {
    let (head, rest) = frame.split_at_checked(14)?;
    let number = rest.first_chunk()?;
    (head[12..] == EXPERIMENT).then(|| u32::from_be_bytes(*number))
}
