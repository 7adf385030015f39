//! The captured pods: started when the agent names them, ended when it takes them back.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use ambit_hbone::{Pool, Pressure};
use ambit_lifecycle::Drain;
use ambit_model::{Str, Workload};
use ambit_net::NetNs;
use ambit_telemetry::Direction;
use ambit_tunnel::Security;
use parking_lot::RwLock;
use tokio::time::Instant;

use crate::context::{Context, Local};
use crate::dispatch::Everywhere;
use crate::pod::{Listeners, Pod, PodInfo};
use crate::{plaintext, run};
use ambit_bootstrap::{Turns, accept};

/// The running pods, for lookups by any thread.
#[derive(Default)]
pub(crate) struct LocalPods {
    by_name: RwLock<HashMap<(Str, Str), Arc<Pod>>>,
}

/// Starts and ends pods. Lives on the control thread.
pub(crate) struct Pods {
    context: Arc<Context>,
    running: HashMap<Str, Arc<Pod>>,
    /// Pods that could not be started, to be tried again.
    pending: HashMap<Str, Pending>,
    closed: bool,
}

struct Pending {
    info: PodInfo,
    netns: NetNs,
}

// === impl LocalPods ===

impl LocalPods {
    /// The pod of `workload`, if it is captured here.
    pub(crate) fn find(&self, workload: &Workload) -> Option<Arc<Pod>> {
        let key = (workload.namespace.clone(), workload.name.clone());
        let pod = self.by_name.read().get(&key).cloned()?;
        (pod.info.service_account == workload.service_account && !pod.drain.closing.is_cancelled())
            .then_some(pod)
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Pod>> {
        self.by_name.read().values().cloned().collect()
    }

    fn insert(&self, pod: Arc<Pod>) {
        let key = (pod.info.namespace.clone(), pod.info.name.clone());
        self.by_name.write().insert(key, pod);
    }

    fn remove(&self, pod: &Arc<Pod>) {
        let key = (pod.info.namespace.clone(), pod.info.name.clone());
        let mut by_name = self.by_name.write();
        if by_name.get(&key).is_some_and(|current| Arc::ptr_eq(current, pod)) {
            by_name.remove(&key);
        }
    }
}

// === impl Pods ===

impl Pods {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, running: HashMap::new(), pending: HashMap::new(), closed: false }
    }

    /// Captures a pod. One that runs already in the same namespace is left alone.
    ///
    /// # Errors
    /// Its listeners could not be opened. It is kept, and tried again by [`Pods::retry`].
    pub(crate) fn add(&mut self, uid: Str, info: PodInfo, netns: NetNs) -> io::Result<()> {
        let is_same = |pod: &Arc<Pod>| pod.netns.as_ref().map(NetNs::id) == Some(netns.id());
        if self.running.get(&uid).is_some_and(is_same) {
            return Ok(());
        }
        self.remove(&uid);
        let started = self.start(uid.clone(), info.clone(), Some(netns.clone()));
        if let Err(error) = &started {
            tracing::warn!(pod = %info.name, namespace = %info.namespace, %error, "cannot capture the pod yet");
            self.pending.insert(uid, Pending { info, netns });
        }
        self.count();
        started
    }

    /// Captures the process's own namespace for the one workload of dedicated mode.
    ///
    /// # Errors
    /// The listeners could not be opened.
    pub(crate) fn add_own(&mut self, info: PodInfo) -> io::Result<()> {
        self.start("dedicated".into(), info, None)?;
        self.count();
        Ok(())
    }

    /// Ends the capture of a pod and everything open in it.
    pub(crate) fn remove(&mut self, uid: &str) {
        self.pending.remove(uid);
        if let Some(pod) = self.running.remove(uid) {
            self.context.pods.remove(&pod);
            pod.drain.end();
            self.context.metrics.pods.stopped.inc();
            tracing::info!(pod = %pod.info.name, namespace = %pod.info.namespace, "pod released");
        }
        self.count();
    }

    /// Ends the capture of every pod that a complete snapshot does not name.
    pub(crate) fn retain(&mut self, named: &HashSet<Str>) {
        let known = self.running.keys().chain(self.pending.keys());
        let gone: Vec<Str> = known.filter(|uid| !named.contains(*uid)).cloned().collect();
        for uid in gone {
            self.remove(&uid);
        }
    }

    /// Tries again to start what could not be started.
    pub(crate) fn retry(&mut self) {
        for (uid, Pending { info, netns }) in std::mem::take(&mut self.pending) {
            // A failure is logged and puts the pod back among the pending ones.
            let _ = self.add(uid, info, netns);
        }
    }

    /// Whether every pod that was named is captured.
    pub(crate) fn all_started(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes no more pods and connections, and lets those that are open finish until `deadline`.
    pub(crate) async fn close(&mut self, deadline: Instant) {
        self.closed = true;
        let pods = self.running.values();
        futures_util::future::join_all(pods.map(|pod| pod.drain.close(deadline))).await;
    }

    /// Ends what is still open, and says how many connections that cuts.
    pub(crate) async fn end(&mut self) -> usize {
        let cut = self.running.values().map(|pod| pod.connections.len()).sum();
        let pods = self.running.values();
        futures_util::future::join_all(pods.map(|pod| pod.drain.finish(Instant::now()))).await;
        self.running.clear();
        cut
    }

    fn start(&mut self, uid: Str, info: PodInfo, netns: Option<NetNs>) -> io::Result<()> {
        if self.closed {
            return Err(io::Error::other("the process is draining and takes no more pods"));
        }
        let context = &self.context;
        let mut pod = Pod::new(uid.clone(), info, netns, Arc::new(context.config.sockets.clone()));
        let turns = context.workers.iter().map(|worker| Arc::new(worker.turns()));
        pod.turns = turns.collect();
        pod.housekeeping = context.workers.len() + usize::from(context.dns.is_some());
        let listeners =
            context.workers.iter().map(|_| pod.listen()).collect::<io::Result<Vec<_>>>()?;
        let dns_sockets = match &context.dns {
            Some(_) => Some(pod.listen_dns(context.config.dns.port)?),
            None => None,
        };
        pod.keeps_source = listeners.iter().all(|l| l.hbone.transparent && l.plaintext.transparent);
        let pod = Arc::new(pod);
        let local = |(worker, turns): (usize, &Arc<Turns>)| {
            let hbone = ambit_hbone::Config {
                pressure: Pressure::default(),
                ..context.config.hbone.clone()
            };
            Arc::new(Local {
                context: context.clone(),
                pod: pod.clone(),
                pool: Pool::new(hbone.clone()),
                security: Security { hbone, ..context.security.clone() },
                turns: turns.clone(),
                worker,
            })
        };
        let locals: Arc<[Arc<Local>]> = pod.turns.iter().enumerate().map(local).collect();
        let home = self.running.len() % locals.len().max(1);
        let everywhere = Everywhere { locals, home };
        for (local, listeners) in everywhere.locals.iter().zip(listeners) {
            serve(local.clone(), everywhere.clone(), listeners);
        }
        if let (Some(proxy), Some(sockets), Some(worker)) =
            (&context.dns, dns_sockets, context.workers.first())
        {
            let (proxy, dns, closing) = (proxy.clone(), pod.dns(), pod.drain.closing.clone());
            let serve = async move {
                if let Err(error) = proxy.serve(dns, sockets, closing).await {
                    tracing::error!(%error, "cannot serve the pod's DNS sockets");
                }
            };
            pod.drain.tasks.spawn_on(serve, &worker.handle);
        }
        context.pods.insert(pod.clone());
        context.metrics.pods.started.inc();
        tracing::info!(pod = %pod.info.name, namespace = %pod.info.namespace, "pod captured");
        self.running.insert(uid, pod);
        Ok(())
    }

    fn count(&self) {
        let metrics = &self.context.metrics.pods;
        metrics.active.set(self.running.len() as i64);
        metrics.pending.set(self.pending.len() as i64);
    }
}

/// Starts the accept loops of one worker in one pod.
fn serve(local: Arc<Local>, everywhere: Everywhere, listeners: Listeners) {
    let Some(worker) = local.context.workers.get(local.worker).cloned() else { return };
    let tasks = local.pod.drain.tasks.clone();
    let serve = async move {
        let (outbound, plaintext, hbone) = match listeners.into_tokio() {
            Ok(listeners) => listeners,
            Err(error) => return tracing::error!(%error, "cannot serve the pod's listeners"),
        };
        let Drain { closing, tasks, .. } = local.pod.drain.clone();
        let spawn_outbound = |tcp, peer| {
            if let Some(tcp) = local.admit(tcp, peer, Direction::Outbound) {
                everywhere.outbound(local.worker, tcp, peer);
            }
        };
        let spawn_plaintext = |tcp, peer| {
            if let Some(tcp) = local.admit(tcp, peer, Direction::Inbound) {
                tasks.spawn(run::serve(plaintext::open(local.clone(), tcp, peer)));
            }
        };
        let spawn_inbound = |tcp, peer| {
            if let Some(tcp) = local.admit(tcp, peer, Direction::Inbound) {
                everywhere.inbound(local.worker, tcp, peer);
            }
        };
        let others = || {
            let turns = local.turns.clone();
            async move { turns.pass().await }
        };
        let shortage = &local.context.metrics.shortage;
        tokio::join!(
            accept(outbound, closing.clone(), shortage, others, spawn_outbound),
            accept(plaintext, closing.clone(), shortage, others, spawn_plaintext),
            accept(hbone, closing.clone(), shortage, others, spawn_inbound),
        );
    };
    tasks.spawn_on(serve, &worker.handle);
}

// === impl Listeners ===

impl Listeners {
    fn into_tokio(
        self,
    ) -> io::Result<(tokio::net::TcpListener, tokio::net::TcpListener, tokio::net::TcpListener)>
    {
        Ok((self.outbound.into_tokio()?, self.plaintext.into_tokio()?, self.hbone.into_tokio()?))
    }
}
