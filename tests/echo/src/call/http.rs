//! HTTP/1.1 and HTTP/2 requests.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Target;

/// A connection that takes one request after the other.
pub(crate) enum Session {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Session {
    pub(super) async fn http1<I>(stream: I) -> Result<Self>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self::Http1(sender))
    }

    pub(super) async fn http2<I>(stream: I) -> Result<Self>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self::Http2(sender))
    }

    /// The answer's body; fails where the status is no success, with the body in the message.
    pub(super) async fn call(&mut self, target: &Target) -> Result<String> {
        let response = match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(target.request(Version::HTTP_11)?).await?
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(target.request(Version::HTTP_2)?).await?
            }
        };
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        ensure!(status.is_success(), "HTTP status {status}: {}", body.trim_end());
        Ok(body)
    }
}

impl Target {
    /// The request that `options` describe, in the form of `version`.
    fn request(&self, version: Version) -> Result<Request<Full<Bytes>>> {
        let method = if self.data.is_some() { Method::POST } else { Method::GET };
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let named = self.headers.iter().find(|(name, _)| name == "host").map(|(_, value)| value);
        let host = named.unwrap_or(&self.authority);
        let mut request = Request::builder().method(method).version(version);
        request = match version {
            Version::HTTP_2 => request.uri(
                Uri::builder().scheme("http").authority(&**host).path_and_query(path).build()?,
            ),
            _ => request.uri(path).header(HOST, host),
        };
        for (name, value) in self.headers.iter().filter(|(name, _)| name != "host") {
            request = request.header(name, value);
        }
        let body = Full::from(self.data.clone().unwrap_or_default());
        request.body(body).context("making the request")
    }
}
