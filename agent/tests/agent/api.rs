//! As much of an API server as the agent needs: pods and namespaces, listed, watched, read, and annotated.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use ambit_net::NetNs;
use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

type Body = BoxBody<Bytes, Infallible>;

/// Objects by their path, such as `pods/shop/cart` and `namespaces/shop`.
#[derive(Default)]
struct Store {
    objects: BTreeMap<String, Value>,
    watches: Vec<(&'static str, UnboundedSender<String>)>,
    /// Every event so far, the first of version 1: a watch begins where its list ended.
    events: Vec<(&'static str, String)>,
}

/// A server on the loopback of a node.
pub(crate) struct Api {
    store: Arc<Mutex<Store>>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Api {
    pub(crate) fn start(node: &NetNs) -> Self {
        let listener = node.enter(|| TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let store: Arc<Mutex<Store>> = Arc::default();
        let served = store.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let store = served.clone();
                let service = service_fn(move |request| answer(store.clone(), request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        Self { store, address, task }
    }

    pub(crate) fn kubeconfig(&self) -> String {
        let server = format!("http://{}", self.address);
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "c", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        })
        .to_string()
    }

    /// A namespace with a label `istio.io/dataplane-mode`, or without.
    pub(crate) fn namespace(&self, name: &str, mode: Option<&str>) {
        let labels = json!({"istio.io/dataplane-mode": mode});
        let labels = if mode.is_some() { labels } else { json!({}) };
        self.put("namespaces", name, json!({"metadata": {"name": name, "labels": labels}}));
    }

    pub(crate) fn pod(&self, uid: &str, namespace: &str, name: &str, ip: Option<&str>) {
        let status = match ip {
            Some(ip) => json!({"phase": "Running", "podIPs": [{"ip": ip}]}),
            None => json!({"phase": "Pending"}),
        };
        let pod = json!({
            "metadata": {"uid": uid, "name": name, "namespace": namespace, "labels": {}, "annotations": {}},
            "spec": {"containers": [], "nodeName": "node1", "serviceAccountName": "sa"},
            "status": status,
        });
        self.put("pods", &format!("{namespace}/{name}"), pod);
    }

    pub(crate) fn delete(&self, kind: &'static str, name: &str) {
        let mut store = self.store.lock().unwrap();
        let object = store.objects.remove(&format!("{kind}/{name}")).unwrap();
        store.announce(kind, "DELETED", object);
    }

    /// The annotation `ambient.istio.io/redirection` of a pod.
    pub(crate) fn redirection(&self, pod: &str) -> Option<String> {
        let store = self.store.lock().unwrap();
        let pod = store.objects.get(&format!("pods/{pod}"))?;
        let value = &pod["metadata"]["annotations"]["ambient.istio.io/redirection"];
        value.as_str().map(str::to_owned)
    }

    fn put(&self, kind: &'static str, name: &str, object: Value) {
        self.store.lock().unwrap().put(kind, name, object);
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Store {
    fn put(&mut self, kind: &'static str, name: &str, object: Value) {
        let before = self.objects.insert(format!("{kind}/{name}"), object.clone());
        self.announce(kind, if before.is_some() { "MODIFIED" } else { "ADDED" }, object);
    }

    fn announce(&mut self, kind: &'static str, what: &str, mut object: Value) {
        object["metadata"]["resourceVersion"] = json!((self.events.len() + 1).to_string());
        let line = format!("{}\n", json!({"type": what, "object": object}));
        self.events.push((kind, line.clone()));
        self.watches.retain(|(of, watch)| *of != kind || watch.send(line.clone()).is_ok());
    }
}

async fn answer(
    store: Arc<Mutex<Store>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().trim_start_matches("/api/v1/").to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let body = body.collect().await.unwrap().to_bytes();
    let words: Vec<&str> = path.split('/').collect();
    let mut store = store.lock().unwrap();
    let answer = match (&head.method, words.as_slice()) {
        (&Method::GET, ["pods"]) => {
            assert!(query.contains("fieldSelector=spec.nodeName%3Dnode1"), "{query}");
            list_or_watch(&mut store, "pods", &query)
        }
        (&Method::GET, ["namespaces"]) => list_or_watch(&mut store, "namespaces", &query),
        (&Method::GET, ["namespaces", name]) => one(&store, &format!("namespaces/{name}")),
        (&Method::GET, ["namespaces", namespace, "pods", name]) => {
            one(&store, &format!("pods/{namespace}/{name}"))
        }
        (&Method::PATCH, ["namespaces", namespace, "pods", name, "status"]) => {
            patch(&mut store, &format!("{namespace}/{name}"), &body)
        }
        _ => panic!("{} {path}", head.method),
    };
    Ok(answer)
}

fn patch(store: &mut Store, name: &str, patch: &[u8]) -> Response<Body> {
    let patch: Value = serde_json::from_slice(patch).unwrap();
    let Some(mut pod) = store.objects.get(&format!("pods/{name}")).cloned() else {
        return whole(StatusCode::NOT_FOUND, &failure(404));
    };
    if patch["metadata"]["uid"] != pod["metadata"]["uid"] {
        return whole(StatusCode::CONFLICT, &failure(409));
    }
    for (key, value) in patch["metadata"]["annotations"].as_object().unwrap() {
        let annotations = pod["metadata"]["annotations"].as_object_mut().unwrap();
        match value.is_null() {
            true => drop(annotations.remove(key)),
            false => drop(annotations.insert(key.clone(), value.clone())),
        }
    }
    store.put("pods", name, pod.clone());
    whole(StatusCode::OK, &pod)
}

fn list_or_watch(store: &mut Store, kind: &'static str, query: &str) -> Response<Body> {
    if query.contains("watch=") {
        let (sender, lines) = unbounded_channel();
        let version = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        let version: usize = version.unwrap().parse().unwrap();
        for (_, line) in store.events.iter().skip(version).filter(|(of, _)| *of == kind) {
            sender.send(line.clone()).unwrap();
        }
        store.watches.push((kind, sender));
        let lines = stream::unfold(lines, |mut lines: UnboundedReceiver<String>| async {
            let line = lines.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from(line))), lines))
        });
        return Response::new(StreamBody::new(lines).boxed());
    }
    let prefix = format!("{kind}/");
    let items: Vec<&Value> = store
        .objects
        .iter()
        .filter(|(path, _)| path.starts_with(&prefix))
        .map(|(_, object)| object)
        .collect();
    let version = store.events.len().to_string();
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": version}, "items": items});
    whole(StatusCode::OK, &list)
}

fn one(store: &Store, path: &str) -> Response<Body> {
    match store.objects.get(path) {
        Some(object) => whole(StatusCode::OK, object),
        None => whole(StatusCode::NOT_FOUND, &failure(404)),
    }
}

fn failure(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": "NotFound", "message": "no"})
}

fn whole(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())).boxed());
    *response.status_mut() = status;
    response
}
