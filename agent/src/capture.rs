//! Work inside a pod's network namespace. Everything here blocks for some milliseconds.

use std::fs;
use std::io;

use ambit_net::NetNs;
use ambit_redirect::{Backend, Drift, apply, pass, remove, verify};

use crate::describe;
use crate::pod::Pod;
use crate::run_dir::{Record, RunDir};
use crate::state::Outcome;

/// Lets connections that wait to be accepted move to another listener when theirs closes, so that one ztunnel can
/// take over from another without refusing any.
pub(crate) const MIGRATE_REQ: &str = "/proc/sys/net/ipv4/tcp_migrate_req";
/// The kernel's lists of TCP sockets, in the namespace of whoever reads them.
const SOCKETS: [&str; 2] = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
/// Differences that one log line names.
const DRIFTS_NAMED: usize = 3;

/// Captures pods, and remembers which.
#[derive(Debug)]
pub(crate) struct Capturer {
    backend: Backend,
    run_dir: RunDir,
}

/// What verifying a pod's rules found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verification {
    /// They are as they should be.
    Good,
    /// They were not, and are now.
    Repaired,
    /// They cannot be read or repaired.
    Failed,
}

// === impl Capturer ===

impl Capturer {
    /// Rules are held by `backend`; `run_dir` remembers the pods.
    pub(crate) fn new(backend: Backend, run_dir: RunDir) -> Self {
        Self { backend, run_dir }
    }

    /// Makes the kernel follow connections that are open in the pod already; says whether there are any. Those of which
    /// it then sees a packet are known before the rules that capture go in; the next packet of any other looks to it
    /// like the first of a new connection, would be redirected and answered with a reset.
    pub(crate) fn prepare(&self, pod: &Pod, netns: &NetNs) -> bool {
        let is_open = has_connections(netns);
        if is_open && let Err(error) = pass(netns, &pod.capture, self.backend) {
            // What is wrong will be in the way of the rules too, and reported.
            tracing::debug!(uid = pod.uid, error = describe(&error), "cannot prepare the pod");
        }
        is_open
    }

    /// Remembers the pod and puts its rules in. A failure leaves nothing of a `fresh` pod behind but the record.
    pub(crate) fn capture(&self, pod: &Pod, netns: &NetNs, fresh: bool) -> Outcome {
        self.remember(pod, netns).map_err(|error| format!("cannot remember the pod: {error}"))?;
        if let Err(error) = apply(netns, &pod.capture, self.backend) {
            if fresh && let Err(error) = remove(netns) {
                tracing::warn!(uid = pod.uid, error = describe(&error), "cannot clean up");
            }
            return Err(describe(&error));
        }
        if let Err(error) = write_migrate_req(netns, "1") {
            tracing::warn!(uid = pod.uid, %error, "cannot set net.ipv4.tcp_migrate_req: connections may be refused while ztunnel is replaced");
        }
        Ok(())
    }

    /// Lets new connections pass. Captured ones go on.
    pub(crate) fn release(&self, pod: &Pod, netns: &NetNs) -> Outcome {
        pass(netns, &pod.capture, self.backend).map_err(|error| describe(&error))
    }

    /// Takes the rules out and restores what was there before.
    pub(crate) fn clear(&self, uid: &str, netns: &NetNs) -> Outcome {
        remove(netns).map_err(|error| describe(&error))?;
        let before = self.run_dir.load(uid).and_then(|record| record.migrate_req);
        if let Some(before) = before
            && let Err(error) = write_migrate_req(netns, &before)
        {
            tracing::warn!(uid, %error, "cannot restore net.ipv4.tcp_migrate_req");
        }
        Ok(())
    }

    /// Looks whether the rules are as they should be, and puts them in again if not.
    pub(crate) fn verify(&self, pod: &Pod, netns: &NetNs) -> Verification {
        let drifts = match verify(netns, &pod.capture, self.backend) {
            Ok(drifts) if drifts.is_empty() => return Verification::Good,
            Ok(drifts) => drifts,
            Err(error) => {
                tracing::warn!(uid = pod.uid, error = describe(&error), "cannot verify the rules");
                return Verification::Failed;
            }
        };
        tracing::warn!(
            uid = pod.uid,
            count = drifts.len(),
            found = name(&drifts),
            "somebody has changed the rules of a pod, repairing them"
        );
        match apply(netns, &pod.capture, self.backend) {
            Ok(()) => Verification::Repaired,
            Err(error) => {
                tracing::warn!(uid = pod.uid, error = describe(&error), "cannot repair the rules");
                Verification::Failed
            }
        }
    }

    /// Forgets a pod.
    pub(crate) fn forget(&self, uid: &str) {
        if let Err(error) = self.run_dir.forget(uid) {
            tracing::warn!(uid, %error, "cannot remove the record of a pod");
        }
    }

    /// All pods that were captured when the agent last ran, or were about to be.
    pub(crate) fn remembered(&self) -> io::Result<Vec<Record>> {
        self.run_dir.records()
    }

    fn remember(&self, pod: &Pod, netns: &NetNs) -> io::Result<()> {
        let id = netns.id();
        let known = self.run_dir.load(&pod.uid).filter(|record| record.is_of(id));
        let migrate_req = match known {
            Some(record) => record.migrate_req,
            None => read_migrate_req(netns).ok(),
        };
        self.run_dir.save(&Record { pod: pod.spec.clone(), netns: (id.dev, id.inode), migrate_req })
    }
}

/// The back end that is asked for, or else the first that works on this node: nftables, then iptables. Checks, before
/// any pod needs it, that rules can be read and written here at all.
pub(crate) fn choose(wanted: Option<Backend>) -> Result<Backend, ambit_redirect::Error> {
    let Some(wanted) = wanted else {
        return check(Backend::Nftables).or_else(|first| {
            tracing::info!(problem = describe(&first), "no nftables here, trying iptables");
            check(Backend::Iptables).map_err(|_| first)
        });
    };
    check(wanted)
}

fn check(backend: Backend) -> Result<Backend, ambit_redirect::Error> {
    let Ok(own) = NetNs::current() else { return Ok(backend) };
    verify(own, &ambit_redirect::Capture::default(), backend).map(|_| backend)
}

fn has_connections(netns: &NetNs) -> bool {
    const ESTABLISHED: &str = "01";
    let is_open = |line: &str| line.split_whitespace().nth(3) == Some(ESTABLISHED);
    let open = |path: &&str| fs::read_to_string(path).is_ok_and(|list| list.lines().any(is_open));
    netns.enter(|| SOCKETS.iter().any(open)).unwrap_or(false)
}

fn read_migrate_req(netns: &NetNs) -> io::Result<String> {
    let text = netns.enter(|| fs::read_to_string(MIGRATE_REQ))??;
    Ok(text.trim().to_owned())
}

fn write_migrate_req(netns: &NetNs, value: &str) -> io::Result<()> {
    netns.enter(|| fs::write(MIGRATE_REQ, value))?
}

fn name(drifts: &[Drift]) -> String {
    let named: Vec<String> = drifts.iter().take(DRIFTS_NAMED).map(ToString::to_string).collect();
    named.join("; ")
}
