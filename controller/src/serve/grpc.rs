//! Which gRPC method is answered by what.

use ambit_proto::certificate::istio_certificate_service_server::IstioCertificateServiceServer;
use ambit_proto::discovery::DeltaDiscoveryRequest;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::codec::Codec as _;
use tonic::codegen::Service as _;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use super::{Certificates, Discovery};

const DISCOVERY: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const CERTIFICATES: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
/// A request names everything that a client has; callers have shown their token by then.
const MAX_DISCOVERY: usize = 64 * 1024 * 1024;
/// A signing request is small.
const MAX_CERTIFICATE: usize = 64 * 1024;

/// Everything that is served on one port.
#[derive(Clone)]
pub struct Services {
    discovery: Discovery,
    certificates: IstioCertificateServiceServer<Certificates>,
}

// === impl Services ===

impl Services {
    /// Serves these.
    pub fn new(discovery: Discovery, certificates: Certificates) -> Self {
        let certificates = IstioCertificateServiceServer::new(certificates)
            .max_decoding_message_size(MAX_CERTIFICATE);
        Self { discovery, certificates }
    }

    /// Answers one request.
    pub(crate) async fn call(mut self, request: Request<Incoming>) -> Response<Body> {
        let grpc = request.headers().get(CONTENT_TYPE).is_some_and(is_grpc);
        if request.method() != Method::POST || !grpc {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return response;
        }
        // Before anything is known of the pods, every token would be a stranger's.
        if self.discovery.started().await.is_none() {
            return Status::unavailable("the controller is ending").into_http();
        }
        match request.uri().path() {
            DISCOVERY => self.discover(request).await,
            CERTIFICATES => match self.certificates.call(request.map(Body::new)).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            _ => Status::unimplemented("no such method").into_http(),
        }
    }

    async fn discover(&self, request: Request<Incoming>) -> Response<Body> {
        let caller = match self.discovery.caller(request.headers()).await {
            Ok(caller) => caller,
            Err(status) => return status.into_http(),
        };
        let decoder = ProstCodec::<(), DeltaDiscoveryRequest>::default().decoder();
        let requests =
            Streaming::new_request(decoder, request.into_body(), None, Some(MAX_DISCOVERY));
        let mut response = Response::new(Body::new(self.discovery.open(caller, requests)));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
    }
}

fn is_grpc(value: &HeaderValue) -> bool {
    value.as_bytes().starts_with(b"application/grpc")
}
