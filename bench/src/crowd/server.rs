//! A control plane that has one answer: everything, once.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambit_identity::LocalCa;
use ambit_proto::ADDRESS_TYPE;
use ambit_proto::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use ambit_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use ambit_sandbox::Room;
use ambit_tls::control_server_config;
use anyhow::Context as _;
use futures_util::Stream;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

type Answer = Result<DeltaDiscoveryResponse, Status>;

/// A running server. It ends with the value.
pub(super) struct Server {
    /// Where proxies in its room find it.
    pub(super) url: String,
    /// Whether everything has been acknowledged.
    pub(super) acknowledged: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Service {
    resources: Arc<[Resource]>,
    acknowledged: watch::Sender<bool>,
}

// === impl Server ===

impl Server {
    /// Serves `resources` on the loopback of `room`; the file `roots` is written for its clients.
    ///
    /// # Errors
    /// There is no port or no certificate.
    pub(super) fn start(
        room: &Room,
        resources: Arc<[Resource]>,
        roots: &Path,
    ) -> anyhow::Result<Self> {
        let now = SystemTime::now();
        let ca = LocalCa::in_memory(now)?;
        let day = Duration::from_secs(24 * 3600);
        let (chain, key) = ca.server_certificate(&["localhost".to_owned()], day, now)?;
        std::fs::write(roots, ca.roots_pem())
            .with_context(|| format!("cannot write {}", roots.display()))?;
        let tls = TlsAcceptor::from(control_server_config(&chain, &key)?);
        let listener = room.run(|| {
            let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(listener)
        });
        let listener = TcpListener::from_std(listener.flatten()?)?;
        let address: SocketAddr = listener.local_addr()?;
        let (sender, acknowledged) = watch::channel(false);
        let service = Service { resources, acknowledged: sender };
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serve(tcp, tls.clone(), service.clone()));
            }
        });
        Ok(Self { url: format!("https://localhost:{}", address.port()), acknowledged, task })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection that fails is the client's to notice, and to report.
async fn serve(tcp: TcpStream, tls: TlsAcceptor, service: Service) {
    let Ok(tls) = tls.accept(tcp).await else { return };
    let service = TowerToHyperService::new(AggregatedDiscoveryServiceServer::new(service));
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(tls), service)
        .await;
}

// === impl Service ===

impl Service {
    async fn answer(
        self,
        mut requests: Streaming<DeltaDiscoveryRequest>,
        responses: mpsc::UnboundedSender<Answer>,
    ) {
        while let Ok(Some(request)) = requests.message().await {
            let about_addresses = request.type_url == ADDRESS_TYPE;
            if !request.response_nonce.is_empty() {
                if about_addresses && request.error_detail.is_none() {
                    self.acknowledged.send_replace(true);
                }
                continue;
            }
            let resources = if about_addresses { self.resources.to_vec() } else { Vec::new() };
            let response = DeltaDiscoveryResponse {
                type_url: request.type_url,
                nonce: "1".to_owned(),
                resources,
                ..DeltaDiscoveryResponse::default()
            };
            if responses.send(Ok(response)).is_err() {
                return;
            }
        }
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type DeltaAggregatedResourcesStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (responses, outgoing) = mpsc::unbounded_channel();
        tokio::spawn(self.clone().answer(request.into_inner(), responses));
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(outgoing))))
    }
}
