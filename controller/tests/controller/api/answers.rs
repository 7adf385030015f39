//! Requests and their answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};

use super::store::Trouble;
use super::{Api, State};

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// What a path names: a resource, and perhaps a namespace and an object.
struct Target {
    resource: String,
    namespace: String,
    name: Option<String>,
    /// Whether it is the object's status alone.
    status: bool,
}

/// A watch, from one look to the next.
struct Watching {
    state: Arc<State>,
    resource: String,
    name: Option<String>,
    version: u64,
    epoch: u64,
}

impl Api {
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let target = Target::parse(parts.uri.path());
        let query = |name: &str| {
            let pairs = parts.uri.query().unwrap_or_default().split('&');
            pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|p| p.1)
        };
        let trouble = self.state.store.lock().trouble(&target.permission());
        match trouble {
            _ if self.shut.load(Ordering::Relaxed) => return failure(503),
            Some(Trouble::Missing) => return failure(404),
            Some(Trouble::Forbidden) => return failure(403),
            Some(Trouble::Down) => return failure(503),
            None => {}
        }
        // The form is metadata.name%3Dvalue or metadata.name=value.
        let selected = query("fieldSelector").map(|s| s.replace("%3D", "="));
        let selected = selected.and_then(|s| s.strip_prefix("metadata.name=").map(str::to_owned));
        if query("watch") == Some("true") {
            let version = query("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or(0);
            return self.watch(target.resource, selected, version);
        }
        if let Target { status: true, resource, namespace, name: Some(name) } = &target {
            let manager = query("fieldManager").expect("a field manager");
            let merge = parts.headers[http::header::CONTENT_TYPE] == "application/merge-patch+json";
            if merge {
                let merged =
                    self.change(|store| store.merge_status(resource, namespace, name, &body));
                return match merged {
                    Ok(object) => response(StatusCode::OK, object),
                    Err(404) => absent(name),
                    Err(code) => failure(code),
                };
            }
            let status = body["status"].clone();
            let patched = self
                .change(|store| store.apply_status(resource, namespace, name, manager, &status));
            return patched.map_or_else(|| absent(name), |object| response(StatusCode::OK, object));
        }
        self.once(parts.method, target, selected, (body, query("fieldManager")))
    }

    fn once(
        &self,
        method: Method,
        target: Target,
        selected: Option<String>,
        (mut body, manager): (Value, Option<&str>),
    ) -> Response<Body> {
        let Target { resource, namespace, name, .. } = target;
        if method == Method::DELETE {
            let name = name.unwrap_or_default();
            let known = self.get(&resource, &namespace, &name).is_some();
            return match known {
                true => {
                    self.delete(&resource, &namespace, &name);
                    response(StatusCode::OK, json!({"kind": "Status", "status": "Success"}))
                }
                false => failure(404),
            };
        }
        if method != Method::GET {
            if let Some(name) = &name {
                body["metadata"]["name"] = name.as_str().into();
            }
            if !namespace.is_empty() {
                body["metadata"]["namespace"] = namespace.as_str().into();
            }
        }
        let result = match (method, &name) {
            (Method::GET, Some(name)) => self.get(&resource, &namespace, name).ok_or(404),
            (Method::GET, None) => Ok(self.list(&resource, selected.as_deref())),
            (Method::POST, _) if resource.ends_with("/tokenreviews") => {
                Ok(self.change(|store| store.review(body)))
            }
            (Method::POST, _) => self.change(|store| store.create(&resource, body)),
            (Method::PUT, _) => self.change(|store| store.replace(&resource, body)),
            // Server-side apply, of one who owns all that there is.
            _ => Ok(self.change(|store| store.put_as(&resource, body, manager))),
        };
        match result {
            Ok(object) => response(StatusCode::OK, object),
            Err(code) => failure(code),
        }
    }

    fn list(&self, resource: &str, selected: Option<&str>) -> Value {
        let store = self.state.store.lock();
        let mut items = store.list(resource);
        items.retain(|item| selected.is_none_or(|name| item["metadata"]["name"] == name));
        // As a real server does: items say neither what they are nor in which version.
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            item.remove("apiVersion");
            item.remove("kind");
        }
        json!({
            "apiVersion": "v1",
            "kind": "List",
            "metadata": {"resourceVersion": store.version().to_string()},
            "items": items,
        })
    }

    fn watch(&self, resource: String, name: Option<String>, version: u64) -> Response<Body> {
        let epoch = self.state.store.lock().epoch();
        let watching = Watching { state: self.state.clone(), resource, name, version, epoch };
        let frames = stream::unfold(Some(watching), |watching| async move {
            let (lines, watching) = watching?.next().await?;
            Some((Ok(Frame::data(Bytes::from(lines))), watching))
        });
        Response::new(StreamBody::new(Box::pin(frames)).boxed_unsync())
    }
}

impl Watching {
    /// Waits for events. The stream ends with them where there is nothing left to watch with.
    async fn next(mut self) -> Option<(String, Option<Self>)> {
        let mut changed = self.state.changed.subscribe();
        loop {
            {
                let store = self.state.store.lock();
                if store.epoch() != self.epoch {
                    return None;
                }
                let Some(events) = store.since(self.version, &self.resource) else {
                    let gone = json!({"type": "ERROR", "object": status(410)});
                    return Some((format!("{gone}\n"), None));
                };
                self.version = store.version();
                let mut lines = String::new();
                for event in events {
                    let named = &event.object["metadata"]["name"];
                    if self.name.as_ref().is_none_or(|name| named == name) {
                        let line = json!({"type": event.kind, "object": event.object});
                        lines.push_str(&format!("{line}\n"));
                    }
                }
                if !lines.is_empty() {
                    drop(store);
                    return Some((lines, Some(self)));
                }
            }
            changed.changed().await.ok()?;
        }
    }
}

impl Target {
    fn parse(path: &str) -> Self {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (root, rest) = parts.split_at(if parts[0] == "api" { 2 } else { 3 });
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        Self {
            resource: format!("{}/{}", root.join("/"), rest[0]),
            namespace: namespace.to_owned(),
            name: rest.get(1).map(|name| (*name).to_owned()),
            status: rest.get(2) == Some(&"status"),
        }
    }

    /// What somebody needs a right for.
    fn permission(&self) -> String {
        if self.status { format!("{}/status", self.resource) } else { self.resource.clone() }
    }
}

fn status(code: u16) -> Value {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "AlreadyExists",
        410 => "Expired",
        _ => "ServiceUnavailable",
    };
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "message": reason, "reason": reason, "code": code,
    })
}

fn failure(code: u16) -> Response<Body> {
    response(StatusCode::from_u16(code).expect("a code"), status(code))
}

/// An object is not there, unlike its kind.
fn absent(name: &str) -> Response<Body> {
    let mut status = status(404);
    status["details"] = json!({"name": name});
    response(StatusCode::NOT_FOUND, status)
}

fn response(code: StatusCode, body: Value) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())).boxed_unsync());
    *response.status_mut() = code;
    response
}
