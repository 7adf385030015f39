//! A control plane under the test's control: each stream that a client opens is handed to the test.

use std::net::SocketAddr;
use std::pin::Pin;

use ambit_proto::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use ambit_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

type Answer = Result<DeltaDiscoveryResponse, Status>;

/// One stream of a client.
pub(crate) struct Opened {
    pub(crate) metadata: MetadataMap,
    pub(crate) requests: Streaming<DeltaDiscoveryRequest>,
    pub(crate) responses: mpsc::UnboundedSender<Answer>,
}

/// The server's end: where it listens, and the streams in the order in which they were opened.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    streams: mpsc::UnboundedReceiver<Opened>,
}

struct Service(mpsc::UnboundedSender<Opened>);

impl Server {
    /// Listens on a free port of the loopback, for the rest of the test.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        Self::on(listener, address)
    }

    pub(crate) fn on(listener: TcpListener, address: SocketAddr) -> Self {
        let (opened, streams) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, opened.clone()));
            }
        });
        Self { address, streams }
    }

    /// The next stream.
    pub(crate) async fn stream(&mut self) -> Opened {
        super::client::soon(self.streams.recv()).await.expect("a stream")
    }
}

/// Serves one connection.
pub(crate) async fn serve(
    socket: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    opened: mpsc::UnboundedSender<Opened>,
) {
    let service = AggregatedDiscoveryServiceServer::new(Service(opened));
    // A connection that fails is the client's to notice.
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(service))
        .await;
}

impl Opened {
    /// The next request.
    pub(crate) async fn request(&mut self) -> DeltaDiscoveryRequest {
        let next = super::client::soon(self.requests.message()).await;
        next.expect("an open stream").expect("a request")
    }

    pub(crate) fn send(&self, response: DeltaDiscoveryResponse) {
        self.responses.send(Ok(response)).expect("a client");
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
        let metadata = request.metadata().clone();
        let requests = request.into_inner();
        self.0
            .send(Opened { metadata, requests, responses })
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(outgoing))))
    }
}
