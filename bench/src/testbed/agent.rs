//! Plays the node agent: capture rules in the pods, and their namespaces handed to the proxy.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ambit_redirect::{Backend, Capture};
use ambit_sandbox::PodNet;
use ambit_zds::{Connection, Request, Server, WorkloadInfo};
use anyhow::Context as _;

use super::state_file::{NAMESPACE, SERVICE_ACCOUNT, uid};

/// How long a proxy may take to connect.
const LIMIT: Duration = Duration::from_secs(20);

/// Waits for proxies.
pub(super) struct Agent {
    server: Server,
}

// === impl Agent ===

impl Agent {
    /// Listens at `socket`.
    ///
    /// # Errors
    /// It cannot.
    pub(super) fn listen(socket: &Path) -> anyhow::Result<Self> {
        Ok(Self { server: Server::bind(socket)? })
    }

    /// Waits for the proxy, redirects the pods, and hands them over. The proxy serves them when this returns; the
    /// connection stays for as long as it should know of its agent.
    ///
    /// # Errors
    /// It does not connect, a rule cannot be applied, or the proxy refuses a pod.
    pub(super) async fn hand_over(mut self, pods: &[Arc<PodNet>]) -> anyhow::Result<Connection> {
        let connection = tokio::time::timeout(LIMIT, self.server.accept()).await;
        let mut connection =
            connection.context("it did not connect to its agent (INPOD_UDS)")??;
        connection.hello().await.context("its hello to the agent")?;
        let capture = Capture { dns: false, ..Capture::default() };
        for pod in pods {
            ambit_redirect::apply(pod.room().netns(), &capture, Backend::default())
                .with_context(|| format!("capturing the traffic of {}", pod.name()))?;
            let info = WorkloadInfo {
                name: pod.name().to_owned(),
                namespace: NAMESPACE.to_owned(),
                service_account: SERVICE_ACCOUNT.to_owned(),
                dns: None,
            };
            let request = Request::Add { uid: uid(pod.name()), info, netns: pod.room().netns() };
            let added = connection.request(&request).await;
            added.with_context(|| format!("handing {} to it", pod.name()))?;
        }
        connection
            .request(&Request::<std::os::fd::OwnedFd>::SnapshotSent)
            .await
            .context("ending the snapshot")?;
        Ok(connection)
    }
}
