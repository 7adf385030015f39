//! A client of the Kubernetes API that sends JSON.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;

use super::http2::{Requests, Server};

/// Connections that requests are spread over: one has at most a hundred requests under way.
const CONNECTIONS: usize = 4;

/// The API server, connected to.
pub(crate) struct Api {
    server: Server,
    token: String,
    connections: Vec<Requests>,
    next: AtomicUsize,
}

// === impl Api ===

impl Api {
    /// Connects as the bearer of `token`.
    ///
    /// # Errors
    /// The API server cannot be reached.
    pub(crate) async fn connect(server: Server, token: &str) -> anyhow::Result<Self> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(server.connect().await?);
        }
        Ok(Self { server, token: token.to_owned(), connections, next: AtomicUsize::new(0) })
    }

    /// Makes an object; one that is there already is as good.
    ///
    /// # Errors
    /// The API server refuses.
    pub(crate) async fn create(&self, collection: &str, object: &Value) -> anyhow::Result<()> {
        let (status, body) = self.send(Method::POST, collection, JSON, object).await?;
        ensure!(
            status.is_success() || status == StatusCode::CONFLICT,
            "POST {collection}: {status}: {}",
            message(&body)
        );
        Ok(())
    }

    /// Changes an object by a merge patch.
    ///
    /// # Errors
    /// The API server refuses.
    pub(crate) async fn patch(&self, path: &str, change: &Value) -> anyhow::Result<()> {
        self.ask(Method::PATCH, path, MERGE, change).await.map(drop)
    }

    /// Posts an object and returns what becomes of it.
    ///
    /// # Errors
    /// The API server refuses.
    pub(crate) async fn post(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&self.ask(Method::POST, path, JSON, object).await?)?)
    }

    /// Reads what is at a path.
    ///
    /// # Errors
    /// The API server refuses, or there is nothing.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Bytes> {
        self.ask(Method::GET, path, JSON, &Value::Null).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        kind: &'static str,
        object: &Value,
    ) -> anyhow::Result<Bytes> {
        let what = format!("{method} {path}");
        let (status, body) = self.send(method, path, kind, object).await?;
        if !status.is_success() {
            bail!("{what}: {status}: {}", message(&body));
        }
        Ok(body)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: &'static str,
        object: &Value,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let body = if object.is_null() { Vec::new() } else { serde_json::to_vec(object)? };
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.server.address()))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", kind)
            .body(Full::new(Bytes::from(body)).boxed_unsync())?;
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let connection = self.connections.get(number).context("no connection")?;
        let response = connection.clone().send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

/// What the API server says of a failure.
fn message(body: &[u8]) -> String {
    let status: Option<Value> = serde_json::from_slice(body).ok();
    let message = status.as_ref().and_then(|status| status.get("message")?.as_str());
    message.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}
