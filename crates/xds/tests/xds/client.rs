//! The client against a real gRPC server.

use std::future::Future;
use std::time::Duration;

use ambit_model::Workload;
use ambit_proto::discovery::{DeltaDiscoveryResponse, Resource};
use ambit_xds::encode::Encoded;
use ambit_xds::{
    Change, Client, Config, Event, Held, Metrics, Node, Rejected, ResourceType, Token,
};
use prometheus_client::registry::Registry;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tonic::Status;

use crate::server::Server;

use ResourceType::{Address, Authorization};

/// Waits for what has to happen within seconds.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

/// An event with what it held.
#[derive(Debug, PartialEq)]
enum Told {
    Batch(Batch),
    Synced(ResourceType),
}

#[derive(Debug, Default, PartialEq)]
struct Batch {
    updates: Vec<Change>,
    rejected: Vec<Rejected>,
}

impl From<Event<'_>> for Told {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Batch(mut batch) => {
                let updates = batch.by_ref().collect();
                Self::Batch(Batch { updates, rejected: batch.rejected().to_vec() })
            }
            Event::Synced(kind) => Self::Synced(kind),
        }
    }
}

/// A running client.
struct Running {
    events: mpsc::UnboundedReceiver<Told>,
    registry: Registry,
    task: tokio::task::JoinHandle<std::convert::Infallible>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    async fn event(&mut self) -> Told {
        soon(self.events.recv()).await.expect("a running client")
    }

    async fn batch(&mut self) -> Batch {
        match self.event().await {
            Told::Batch(batch) => batch,
            other => panic!("{other:?} instead of a batch"),
        }
    }

    fn metric(&self, line: &str) -> bool {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("metrics");
        text.lines().any(|l| l == line)
    }
}

fn run(config: Config, held: Held) -> Running {
    let mut registry = Registry::default();
    let metrics = Metrics::register(registry.sub_registry_with_prefix("istio"));
    let (sender, events) = mpsc::unbounded_channel();
    let client = Client::resuming(config, metrics, held);
    let task = tokio::spawn(client.run(move |event: Event<'_>| {
        // The test may be over.
        let _ = sender.send(event.into());
        Vec::new()
    }));
    Running { events, registry, task }
}

fn config(server: &Server) -> Config {
    let node = Node::ztunnel("1.1.1.1", "zt", "istio-system", "node-a");
    Config::new(format!("http://{}", server.address), node)
}

fn workload(name: &str) -> Encoded {
    let uid = format!("c//Pod/ns/{name}").into();
    Encoded::workload(&Workload { uid, name: name.into(), ..Workload::default() })
}

fn response(nonce: &str, kind: ResourceType, resources: &[Encoded]) -> DeltaDiscoveryResponse {
    let resource = |e: &Encoded| Resource {
        version: e.version_text(),
        name: e.name.to_string(),
        aliases: Vec::new(),
        resource: Some(prost_types::Any {
            type_url: kind.url().to_owned(),
            value: e.body.to_vec(),
        }),
    };
    DeltaDiscoveryResponse {
        type_url: kind.url().to_owned(),
        nonce: nonce.to_owned(),
        resources: resources.iter().map(resource).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

#[tokio::test]
async fn a_stream_presents_itself_and_answers_each_response() {
    let mut server = Server::start().await;
    let mut config = config(&server);
    config.token = Token::Literal("secret".to_owned());
    config.cluster_id = "c1".to_owned();
    config.headers = vec![("x-tenant".to_owned(), "blue".to_owned())];
    let mut client = run(config, Held::default());

    let mut stream = server.stream().await;
    let header = |name: &str| stream.metadata.get(name).and_then(|v| v.to_str().ok());
    assert_eq!(header("authorization"), Some("Bearer secret"));
    assert_eq!(header("clusterid"), Some("c1"));
    assert_eq!(header("x-tenant"), Some("blue"));
    for kind in ResourceType::ZTUNNEL {
        let request = stream.request().await;
        assert_eq!(request.type_url, kind.url());
        assert!(request.node.is_some() && request.initial_resource_versions.is_empty());
    }

    stream.send(response("n1", Address, &[workload("a"), workload("b")]));
    assert_eq!(client.batch().await.updates.len(), 2);
    assert_eq!(client.event().await, Told::Synced(Address));
    let answer = stream.request().await;
    assert_eq!((answer.response_nonce.as_str(), answer.error_detail), ("n1", None));
    assert_eq!((answer.node, answer.type_url.as_str()), (None, Address.url()));

    stream.send(response("n2", Authorization, &[]));
    assert_eq!(client.batch().await, Batch::default());
    assert_eq!(client.event().await, Told::Synced(Authorization));
    stream.request().await;
    let url = Address.url();
    assert!(client.metric(&format!("istio_xds_message_total{{url=\"{url}\"}} 1")));
}

#[tokio::test]
async fn a_malformed_resource_is_refused_by_name_and_the_rest_is_used() {
    let mut server = Server::start().await;
    let mut client = run(config(&server), Held::default());
    let mut stream = server.stream().await;
    stream.request().await;
    stream.request().await;
    let mut bad = workload("bad");
    bad.body = vec![0xff; 3].into();
    stream.send(response("n1", Address, &[bad, workload("good")]));
    let answer = stream.request().await;
    assert_eq!(answer.response_nonce, "n1");
    let message = answer.error_detail.expect("a refusal").message;
    assert!(message.starts_with("c//Pod/ns/bad: "), "{message}");
    let batch = client.batch().await;
    assert!(matches!(&batch.updates[..], [Change::Workload(w)] if &*w.name == "good"));
    assert_eq!(batch.rejected.len(), 1);
    let url = Address.url();
    assert!(client.metric(&format!("istio_xds_rejected_resources_total{{url=\"{url}\"}} 1")));
}

#[tokio::test]
async fn a_new_stream_names_the_versions_and_reads_the_token_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let token = dir.path().join("token");
    std::fs::write(&token, "first\n").expect("a token");
    let mut server = Server::start().await;
    let mut config = config(&server);
    config.token = Token::File(token.clone());
    let mut client = run(config, Held::default());

    let mut stream = server.stream().await;
    assert_eq!(stream.metadata.get("authorization").unwrap(), "Bearer first");
    stream.request().await;
    stream.request().await;
    let a = workload("a");
    stream.send(response("n1", Address, std::slice::from_ref(&a)));
    stream.request().await;
    std::fs::write(&token, "second").expect("a token");
    stream.responses.send(Err(Status::unavailable("received prior goaway"))).expect("open");

    let mut stream = server.stream().await;
    assert_eq!(stream.metadata.get("authorization").unwrap(), "Bearer second");
    let request = stream.request().await;
    assert!(request.node.is_some());
    assert_eq!(request.initial_resource_versions[&*a.name], a.version_text());
    assert_eq!(request.initial_resource_versions.len(), 1);
    client.batch().await;
    assert_eq!(client.event().await, Told::Synced(Address));

    // A removal while it was away, and no second synchronisation.
    stream.send(DeltaDiscoveryResponse {
        removed_resources: vec![a.name.to_string()],
        ..response("n2", Address, &[])
    });
    let removed = Change::Removed { kind: Address, name: a.name };
    assert_eq!(client.batch().await.updates, [removed]);
    assert!(client.metric("istio_xds_connection_terminations_total{reason=\"Reconnect\"} 1"));
    drop(stream);
    let mut stream = server.stream().await;
    assert!(stream.request().await.initial_resource_versions.is_empty());
    assert!(client.metric("istio_xds_connection_terminations_total{reason=\"Complete\"} 1"));
}

#[tokio::test]
async fn a_control_plane_that_is_not_there_yet_is_awaited() {
    // Bound and not listening: connections are refused, and nobody else gets the port.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().unwrap()).expect("a free port");
    let address = socket.local_addr().expect("bound");
    let node = Node::default();
    let client = run(Config::new(format!("http://{address}"), node), Held::default());
    let refused = "istio_xds_connection_terminations_total{reason=\"ConnectionError\"} 2";
    soon(async {
        while !client.metric(refused) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut server = Server::on(socket.listen(16).expect("listening"), address);
    server.stream().await.request().await;
}

#[tokio::test]
async fn what_was_kept_from_before_a_restart_is_named() {
    let mut server = Server::start().await;
    let mut held = Held::default();
    held.insert(Address, "c//Pod/ns/old".into(), "");
    let _client = run(config(&server), held);
    let request = server.stream().await.request().await;
    assert_eq!(request.initial_resource_versions["c//Pod/ns/old"], "");
}
