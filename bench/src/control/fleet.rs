//! All simulated proxies, on threads of their own.

use std::sync::Arc;
use std::thread::JoinHandle;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::http2::Server;
use super::ledger::Ledger;
use super::proxy::Proxy;
use super::shape;

/// Each thread serves its share of the proxies alone, so that none of them waits for another thread.
const THREADS: usize = 2;

/// Proxies that run until they are dropped.
pub(crate) struct Fleet {
    pub(crate) ledger: Arc<Ledger>,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

// === impl Fleet ===

impl Fleet {
    /// Connects the proxies with these tokens, all at once; the first is that of node 0.
    ///
    /// # Errors
    /// There can be no more threads.
    pub(crate) fn connect(server: &Server, tokens: &[String]) -> std::io::Result<Self> {
        let ledger = Arc::new(Ledger::new(tokens.len()));
        let stop = CancellationToken::new();
        let mut shares: Vec<Vec<Proxy>> = (0..THREADS).map(|_| Vec::new()).collect();
        for ((node, token), share) in (0..).zip(tokens).zip((0..THREADS).cycle()) {
            let (server, token, ledger) = (server.clone(), token.clone(), ledger.clone());
            if let Some(share) = shares.get_mut(share) {
                share.push(Proxy { node, token, server, ledger });
            }
        }
        let mut fleet = Self { ledger, stop, threads: Vec::new() };
        for share in shares {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let work =
                fleet.stop.clone().run_until_cancelled_owned(run(share, fleet.ledger.clone()));
            let thread = std::thread::Builder::new().name("proxies".to_owned());
            fleet.threads.push(thread.spawn(move || {
                runtime.block_on(work);
            })?);
        }
        Ok(fleet)
    }
}

async fn run(proxies: Vec<Proxy>, ledger: Arc<Ledger>) {
    let tasks = proxies.into_iter().map(|proxy| {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            let node = shape::node(proxy.node);
            if let Err(error) = proxy.run().await {
                ledger.failed(format!("the proxy of {node}: {error:#}"));
            }
        })
    });
    join_all(tasks.collect::<Vec<_>>()).await;
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // Its panic has been reported where it happened.
            let _ = thread.join();
        }
    }
}
