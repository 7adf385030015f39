//! Any order of events, against a model of namespaces and ztunnels.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Add {
        uid: u8,
        netns: u32,
        dns: bool,
    },
    Remove {
        uid: u8,
        alive: bool,
    },
    GiveUp {
        request: u8,
    },
    Connect,
    Disconnect,
    /// One outstanding effect, chosen by number, ends well or badly.
    Finish {
        which: usize,
        well: bool,
    },
    Pass {
        millis: u16,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_u8, 0..2_u32, any::<bool>()).prop_map(|(uid, netns, dns)| Step::Add {
            uid, netns: u32::from(uid) * 10 + netns, dns
        }),
        2 => (0..3_u8, any::<bool>()).prop_map(|(uid, alive)| Step::Remove { uid, alive }),
        1 => any::<u8>().prop_map(|request| Step::GiveUp { request }),
        1 => Just(Step::Connect),
        1 => Just(Step::Disconnect),
        8 => (0..8_usize, prop::bool::weighted(0.8)).prop_map(|(which, well)| Step::Finish { which, well }),
        1 => (0..8000_u16).prop_map(|millis| Step::Pass { millis }),
    ]
}

/// A ztunnel: what it has been sent and not answered, and what it serves.
#[derive(Default)]
struct Ztunnel {
    inbox: VecDeque<Order<u32>>,
    serves: BTreeSet<String>,
}

struct World {
    state: State<u32>,
    now: Instant,
    /// Namespaces with rules.
    captured: BTreeSet<u32>,
    work: Vec<Work<u32>>,
    ztunnels: BTreeMap<ZtunnelId, Ztunnel>,
    requests: u64,
    connections: u64,
    replies: BTreeMap<RequestId, usize>,
}

impl World {
    fn new() -> Self {
        Self {
            state: State::new(INTERVAL),
            now: Instant::now(),
            captured: BTreeSet::new(),
            work: Vec::new(),
            ztunnels: BTreeMap::new(),
            requests: 0,
            connections: 0,
            replies: BTreeMap::new(),
        }
    }

    fn tell(&mut self, event: Event<u32>) {
        for effect in self.state.handle(self.now, event) {
            match effect {
                Effect::Reply { request, .. } => *self.replies.entry(request).or_default() += 1,
                Effect::Forget { .. } => {}
                Effect::Tell(ztunnel, order) => {
                    let ztunnel = self.ztunnels.get_mut(&ztunnel).expect("a connected ztunnel");
                    ztunnel.inbox.push_back(order);
                }
                Effect::Work(work) => {
                    let pod = worked_on(&work);
                    if let Work::Capture { fresh: true, .. } = &work {
                        let served = self.ztunnels.values().any(|z| z.serves.contains(&pod));
                        assert!(served, "{pod} would be cut off");
                    }
                    let is_alone = self.work.iter().all(|other| worked_on(other) != pod);
                    assert!(is_alone, "two operations on {pod}");
                    self.work.push(work);
                }
            }
        }
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        self.requests
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Add { uid, netns, dns } => {
                let request = Some(self.request());
                self.tell(Event::Add(Addition {
                    request,
                    pod: pod(&uid.to_string(), dns),
                    netns,
                    restored: false,
                }));
            }
            Step::Remove { uid, alive } => {
                let request = Some(self.request());
                self.tell(Event::Remove(Removal { request, uid: uid.to_string(), alive }));
            }
            Step::GiveUp { request } => self.tell(Event::GiveUp(request.into())),
            Step::Connect => {
                self.connections += 1;
                self.ztunnels.insert(self.connections, Ztunnel::default());
                self.tell(Event::Connected(self.connections));
            }
            Step::Disconnect => {
                if let Some((id, _)) = self.ztunnels.pop_first() {
                    self.tell(Event::Gone(id));
                }
            }
            Step::Finish { which, well } => self.finish(which, well),
            Step::Pass { millis } => {
                self.now += Duration::from_millis(millis.into());
                self.tell(Event::Tick);
            }
        }
    }

    /// Ends one operation or lets one ztunnel answer; says whether there was any.
    fn finish(&mut self, which: usize, well: bool) {
        let outcome = if well { Ok(()) } else { Err("no".to_owned()) };
        let busy: Vec<ZtunnelId> =
            self.ztunnels.iter().filter(|(_, z)| !z.inbox.is_empty()).map(|(id, _)| *id).collect();
        let choices = self.work.len() + busy.len();
        if choices == 0 {
            return;
        }
        let which = which % choices;
        if which < self.work.len() {
            let effect = self.work.swap_remove(which);
            self.end_work(effect, outcome);
        } else {
            self.answer(busy[which - self.work.len()], outcome);
        }
    }

    fn end_work(&mut self, work: Work<u32>, outcome: Outcome) {
        match work {
            Work::Capture { pod, netns, .. } => {
                if outcome.is_ok() {
                    self.captured.insert(netns);
                }
                self.tell(Event::Captured { uid: pod.uid.clone(), outcome });
            }
            Work::Release { pod, netns } => {
                if outcome.is_ok() {
                    self.captured.remove(&netns);
                }
                self.tell(Event::Released { uid: pod.uid.clone(), outcome });
            }
            Work::Clear { uid, netns } => {
                self.captured.remove(&netns);
                self.tell(Event::Cleared { uid, outcome });
            }
            Work::Verify { pod, .. } => self.tell(Event::Verified { uid: pod.uid.clone() }),
        }
    }

    fn answer(&mut self, id: ZtunnelId, outcome: Outcome) {
        let ztunnel = self.ztunnels.get_mut(&id).unwrap();
        match ztunnel.inbox.pop_front().unwrap() {
            Order::Offer { pod, version, .. } => {
                if outcome.is_ok() {
                    ztunnel.serves.insert(pod.uid.clone());
                }
                let uid = pod.uid.clone();
                self.tell(Event::Offered(Offered { ztunnel: id, uid, version, outcome }));
            }
            Order::Withdraw { uid } => {
                ztunnel.serves.remove(&uid);
                self.tell(Event::Withdrawn { ztunnel: id, uid });
            }
            Order::Keep { .. } | Order::SnapshotSent => {}
        }
    }

    /// Lets everything end well and time pass until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let idle = self.work.is_empty() && self.ztunnels.values().all(|z| z.inbox.is_empty());
            let is_waiting = |entry: &Entry<u32>| {
                entry.retry_at.is_some() || matches!(entry.phase, Phase::Lingering { .. })
            };
            match (idle, self.state.pods.values().any(is_waiting)) {
                (true, false) => return,
                (true, true) => self.step(Step::Pass { millis: 6000 }),
                (false, _) => self.finish(0, true),
            }
        }
        panic!("never settles");
    }
}

fn worked_on(work: &Work<u32>) -> String {
    match work {
        Work::Capture { pod, .. } | Work::Verify { pod, .. } | Work::Release { pod, .. } => {
            pod.uid.clone()
        }
        Work::Clear { uid, .. } => uid.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everybody_gets_one_reply_and_the_latest_ztunnel_serves_what_is_captured(
        steps in proptest::collection::vec(any_step(), 1..60),
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.step(Step::Connect);
        world.settle();
        let census = world.state.census();
        prop_assert_eq!((census.pending, census.leaving), (0, 0));
        let pods: BTreeSet<String> = world.state.pods.keys().cloned().collect();
        let latest = world.ztunnels.last_key_value().unwrap().1;
        prop_assert_eq!(&latest.serves, &pods);
        for ztunnel in world.ztunnels.values() {
            prop_assert!(ztunnel.serves.is_subset(&pods));
        }
        for entry in world.state.pods.values() {
            prop_assert!(world.captured.contains(&entry.netns));
            prop_assert!(entry.waiting.is_empty() && entry.queue.is_empty());
        }
        let expected: BTreeMap<RequestId, usize> = (1..=world.requests).map(|id| (id, 1)).collect();
        prop_assert_eq!(world.replies, expected);
    }
}
