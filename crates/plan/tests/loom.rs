//! Publishing, and choosing by shared counts, under every interleaving that loom can find.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p plan --test loom --profile loom`.
#![cfg(loom)]

use flow::{Family, FlowHasher, FlowKey, V4, Zone};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use plan::{
    Ask, Cursor, Loads, MemberState, Mode, PortRange, Publisher, Scheduler, Service, ServiceMember,
    SourceNat, Wheel,
};
use rewrite::MemberId;
use std::net::Ipv4Addr;
use wire::Mac;

/// A plan that counts, per thread, who freed it.
struct Tracked {
    value: usize,
    dropped_by_publisher: Arc<AtomicUsize>,
}

loom::thread_local! {
    static IS_WORKER: std::cell::Cell<bool> = std::cell::Cell::new(false);
}

impl Drop for Tracked {
    fn drop(&mut self) {
        IS_WORKER.with(|worker| assert!(!worker.get(), "plan {} was freed by a worker", self.value));
        self.dropped_by_publisher.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_worker_sees_whole_plans_in_order_and_frees_none() {
    loom::model(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let tracked = |value| Tracked { value, dropped_by_publisher: dropped.clone() };
        let mut publisher = Publisher::new(tracked(1));
        let mut subscriber = publisher.subscribe();
        let worker = loom::thread::spawn(move || {
            IS_WORKER.with(|worker| worker.set(true));
            let mut last = subscriber.value;
            for _ in 0..2 {
                subscriber.refresh();
                assert!(subscriber.value >= last);
                last = subscriber.value;
            }
            subscriber
        });
        publisher.publish(tracked(2));
        publisher.publish(tracked(3));
        let mut subscriber = worker.join().unwrap();
        subscriber.refresh();
        assert_eq!(subscriber.value, 3);
        assert_eq!(publisher.collect(), 0);
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    });
}

/// The emptiest of three members for a session of flow `number`, over what all threads share.
fn open(service: &Service<V4>, loads: &Loads, number: u16) {
    let hasher = FlowHasher::new([3; 16]);
    let source = (Ipv4Addr::new(198, 19, 0, 1), 1_024 + number);
    let key = <V4 as Family>::Key::new(Zone(0), 6, source, (service.address, 80));
    let (hash, source_mac) = (key.hash(&hasher), Mac::ZERO);
    let ask = Ask { key: &key, hash, source_mac, hasher: &hasher, loads, now_ns: 0 };
    assert!(service.choose(&ask).is_ok());
}

#[test]
fn no_two_workers_take_one_member_for_the_emptiest() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let id = |index| MemberId { index, generation: 0 };
        let member = |index: u16| ServiceMember {
            id: id(index),
            address: Ipv4Addr::new(198, 18, 1, index as u8),
            port: None,
            state: MemberState::Up,
            weight: 1,
            sessions_max: u64::MAX,
            warming: None,
            dscp: 0,
        };
        let service = Arc::new(Service::<V4> {
            name: "web".into(),
            address: Ipv4Addr::new(198, 18, 0, 10),
            protocol: Some(6),
            ports: PortRange { first: 80, last: 80 },
            announce: true,
            members: (0..2).map(member).collect(),
            positions: (0..2).map(|at| (id(at), at)).collect(),
            available: (0..2).collect(),
            scheduler: Scheduler::LeastConnections,
            cursor: Cursor::default(),
            wheel: Wheel::new([1, 1].into_iter()),
            persistence: None,
            mode: Mode::Routed,
            source_nat: SourceNat::Never,
            rows: None,
        });
        let loads = Arc::new(Loads::new(2));
        assert!(loads.reserve(id(1), u64::MAX));
        let threads: Vec<_> = (0..2u16)
            .map(|number| {
                let (service, loads) = (service.clone(), loads.clone());
                loom::thread::spawn(move || open(&service, &loads, number))
            })
            .collect();
        open(&service, &loads, 2);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // There were 0 and 1, and three came.
        let sessions = [0, 1].map(|index| loads.sessions(id(index)));
        assert_eq!(sessions, [2, 2]);
    });
}
