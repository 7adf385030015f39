//! One program of the mesh: started, started again when it ends, stopped, replaced.

use std::fmt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;
use tokio::process::Child;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::sleep;

use crate::event::Event;
use crate::log::Log;
use crate::process::{exit_code, kill_group, pid, terminate};

/// Names a program of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Component {
    /// The controller.
    Controller,
    /// The agent of a node.
    Agent(String),
    /// The ztunnel of a node.
    Ztunnel(String),
}

/// How a program is started.
pub(crate) type Start = Box<dyn Fn() -> std::io::Result<Child> + Send + Sync>;

/// A program that is kept running.
#[derive(Debug)]
pub(crate) struct Supervisor {
    orders: mpsc::Sender<(Order, oneshot::Sender<()>)>,
    pid: Arc<Mutex<Option<Pid>>>,
    log: Log,
}

/// What can be asked of a supervisor. Each is answered when it is done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// Let it run, if it does not.
    Start,
    /// End it as a node's shutdown would, within the time given, and leave it so.
    Stop(Duration),
    /// Kill it; it is started again.
    Kill,
    /// Start a successor beside it, and end it when the successor has had that long to take over.
    Replace { overlap: Duration, grace: Duration },
}

/// The pause before a program that ended is started again.
const PAUSE: Duration = Duration::from_millis(200);

/// A supervisor's task.
struct Task {
    component: Component,
    start: Start,
    events: broadcast::Sender<Event>,
    pid: Arc<Mutex<Option<Pid>>>,
    log: Log,
}

// === impl Component ===

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller => f.write_str("controller"),
            Self::Agent(node) => write!(f, "agent on {node}"),
            Self::Ztunnel(node) => write!(f, "ztunnel on {node}"),
        }
    }
}

// === impl Supervisor ===

impl Supervisor {
    /// Starts the program and keeps it running. The program dies with the supervisor.
    pub(crate) fn new(
        component: Component,
        events: broadcast::Sender<Event>,
        start: Start,
    ) -> Self {
        let (orders, inbox) = mpsc::channel(4);
        let (pid, log) = (Arc::default(), Log::default());
        let task = Task { component, start, events, pid: Arc::clone(&pid), log: log.clone() };
        tokio::spawn(task.run(inbox));
        Self { orders, pid, log }
    }

    /// Gives an order and waits until it is carried out.
    pub(crate) async fn order(&self, order: Order) {
        let (done, answer) = oneshot::channel();
        if self.orders.send((order, done)).await.is_ok() {
            let _ = answer.await;
        }
    }

    /// The program's process, while it runs.
    pub(crate) fn pid(&self) -> Option<Pid> {
        *self.pid.lock()
    }

    /// The end of what it wrote.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }
}

// === impl Task ===

impl Task {
    async fn run(self, mut orders: mpsc::Receiver<(Order, oneshot::Sender<()>)>) {
        let mut child = self.started().await;
        loop {
            let next = tokio::select! {
                () = ended(&mut child) => None,
                order = orders.recv() => match order {
                    Some(order) => Some(order),
                    None => return,
                },
            };
            match next {
                None => {
                    self.mourn(child.take()).await;
                    sleep(PAUSE).await;
                    child = self.started().await;
                }
                Some((order, done)) => {
                    child = self.obey(order, child).await;
                    let _ = done.send(());
                }
            }
        }
    }

    async fn started(&self) -> Option<Child> {
        loop {
            match (self.start)() {
                Ok(mut child) => {
                    self.log.follow(&mut child);
                    *self.pid.lock() = pid(&child);
                    return Some(child);
                }
                Err(error) => {
                    self.tell(format!("cannot be started: {error}"));
                    sleep(10 * PAUSE).await;
                }
            }
        }
    }

    async fn obey(&self, order: Order, mut child: Option<Child>) -> Option<Child> {
        match order {
            Order::Start if child.is_none() => self.started().await,
            Order::Start => child,
            Order::Stop(grace) => {
                if let Some(mut child) = child {
                    let _ = terminate(&mut child, grace).await;
                }
                *self.pid.lock() = None;
                None
            }
            Order::Kill => {
                if let Some(child) = &mut child {
                    kill_group(pid(child));
                    let _ = child.wait().await;
                }
                self.started().await
            }
            Order::Replace { overlap, grace } => {
                let successor = self.started().await;
                sleep(overlap).await;
                if let Some(mut old) = child
                    && let Some(pid) = pid(&old)
                {
                    let _ = kill(pid, Signal::SIGTERM);
                    if tokio::time::timeout(grace, old.wait()).await.is_err() {
                        kill_group(Some(pid));
                    }
                }
                successor
            }
        }
    }

    /// Says that the program has ended.
    async fn mourn(&self, child: Option<Child>) {
        let Some(mut child) = child else { return };
        let code = child.wait().await.map_or(-1, exit_code);
        *self.pid.lock() = None;
        self.tell(format!(
            "ended with code {code} and is started again: {}",
            self.log.last_words()
        ));
    }

    fn tell(&self, news: String) {
        let _ = self.events.send(Event::Component { component: self.component.to_string(), news });
    }
}

/// Waits for the end of a child, for ever if there is none.
async fn ended(child: &mut Option<Child>) {
    match child {
        Some(child) => drop(child.wait().await),
        None => std::future::pending().await,
    }
}

/// Pipes a program's output, for its log.
pub(crate) fn logged(mut command: Command) -> Command {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
