//! One query of one pod, from its packet to the packet that answers it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_model::Workload;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use parking_lot::Mutex;
use rand::seq::SliceRandom;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::debug;

use super::cache::{Cache, Key};
use super::forward::Forwarder;
use super::message::{Malformed, Received, Transport, answer_count, lifetime, receive};
use super::metrics::Labels;
use super::names::Scope;
use super::plan::{self, Answer, Client, Plan, Rules};
use super::{PodDns, Shared, log};

/// Queries of one pod that wait at a time: for a resolver, or, when a pod has just begun, for the control plane to know it.
const MAX_IN_FLIGHT: usize = 1024;

/// How long a query waits for the pod to become known: less than clients wait for us.
const WORKLOAD_DEADLINE: Duration = Duration::from_secs(3);

/// Answers the queries of one pod.
pub(super) struct PodResolver {
    shared: Arc<Shared>,
    pod: PodDns,
    forwarder: Forwarder,
    cache: Mutex<Cache>,
    in_flight: Arc<Semaphore>,
}

/// How far a query came without waiting for anything.
pub(super) enum Step {
    /// Here is the answer, if there is one to give.
    Done(Option<Vec<u8>>),
    /// [`PodResolver::finish`] it.
    Later(Box<Pending>),
}

/// A query that has to wait: for the pod to become known, or for a resolver.
pub(super) struct Pending {
    received: Received,
    _permits: [OwnedSemaphorePermit; 2],
}

impl PodResolver {
    pub(super) fn new(shared: Arc<Shared>, pod: PodDns) -> Self {
        let servers: &Vec<SocketAddr> =
            if pod.nameservers.is_empty() { &shared.config.nameservers } else { &pod.nameservers };
        let forwarder = Forwarder {
            servers: servers.clone(),
            netns: pod.netns.clone(),
            mark: pod.mark,
            metrics: shared.metrics.clone(),
        };
        let in_flight = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
        Self { shared, pod, forwarder, cache: Mutex::default(), in_flight }
    }

    /// Takes a query as far as it goes without waiting.
    pub(super) fn begin(&self, packet: &[u8], transport: Transport) -> Step {
        let received = match receive(packet, transport) {
            Ok(received) => received,
            Err(malformed) => {
                self.shared.metrics.malformed_from_client();
                return Step::Done(match malformed {
                    Malformed::Silent => None,
                    Malformed::Answerable(reply) => Some(reply),
                });
            }
        };
        if let Some(code) = plan::refusal(&received.message) {
            return Step::Done(self.refuse(&received, None, code));
        }
        let Some(workload) = self.workload() else { return self.postpone(received) };
        match self.plan(&received, &workload) {
            Plan::Answer(answer) => Step::Done(self.answer(&received, &workload, answer)),
            Plan::Refuse(code) => Step::Done(self.refuse(&received, Some(&workload), code)),
            Plan::Forward => match self.kept(&received, &workload) {
                Some(reply) => Step::Done(Some(reply)),
                None => self.postpone(received),
            },
        }
    }

    /// Takes a query that has to wait to its end.
    pub(super) async fn finish(&self, pending: Box<Pending>) -> Option<Vec<u8>> {
        let received = &pending.received;
        let Some(workload) = self.await_workload().await else {
            debug!(target: "dns", pod = &*self.pod.name, "the pod is not a known workload");
            return self.refuse(received, None, ResponseCode::ServFail);
        };
        match self.plan(received, &workload) {
            Plan::Answer(answer) => self.answer(received, &workload, answer),
            Plan::Refuse(code) => self.refuse(received, Some(&workload), code),
            Plan::Forward => self.forward(received, &workload).await,
        }
    }

    fn postpone(&self, received: Received) -> Step {
        let permit = |semaphore: &Arc<Semaphore>| Arc::clone(semaphore).try_acquire_owned().ok();
        match (permit(&self.in_flight), permit(&self.shared.in_flight)) {
            (Some(own), Some(all)) => {
                Step::Later(Box::new(Pending { received, _permits: [own, all] }))
            }
            _ => {
                self.count(&received, None);
                log::query(&self.pod, received.question(), "too many queries under way", 0);
                Step::Done(received.refuse(ResponseCode::ServFail))
            }
        }
    }

    /// The pod's workload, once the state is complete and has it.
    fn workload(&self) -> Option<Arc<Workload>> {
        let snapshot = self.shared.state.snapshot();
        let PodDns { name, namespace, service_account, .. } = &self.pod;
        let workload = snapshot.local_workload(namespace, name, service_account);
        workload.filter(|_| snapshot.synced())
    }

    async fn await_workload(&self) -> Option<Arc<Workload>> {
        let mut changed = self.shared.state.changed();
        let known = async {
            loop {
                changed.mark_unchanged();
                if let Some(workload) = self.workload() {
                    return Some(workload);
                }
                changed.changed().await.ok()?;
            }
        };
        timeout(WORKLOAD_DEADLINE, known).await.ok().flatten()
    }

    fn plan(&self, received: &Received, workload: &Workload) -> Plan {
        let config = &self.shared.config;
        let Some(question) = received.question() else {
            return Plan::Refuse(ResponseCode::FormErr);
        };
        let scope = Scope {
            domain: &config.domain,
            namespace: &self.pod.namespace,
            searches: &self.pod.searches,
        };
        let client = Client { scope, network: &workload.network };
        let preferred_namespace = config.preferred_namespace.as_deref();
        let rules = Rules { preferred_namespace, ipv6: config.ipv6 };
        plan::answer(question, client, &self.shared.state.snapshot(), rules)
    }

    fn answer(
        &self,
        received: &Received,
        workload: &Workload,
        mut answer: Answer,
    ) -> Option<Vec<u8>> {
        self.count(received, Some(workload));
        log::query(&self.pod, received.question(), answer.outcome, answer.addresses.len());
        answer.addresses.shuffle(&mut rand::rng());
        let mut reply = received.reply(ResponseCode::NoError);
        reply.metadata.authoritative = true;
        reply.answers = answer.records(received.question()?);
        received.encode(&reply)
    }

    fn refuse(
        &self,
        received: &Received,
        workload: Option<&Workload>,
        code: ResponseCode,
    ) -> Option<Vec<u8>> {
        self.count(received, workload);
        log::query(&self.pod, received.question(), code.to_str(), 0);
        received.refuse(code)
    }

    /// An answer that a resolver gave before.
    fn kept(&self, received: &Received, workload: &Workload) -> Option<Vec<u8>> {
        let key = Key::of(&received.message)?;
        let reply = {
            let cache = self.cache.lock();
            let (response, age) = cache.get(&key, Instant::now())?;
            received.relay_kept(response, age)?
        };
        self.count(received, Some(workload));
        log::query(&self.pod, received.question(), "cached", answer_count(&reply));
        Some(reply)
    }

    async fn forward(&self, received: &Received, workload: &Workload) -> Option<Vec<u8>> {
        let metrics = &self.shared.metrics;
        let labels = self.count(received, Some(workload));
        metrics.forwarded(&labels);
        let began = Instant::now();
        let forwarded = self.forwarder.forward(received).await;
        metrics.answered(&labels, began.elapsed(), forwarded.is_err());
        match forwarded {
            Ok(response) => {
                let answers = answer_count(&response);
                log::query(&self.pod, received.question(), "forwarded", answers);
                self.keep(received, &response);
                received.relay(response)
            }
            Err(error) => {
                debug!(target: "dns", pod = &*self.pod.name, %error, "forwarding failed");
                let result = format!("forwarding failed ({})", error.reason());
                log::query(&self.pod, received.question(), &result, 0);
                received.refuse(ResponseCode::ServFail)
            }
        }
    }

    fn keep(&self, received: &Received, response: &[u8]) {
        if let (Some(key), Some(lifetime)) = (Key::of(&received.message), lifetime(response)) {
            self.cache.lock().put(key, response, lifetime, Instant::now());
        }
    }

    fn count(&self, received: &Received, workload: Option<&Workload>) -> Labels {
        let kind = received.question().map_or(RecordType::ZERO, |question| question.query_type());
        let labels = Labels::new(kind, received.transport, workload);
        self.shared.metrics.request(&labels);
        labels
    }
}
