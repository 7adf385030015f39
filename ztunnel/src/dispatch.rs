//! Which worker serves a connection. The kernel gives it to any.

use std::net::SocketAddr;
use std::sync::Arc;

use ambit_bootstrap::Worker;
use tokio::net::TcpStream;

use crate::context::Local;
use crate::{inbound, outbound, run};

/// So many connections of a pod stay together. Each worker has tunnels of its own, so that a few connections, spread over
/// many workers, would make as many tunnels to the same peer.
const TOGETHER: usize = 8;
/// With no more workers than this, a pair of pods has few tunnels anyway.
const FEW_WORKERS: usize = 2;

/// One pod on every worker.
#[derive(Clone)]
pub(crate) struct Everywhere {
    /// By worker.
    pub locals: Arc<[Arc<Local>]>,
    /// The worker that serves the pod's connections while they are few.
    pub home: usize,
}

// === impl Everywhere ===

impl Everywhere {
    /// Serves a captured connection: at home while the pod has few, else where it was accepted.
    pub(crate) fn outbound(&self, accepted_by: usize, tcp: TcpStream, peer: SocketAddr) {
        let Some(local) = self.locals.get(accepted_by) else { return };
        let together = self.locals.len() > FEW_WORKERS && local.pod.open() <= TOGETHER;
        if !together || self.home == accepted_by {
            // As it is, without the room that handing it over takes.
            local.pod.drain.tasks.spawn(run::serve(outbound::open(local.clone(), tcp, peer)));
            return;
        }
        self.hand_over(self.home, tcp, move |local, tcp| {
            run::serve(outbound::open(local, tcp, peer))
        });
    }

    /// Serves a tunnel where there are the fewest.
    pub(crate) fn inbound(&self, accepted_by: usize, tcp: TcpStream, peer: SocketAddr) {
        let Some(local) = self.locals.get(accepted_by) else { return };
        let workers = &local.context.workers;
        let chosen = Worker::least_loaded(workers, accepted_by);
        let Some(worker) = workers.get(chosen) else { return };
        let load = worker.load();
        let serve = move |local, tcp| async move {
            inbound::serve(local, tcp, peer).await;
            drop(load);
        };
        if chosen == accepted_by {
            local.pod.drain.tasks.spawn(serve(local.clone(), tcp));
            return;
        }
        self.hand_over(chosen, tcp, serve);
    }

    /// Runs `serve` on another worker.
    fn hand_over<F: Future<Output = ()> + Send>(
        &self,
        to: usize,
        tcp: TcpStream,
        serve: impl FnOnce(Arc<Local>, TcpStream) -> F + Send + 'static,
    ) {
        let Some(local) = self.locals.get(to).cloned() else { return };
        let Some(worker) = local.context.workers.get(to).cloned() else { return };
        match tcp.into_std() {
            Ok(tcp) => {
                let tasks = local.pod.drain.tasks.clone();
                let serve = async move {
                    match TcpStream::from_std(tcp) {
                        Ok(tcp) => serve(local, tcp).await,
                        Err(error) => cannot(&error),
                    }
                };
                tasks.spawn_on(serve, &worker.handle);
            }
            Err(error) => cannot(&error),
        }
    }
}

fn cannot(error: &std::io::Error) {
    tracing::warn!(%error, "cannot hand a connection to its worker");
}
