//! The proxy on real sockets, asked by `dig`, with a scripted resolver behind it.

mod answers;
mod forwarding;
mod netns;

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ambit_model::{NetworkAddress, Service, Workload};
use ambit_state::{Kind, Store, Update};
use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::{Name, RData, Record};
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::*;

/// How long anything may take before a test fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// A running proxy for the pod `client-1` in namespace `ns`, and the mesh it sees.
struct Proxy {
    address: SocketAddr,
    store: Store,
    registry: Registry,
    closing: CancellationToken,
    task: tokio::task::JoinHandle<io::Result<()>>,
}

impl Proxy {
    /// A proxy that knows its pod, and one service at 10.96.0.1: `web.ns.svc.cluster.local`.
    async fn start(nameservers: Vec<SocketAddr>) -> Self {
        let mut proxy = Self::start_without_state(nameservers);
        proxy.apply([client().into(), service("web", &["10.96.0.1"]).into()]);
        proxy.sync();
        proxy
    }

    /// A proxy that knows nothing yet.
    fn start_without_state(nameservers: Vec<SocketAddr>) -> Self {
        let (address, sockets) = bind();
        Self::start_on(address, sockets, pod(nameservers))
    }

    fn start_on(address: SocketAddr, sockets: PodSockets, pod: PodDns) -> Self {
        let store = Store::new(ambit_state::Config::default());
        let config = Config {
            domain: "cluster.local".into(),
            preferred_namespace: None,
            ipv6: true,
            nameservers: Vec::new(),
        };
        let mut registry = Registry::default();
        let proxy = DnsProxy::new(config, store.reader(), &mut registry);
        let closing = CancellationToken::new();
        let stop = closing.clone();
        let task = tokio::spawn(async move { proxy.serve(pod, sockets, stop).await });
        Self { address, store, registry, closing, task }
    }

    fn apply(&mut self, updates: impl IntoIterator<Item = Update>) {
        self.store.apply(updates);
    }

    fn sync(&mut self) {
        self.apply([Update::Synced(Kind::Addresses), Update::Synced(Kind::Authorizations)]);
    }

    /// What `dig` prints for these arguments.
    async fn dig(&self, arguments: &str) -> String {
        self.spawn_dig(arguments).await.unwrap()
    }

    /// The same, beside the test.
    fn spawn_dig(&self, arguments: &str) -> tokio::task::JoinHandle<String> {
        let port = self.address.port();
        let command = format!("dig @127.0.0.1 -p {port} +tries=1 +timeout=15 {arguments}");
        tokio::spawn(async move { run(&command).await })
    }

    /// The value of a metric with exactly these labels.
    fn metric(&self, sample: &str) -> f64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let found = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        found.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// A resolver that does as a test says, over UDP and TCP on one port.
struct Resolver {
    address: SocketAddr,
    /// Id and client of each query, in order.
    seen: Arc<Mutex<Vec<(u16, SocketAddr)>>>,
}

/// The packets to send back for a query; the flag says whether it came over TCP, where one is sent at most.
type Script = Arc<dyn Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync>;

impl Resolver {
    fn start(script: impl Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (address, sockets) = bind();
        Self::start_on(address, sockets, Arc::new(script))
    }

    fn start_on(address: SocketAddr, mut sockets: PodSockets, script: Script) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let udp = UdpSocket::from_std(sockets.udp.remove(0)).unwrap();
        let tcp = TcpListener::from_std(sockets.tcp.remove(0)).unwrap();
        tokio::spawn(answer_udp(udp, script.clone(), seen.clone()));
        tokio::spawn(answer_tcp(tcp, script, seen.clone()));
        Self { address, seen }
    }

    fn queries(&self) -> usize {
        self.seen.lock().len()
    }
}

async fn answer_udp(socket: UdpSocket, script: Script, seen: Arc<Mutex<Vec<(u16, SocketAddr)>>>) {
    let mut buffer = [0; 4096];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
        let query = Message::from_vec(&buffer[..length]).unwrap();
        seen.lock().push((query.metadata.id, peer));
        for packet in script(&query, false) {
            socket.send_to(&packet, peer).await.unwrap();
        }
    }
}

async fn answer_tcp(
    listener: TcpListener,
    script: Script,
    seen: Arc<Mutex<Vec<(u16, SocketAddr)>>>,
) {
    loop {
        let (mut stream, peer) = listener.accept().await.unwrap();
        let mut query = vec![0; stream.read_u16().await.unwrap().into()];
        stream.read_exact(&mut query).await.unwrap();
        let query = Message::from_vec(&query).unwrap();
        seen.lock().push((query.metadata.id, peer));
        for packet in script(&query, true) {
            stream.write_u16(packet.len() as u16).await.unwrap();
            stream.write_all(&packet).await.unwrap();
        }
    }
}

/// Unused sockets of one port.
fn bind() -> (SocketAddr, PodSockets) {
    loop {
        let udp = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = udp.local_addr().unwrap();
        if let Ok(tcp) = std::net::TcpListener::bind(address) {
            udp.set_nonblocking(true).unwrap();
            tcp.set_nonblocking(true).unwrap();
            return (address, PodSockets { udp: vec![udp], tcp: vec![tcp] });
        }
    }
}

fn pod(nameservers: Vec<SocketAddr>) -> PodDns {
    PodDns {
        name: "client-1".into(),
        namespace: "ns".into(),
        service_account: "default".into(),
        netns: None,
        mark: None,
        nameservers,
        searches: Vec::new(),
    }
}

fn client() -> Workload {
    Workload {
        uid: "cluster//Pod/ns/client-1".into(),
        name: "client-1".into(),
        namespace: "ns".into(),
        canonical_name: "client".into(),
        canonical_revision: "v1".into(),
        ..Workload::default()
    }
}

/// A service in namespace `ns`.
fn service(name: &str, vips: &[&str]) -> Service {
    Service {
        name: name.into(),
        namespace: "ns".into(),
        hostname: format!("{name}.ns.svc.cluster.local").into(),
        vips: vips.iter().map(|ip| NetworkAddress::new("", ip.parse().unwrap())).collect(),
        ..Service::default()
    }
}

/// A resolver's response to `query` with so many addresses of 192.0.2.0/24 and a time to live of 20 s.
fn addresses(query: &Message, count: u8) -> Message {
    let mut response = refusal(query, ResponseCode::NoError);
    response.metadata.authoritative = true;
    for last in 0..count {
        let data = RData::A(Ipv4Addr::new(192, 0, 2, last).into());
        response.add_answer(Record::from_rdata(query.queries[0].name().clone(), 20, data));
    }
    response
}

fn refusal(query: &Message, code: ResponseCode) -> Message {
    let mut response = Message::error_msg(query.metadata.id, OpCode::Query, code);
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.add_query(query.queries[0].clone());
    response
}

/// One packet.
fn packet(message: &Message) -> Vec<Vec<u8>> {
    vec![message.to_vec().unwrap()]
}

/// The output of a command that must succeed. Runs beside the test's own tasks.
async fn run(command: &str) -> String {
    let command = command.to_owned();
    let task = tokio::task::spawn_blocking(move || {
        let mut words = command.split_whitespace();
        let program = words.next().unwrap();
        let output = Command::new(program).args(words).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    });
    tokio::time::timeout(2 * DEADLINE, task).await.unwrap().unwrap()
}
