//! As much of a Kubernetes API server as the controller talks to, with the ways in which a real one fails.

mod answers;
mod store;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use store::Store;
pub(crate) use store::Trouble;

/// A server that lasts as long as the runtime.
#[derive(Clone)]
pub(crate) struct Api {
    address: SocketAddr,
    state: Arc<State>,
    /// Whether nobody gets in by this address any more.
    shut: Arc<AtomicBool>,
}

struct State {
    store: Mutex<Store>,
    /// The last version, for those who watch.
    changed: watch::Sender<u64>,
}

impl Api {
    pub(crate) async fn start() -> Self {
        let state = State { store: Mutex::default(), changed: watch::Sender::new(0) };
        Self::listen(Arc::new(state)).await
    }

    /// Another address of the same server, which can be shut alone.
    pub(crate) async fn door(&self) -> Self {
        Self::listen(self.state.clone()).await
    }

    /// Answers no more by this address; watches go on.
    pub(crate) fn shut(&self) {
        self.shut.store(true, Ordering::Relaxed);
    }

    async fn listen(state: Arc<State>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let api = Self { address, state, shut: Arc::default() };
        let server = api.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let api = server.clone();
                let answer = service_fn(move |request| {
                    let api = api.clone();
                    async move { Ok::<_, Infallible>(api.answer(request).await) }
                });
                // Clients may hang up.
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), answer));
            }
        });
        api
    }

    /// Writes a file that leads clients here.
    pub(crate) fn kubeconfig(&self, dir: &Path) -> PathBuf {
        let path = dir.join("kubeconfig");
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": format!("http://{}", self.address)}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "users": [{"name": "test", "user": {}}],
        });
        std::fs::write(&path, config.to_string()).expect("written");
        path
    }

    /// Creates or replaces the objects of a YAML text.
    pub(crate) fn apply(&self, yaml: &str) {
        let objects: Vec<Value> = serde_saphyr::from_multiple(yaml).expect("YAML");
        for object in objects.into_iter().filter(|object| !object.is_null()) {
            self.change(|store| store.put(&resource_of(&object), object));
        }
    }

    /// Deletes an object, e.g. of `api/v1/pods`.
    pub(crate) fn delete(&self, resource: &str, namespace: &str, name: &str) {
        self.change(|store| store.delete(resource, namespace, name));
    }

    /// The object, if it is there.
    pub(crate) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.state.store.lock().get(resource, namespace, name)
    }

    /// Lets requests for the resource fail from now on, or for all of them (`""`); watches end.
    pub(crate) fn fail(&self, resource: &str, trouble: Option<Trouble>) {
        self.change(|store| store.fail(resource, trouble));
    }

    /// Forgets what has happened so far: who wants to watch from there has to list anew.
    pub(crate) fn compact(&self) {
        self.change(Store::compact);
    }

    /// Answers `TokenReview`s of this token with this status.
    pub(crate) fn token(&self, token: &str, status: Value) {
        self.change(|store| store.token(token, status));
    }

    /// How many requests there were to create objects of a resource.
    pub(crate) fn created(&self, resource: &str) -> usize {
        self.state.store.lock().created(resource)
    }

    /// How many requests there were to write the status of an object of a resource.
    pub(crate) fn status_writes(&self, resource: &str) -> usize {
        self.state.store.lock().status_writes(resource)
    }

    /// The conditions of an object, as `type status reason: message`, sorted.
    pub(crate) fn conditions(&self, resource: &str, namespace: &str, name: &str) -> Vec<String> {
        let object = self.get(resource, namespace, name).unwrap_or_default();
        let list = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let line = |c: &Value| {
            let text = |field: &str| c[field].as_str().expect("text");
            format!("{} {} {}: {}", text("type"), text("status"), text("reason"), text("message"))
        };
        let mut lines: Vec<String> = list.iter().map(line).collect();
        lines.sort();
        lines
    }

    fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = self.state.store.lock();
        let result = change(&mut store);
        // Those who watch look again, also when nothing is new but a failure.
        self.state.changed.send_modify(|changes| *changes += 1);
        result
    }
}

/// Where objects of this `apiVersion` and `kind` are found.
fn resource_of(object: &Value) -> String {
    let text = |field: &str| object[field].as_str().expect("text");
    let (version, kind) = (text("apiVersion"), text("kind").to_lowercase());
    let plural = match kind.strip_suffix('y') {
        Some(stem) if !kind.ends_with("way") => format!("{stem}ies"),
        _ if kind.ends_with("ss") => format!("{kind}es"),
        _ => format!("{kind}s"),
    };
    let group = if version.contains('/') { "apis" } else { "api" };
    format!("{group}/{version}/{plural}")
}
