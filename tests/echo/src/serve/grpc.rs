//! The gRPC service.

use std::pin::Pin;

use anyhow::Result;
use futures_util::{Stream, StreamExt};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tonic::{Request, Response, Status, Streaming};

use crate::proto::echo_server::{Echo, EchoServer};
use crate::proto::{EchoReply, EchoRequest};
use crate::seen;

use super::Connection;

/// Serves one connection to its end.
pub(super) async fn serve(stream: TcpStream, connection: Connection) -> Result<()> {
    let service = TowerToHyperService::new(EchoServer::new(Service(connection)));
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
