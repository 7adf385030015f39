//! Feeds the state with what happens and has done what it wants.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ambit_net::NetNs;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::capture::{Capturer, Verification};
use crate::metrics::{Metrics, Operation};
use crate::pod::Pod;
use crate::state::{Effect, Event, Outcome, RequestId, State, Work, ZtunnelId};
use crate::ztunnels::Orders;

/// Pods whose rules are worked on at the same time.
const PARALLEL: usize = 8;

/// How long connections of a pod that runs already may take until they have sent a packet.
const ACQUAINTANCE: Duration = Duration::from_millis(500);

/// What comes in.
#[derive(Debug)]
pub(crate) enum Input {
    /// Something has happened.
    Event(Event<NetNs>),
    /// Somebody asks for something and waits for the reply.
    Request(RequestId, Event<NetNs>, oneshot::Sender<Outcome>),
    /// A ztunnel has connected and takes orders.
    Connected(ZtunnelId, Orders),
}

/// The state, and everybody who does something for it.
#[derive(Debug)]
pub(crate) struct Runner {
    state: State<NetNs>,
    hands: Hands,
    ztunnels: HashMap<ZtunnelId, Orders>,
    replies: HashMap<RequestId, oneshot::Sender<Outcome>>,
}

/// Does the blocking work.
#[derive(Clone, Debug)]
pub(crate) struct Hands {
    capturer: Arc<Capturer>,
    metrics: Metrics,
    inputs: Sender<Input>,
    permits: Arc<Semaphore>,
}

// === impl Runner ===

impl Runner {
    /// Runs `state` with these hands.
    pub(crate) fn new(state: State<NetNs>, hands: Hands) -> Self {
        Self { state, hands, ztunnels: HashMap::new(), replies: HashMap::new() }
    }

    /// Runs until nobody can send an input any more.
    pub(crate) async fn run(mut self, mut inputs: Receiver<Input>) {
        loop {
            let tick = self.state.next_tick();
            let event = tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => self.take_in(input),
                    None => return,
                },
                () = sleep_until(tick.unwrap_or_else(Instant::now)), if tick.is_some() => Event::Tick,
            };
            for effect in self.state.handle(Instant::now(), event) {
                self.carry_out(effect);
            }
            self.hands.metrics.census(self.state.census());
        }
    }

    fn take_in(&mut self, input: Input) -> Event<NetNs> {
        match input {
            Input::Event(event) => {
                self.note(&event);
                event
            }
            Input::Request(id, event, reply) => {
                self.replies.insert(id, reply);
                event
            }
            Input::Connected(ztunnel, orders) => {
                self.ztunnels.insert(ztunnel, orders);
                Event::Connected(ztunnel)
            }
        }
    }

    /// Counts and logs what happened.
    fn note(&mut self, event: &Event<NetNs>) {
        let metrics = &self.hands.metrics;
        match event {
            Event::Captured { uid, outcome } => {
                metrics.operation(Operation::capture, outcome);
                match outcome {
                    Ok(()) => tracing::info!(uid, "pod captured"),
                    Err(problem) => tracing::warn!(uid, problem, "pod cannot be captured"),
                }
            }
            Event::Released { uid, outcome } => {
                metrics.operation(Operation::release, outcome);
                if let Err(problem) = outcome {
                    tracing::warn!(uid, problem, "rules cannot be taken out");
                }
            }
            Event::Cleared { uid, outcome: Err(problem) } => {
                // With its namespace, its rules are gone too.
                tracing::warn!(uid, problem, "what is left of the rules cannot be taken out");
            }
            Event::Offered(offered) => {
                metrics.operation(Operation::offer, &offered.outcome);
                let (uid, ztunnel) = (&offered.uid, offered.ztunnel);
                match &offered.outcome {
                    Ok(()) => tracing::info!(uid, ztunnel, "pod served"),
                    Err(problem) => tracing::warn!(uid, ztunnel, problem, "ztunnel refuses a pod"),
                }
            }
            Event::Gone(ztunnel) => drop(self.ztunnels.remove(ztunnel)),
            _ => {}
        }
    }

    fn carry_out(&mut self, effect: Effect<NetNs>) {
        match effect {
            Effect::Reply { request, outcome } => {
                if let Some(reply) = self.replies.remove(&request) {
                    // Whoever waited may be gone.
                    let _ = reply.send(outcome);
                }
            }
            Effect::Tell(ztunnel, order) => {
                if let Some(orders) = self.ztunnels.get(&ztunnel) {
                    // A ztunnel that is gone will be reported as such.
                    let _ = orders.send(order);
                }
            }
            Effect::Forget { uid } => {
                tracing::info!(uid, "pod let go");
                self.hands.capturer.forget(&uid);
            }
            Effect::Work(work) => drop(tokio::spawn(self.hands.clone().carry_out(work))),
        }
    }
}

// === impl Hands ===

impl Hands {
    /// Work is done by `capturer` and reported to `inputs`.
    pub(crate) fn new(capturer: Arc<Capturer>, metrics: Metrics, inputs: Sender<Input>) -> Self {
        Self { capturer, metrics, inputs, permits: Arc::new(Semaphore::new(PARALLEL)) }
    }

    /// Does one piece of work and reports its end.
    async fn carry_out(self, work: Work<NetNs>) {
        let capturer = self.capturer.clone();
        let event = match work {
            Work::Capture { pod, netns, fresh } => {
                if fresh {
                    self.prepare(&pod, &netns).await;
                }
                let uid = pod.uid.clone();
                let outcome = self.block(move || capturer.capture(&pod, &netns, fresh)).await;
                Event::Captured { uid, outcome: outcome.and_then(|outcome| outcome) }
            }
            Work::Release { pod, netns } => {
                let uid = pod.uid.clone();
                let outcome = self.block(move || capturer.release(&pod, &netns)).await;
                Event::Released { uid, outcome: outcome.and_then(|outcome| outcome) }
            }
            Work::Clear { uid, netns } => {
                let pod = uid.clone();
                let outcome = self.block(move || capturer.clear(&pod, &netns)).await;
                Event::Cleared { uid, outcome: outcome.and_then(|outcome| outcome) }
            }
            Work::Verify { pod, netns } => {
                let uid = pod.uid.clone();
                let found = self.block(move || capturer.verify(&pod, &netns)).await;
                self.metrics.verification(found.unwrap_or(Verification::Failed));
                Event::Verified { uid }
            }
        };
        let _ = self.inputs.send(Input::Event(event)).await;
    }

    /// Gives the kernel time to get to know the connections of a pod that runs already.
    async fn prepare(&self, pod: &Arc<Pod>, netns: &NetNs) {
        let (capturer, pod, netns) = (self.capturer.clone(), pod.clone(), netns.clone());
        if self.block(move || capturer.prepare(&pod, &netns)).await.unwrap_or(false) {
            tokio::time::sleep(ACQUAINTANCE).await;
        }
    }

    /// Does blocking work on a thread for it. A panic there must not leave the pod waiting for ever.
    async fn block<T, F>(&self, work: F) -> Result<T, String>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        tokio::task::spawn_blocking(work).await.map_err(|error| format!("internal error: {error}"))
    }
}
