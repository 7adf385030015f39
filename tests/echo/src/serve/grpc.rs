//! The gRPC services.

use std::pin::Pin;

use anyhow::Result;
use futures_util::{Stream, StreamExt};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::codegen::Service as _;
use tonic::{Request, Response, Status, Streaming};

use crate::proto::echo_server::{Echo, EchoServer};
use crate::proto::health::health_check_response::ServingStatus;
use crate::proto::health::health_server::{Health, HealthServer};
use crate::proto::health::{HealthCheckRequest, HealthCheckResponse};
use crate::proto::{EchoReply, EchoRequest};
use crate::seen;

use super::Connection;

/// Serves one connection to its end.
pub(super) async fn serve(stream: TcpStream, connection: Connection) -> Result<()> {
    let (echo, health) = (EchoServer::new(Service(connection)), HealthServer::new(Healthy));
    let service = service_fn(move |request: http::Request<_>| {
        match request.uri().path().starts_with("/grpc.health.v1.Health/") {
            true => health.clone().call(request),
            false => echo.clone().call(request),
        }
    });
    let server = http2::Builder::new(TokioExecutor::new());
    Ok(server.serve_connection(TokioIo::new(stream), service).await?)
}

/// The service of one connection.
struct Service(Connection);

type Replies = Pin<Box<dyn Stream<Item = Result<EchoReply, Status>> + Send>>;

#[tonic::async_trait]
impl Echo for Service {
    type ChatStream = Replies;

    async fn say(&self, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        let seen = self.seen(&request, "/ambit.echo.v1.Echo/Say");
        let EchoRequest { message } = request.into_inner();
        Ok(Response::new(EchoReply { message, seen }))
    }

    async fn chat(
        &self,
        request: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let seen = self.seen(&request, "/ambit.echo.v1.Echo/Chat");
        let replies = request.into_inner().map(move |request| {
            let EchoRequest { message } = request?;
            Ok(EchoReply { message, seen: seen.clone() })
        });
        Ok(Response::new(Box::pin(replies)))
    }
}

/// Says that all is well.
struct Healthy;

#[tonic::async_trait]
impl Health for Healthy {
    async fn check(
        &self,
        _request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }
}

impl Service {
    fn seen<T>(&self, request: &Request<T>, path: &str) -> String {
        let mut seen = self.0.seen("grpc");
        seen.request = Some(seen::Request {
            method: "POST".to_owned(),
            path: path.to_owned(),
            host: None,
            headers: seen::headers(request.metadata().as_ref()),
            body: String::new(),
            body_bytes: 0,
        });
        seen.to_line()
    }
}
