//! Sessions that a burst is about to open: decided about frame by frame, stored together.
//!
//! To store a session is to wait for memory: for the tags of its server's side, which nobody knew before a server was
//! chosen, and then for the slot that they name. A burst of first packets would wait for each of them in turn. So what
//! has been decided is kept until the burst is through, and then each step is taken for all.
//!
//! ```text
//!   each: choose, compile, ask for tags      each: compare tags, ask for slot      each: store, send the packet on
//! ```
//!
//! A packet of a flow whose session is about to be stored follows it: it is decided about when that is done. What cannot be
//! stored after all (another worker was faster, the key is taken, the table is full) gives back what was taken for it and is
//! decided about anew, at once and alone.

use crate::admit::Pair;
use crate::burst::{Lane, Verdicts};
use crate::express::Tells;
use crate::path::{Fits, Path, Step, World};
use crate::remember::Memory;
use crate::scratch::Scratch;
use crate::tally::Sent;
use arrayvec::ArrayVec;
use flow::plain::{PlainPacket, PortHeader};
use flow::{Family, NetworkHeader, V4, V6};
use plan::MssClamp;
use port::{BURST_FRAMES_MAX, Burst, Frame, PortIndex, Verdict};
use rewrite::{MemberId, apply_plain};
use session::{Hit, Insert, Probe};
use wire::plain::Plain;
use wire::tcp::Tcp;
use wire::udp::Udp;

/// Members that hold a place for a session: its server, and a firewall on each side.
pub(crate) type Holders = ArrayVec<MemberId, 3>;

/// A session that is about to be stored.
#[derive(Clone)]
pub(crate) struct Expected<F: Family> {
    /// The place of its frame in the burst.
    lane: u8,
    /// Where its client's side will be, and its hash.
    asked: Probe,
    hash: u64,
    pair: Pair<F>,
    /// Where its server's side will be.
    probe: Probe,
    /// Who holds a place for it.
    holders: Holders,
    /// What is remembered of its client, if it counts on that.
    memory: Option<Memory>,
}

/// All that a burst is about to open, and whether the frame in hand may wait.
pub(crate) struct Expectations {
    pub v4: ArrayVec<Expected<V4>, BURST_FRAMES_MAX>,
    pub v6: ArrayVec<Expected<V6>, BURST_FRAMES_MAX>,
    /// The place in the burst of the frame in hand, if its session may be stored later, and where that will be.
    lane: Option<(u8, Probe)>,
    /// One bit for each value of a tag's low byte that is expected: most flows are told apart by that.
    tags: [u64; 4],
    /// Places in the burst of frames that follow.
    followers: ArrayVec<u8, BURST_FRAMES_MAX>,
}

impl Expectations {
    pub fn new() -> Self {
        Self {
            v4: ArrayVec::new(),
            v6: ArrayVec::new(),
            lane: None,
            tags: [0; 4],
            followers: ArrayVec::new(),
        }
    }

    /// Says that the frame in hand is that of `lane`, which can wait if it is plain; none can outside a burst.
    pub fn take_in_hand(&mut self, lane: Option<(u8, &Lane)>) {
        self.lane = lane.filter(|(_, lane)| lane.plain.is_some()).map(|(place, lane)| (place, lane.probe));
    }

    /// Whether the session of the frame in hand may be stored later.
    pub fn may_wait(&self) -> bool {
        self.lane.is_some()
    }

    /// Whether the frame in hand is of a flow whose session is about to be stored. Then it is kept until that is done.
    pub fn keep_follower(&mut self) -> bool {
        let Some((place, asked)) = self.lane else { return false };
        let follows = self.tags[word_of(&asked)] & bit_of(&asked) != 0
            && (self.v4.iter().any(|expected| expected.asked.is_at(&asked))
                || self.v6.iter().any(|expected| expected.asked.is_at(&asked)));
        // There is room for every frame of a burst.
        let is_kept = follows && self.followers.try_push(place).is_ok();
        self.lane = self.lane.filter(|_| !is_kept);
        is_kept
    }

    fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

fn word_of(asked: &Probe) -> usize {
    usize::from(asked.tag() as u8 >> 6)
}

fn bit_of(asked: &Probe) -> u64 {
    1 << (asked.tag() & 63)
}

impl World<'_> {
    /// Stores what the burst has decided to open, and sends its first packets on.
    pub fn meet_expectations(
        &self,
        scratch: &mut Scratch,
        burst: &mut Burst<'_>,
        lanes: &[Lane],
        verdicts: &mut Verdicts,
        sent: &mut Sent,
    ) {
        if !scratch.expectations.is_empty() {
            self.v4().meet(scratch, burst, lanes, verdicts, sent);
            self.v6().meet(scratch, burst, lanes, verdicts, sent);
            scratch.expectations.tags = [0; 4];
            for at in 0..scratch.expectations.followers.len() {
                let place = scratch.expectations.followers.get(at).map_or(0, |place| usize::from(*place));
                if let (Some(frame), Some(lane), Some(verdict)) =
                    (burst.get_mut(place), lanes.get(place), verdicts.get_mut(place))
                {
                    *verdict = self.ordinary(scratch, None, lane, frame, sent);
                }
            }
            scratch.expectations.followers.clear();
        }
    }
}

impl<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Path<'_, F, KEY, PAYLOAD, LINES>
where
    F: Family + Fits<KEY, PAYLOAD>,
{
    /// Keeps a session to be stored when the burst is through, and asks for what that will need. Only where
    /// [`Expectations::may_wait`] says so.
    pub fn expect(
        &self,
        scratch: &mut Scratch,
        hash: u64,
        pair: Pair<F>,
        holders: Holders,
        memory: Option<Memory>,
    ) -> Step {
        let probe = self.table.ask_for_tags(pair.reply_hash);
        let (lane, asked) = scratch.expectations.lane.take().unwrap_or_default();
        scratch.expectations.tags[word_of(&asked)] |= bit_of(&asked);
        let expected = Expected { lane, asked, hash, pair, probe, holders, memory };
        // There is room for every frame of a burst.
        let _kept = F::expected(scratch).try_push(expected);
        Step::Expected
    }

    fn meet(
        &self,
        scratch: &mut Scratch,
        burst: &mut Burst<'_>,
        lanes: &[Lane],
        verdicts: &mut Verdicts,
        sent: &mut Sent,
    ) {
        for expected in F::expected(scratch).iter() {
            self.table.ask_for_room(&expected.probe);
        }
        for at in 0..F::expected(scratch).len() {
            let Some(expected) = F::expected(scratch).get(at).cloned() else { break };
            let place = usize::from(expected.lane);
            if let (Some(frame), Some(lane), Some(verdict)) =
                (burst.get_mut(place), lanes.get(place), verdicts.get_mut(place))
            {
                *verdict = self.open(scratch, expected, lane, frame, sent);
            }
        }
        F::expected(scratch).clear();
    }

    fn open(
        &self,
        scratch: &mut Scratch,
        expected: Expected<F>,
        lane: &Lane,
        frame: &mut Frame<'_>,
        sent: &mut Sent,
    ) -> Verdict {
        let opened = match lane.plain {
            Some(Plain::TcpV4 | Plain::TcpV6) => self.open_plain::<Tcp<'_>>(&expected, lane, frame, sent),
            Some(Plain::UdpV4 | Plain::UdpV6) => self.open_plain::<Udp<'_>>(&expected, lane, frame, sent),
            None => None,
        };
        match opened {
            Some(Opened::Sent(port)) => {
                Verdict::Transmit { port, start: frame.start(), length: frame.length() }
            }
            Some(Opened::Stored(hit)) => {
                let step = self.replay_stored(scratch, lane, frame.bytes_mut(), &hit);
                self.world.conclude(scratch, lane, frame, step, sent)
            }
            None => {
                expected.holders.iter().for_each(|holder| self.world.shared.loads.release(*holder));
                expected.memory.iter().for_each(|memory| self.forget(memory));
                self.world.ordinary(scratch, None, lane, frame, sent)
            }
        }
    }

    /// Stores the session, and sends its packet on if nothing speaks against the short way.
    #[inline(always)]
    fn open_plain<'a, T: PortHeader<'a>>(
        &self,
        expected: &Expected<F>,
        lane: &Lane,
        frame: &'a mut Frame<'_>,
        sent: &mut Sent,
    ) -> Option<Opened<PAYLOAD>> {
        let door = self.world.door(lane.ingress)?;
        let mut packet = PlainPacket::<F, T>::over(frame.bytes_mut())?;
        let length_bytes = packet.header.length_bytes();
        let key = packet.key(door.zone);
        let segment = packet.segment(length_bytes);
        let Insert::Inserted { client, .. } =
            self.store((&key, expected.hash), segment.as_ref(), &expected.pair)
        else {
            return None;
        };
        let request = &expected.pair.request;
        let shape = request.shape;
        let is_usual = !shape.is_tunnelled()
            && (!shape.takes_hop() || packet.header.hop_limit() > 1)
            && !matches!(self.world.plan.mss_clamp(request.member), MssClamp::Bytes(_));
        let index = self.link_index_of(request);
        let way = self.world.shared.links.get(index).filter(|_| is_usual).and_then(|link| {
            self.world.departure(shape, &door, link, packet.ethernet.source(), packet.frame_bytes)
        });
        let Some(way) = way else { return Some(Opened::Stored(client)) };
        apply_plain(request, &mut packet);
        packet.ethernet.set_destination(way.destination);
        packet.ethernet.set_source(way.source);
        self.count_packet(request.member, request.direction, length_bytes);
        self.world.count_sent_to(sent, way.port, packet.frame_bytes);
        Some(Opened::Sent(PortIndex(way.ring)))
    }
}

/// What became of a session that was expected.
enum Opened<const PAYLOAD: usize> {
    /// It is stored, and its packet is to leave by this ring.
    Sent(PortIndex),
    /// It is stored.
    Stored(Hit<PAYLOAD>),
}
