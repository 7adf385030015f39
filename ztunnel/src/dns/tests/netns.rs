//! A pod's namespace in which DNS is redirected: queries are forwarded from inside it, marked, and do not come back.

use super::*;

/// A namespace with one address, 10.9.9.1, that goes with the test.
struct TestNetns {
    name: String,
    netns: NetNs,
}

impl TestNetns {
    /// None, with the reason printed, where namespaces cannot be made; where `CI=true` that is a failure.
    async fn make() -> Option<Self> {
        let name = format!("ambit-test-dns-{}", std::process::id());
        let added = Command::new("ip").args(["netns", "add", &name]).output().unwrap();
        if !added.status.success() {
            let reason = String::from_utf8_lossy(&added.stderr).into_owned();
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{reason}");
            eprintln!("skipped: cannot make a network namespace: {reason}");
            return None;
        }
        let netns = NetNs::open(format!("/run/netns/{name}")).unwrap();
        let made = Self { name, netns };
        made.run("ip link set lo up").await;
        made.run("ip link add eth0 type veth peer name peer0").await;
        made.run("ip address add 10.9.9.1/24 dev eth0").await;
        made.run("ip link set peer0 up").await;
        made.run("ip link set eth0 up").await;
        made.run("ip route add default dev eth0").await;
        Some(made)
    }

    async fn run(&self, command: &str) -> String {
        run(&format!("ip netns exec {} {command}", self.name)).await
    }

    fn bind(&self, ip: [u8; 4], port: u16) -> (SocketAddr, PodSockets) {
        let open = || {
            let udp = std::net::UdpSocket::bind((Ipv4Addr::from(ip), port)).unwrap();
            let address = udp.local_addr().unwrap();
            let tcp = std::net::TcpListener::bind(address).unwrap();
            udp.set_nonblocking(true).unwrap();
            tcp.set_nonblocking(true).unwrap();
            (address, PodSockets { udp: vec![udp], tcp: vec![tcp] })
        };
        self.netns.enter(open).unwrap()
    }
}

impl Drop for TestNetns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

#[tokio::test]
async fn a_captured_pod() {
    let Some(netns) = TestNetns::make().await else { return };
    let (address, sockets) = netns.bind([10, 9, 9, 1], PORT);
    let script: Script = Arc::new(|query, tcp| {
        let mut response = addresses(query, if tcp { 100 } else { 0 });
        response.metadata.truncation = !tcp;
        packet(&response)
    });
    let resolver = Resolver::start_on(address, sockets, script);

    let (address, sockets) = netns.bind([127, 0, 0, 1], 0);
    let mark = Some(1337);
    let pod = PodDns { netns: Some(netns.netns.clone()), mark, ..pod(vec![resolver.address]) };
    let mut proxy = Proxy::start_on(address, sockets, pod);
    proxy.apply([client().into(), service("web", &["10.96.0.1"]).into()]);
    proxy.sync();
    let port = address.port();
    netns.run("nft add table ip dns").await;
    netns.run("nft add chain ip dns out { type nat hook output priority -100 ; }").await;
    for protocol in ["udp", "tcp"] {
        let rule = format!("{protocol} dport 53 meta mark != 1337 redirect to :{port}");
        netns.run(&format!("nft add rule ip dns out {rule}")).await;
    }

    // Both servers are captured: one is the pod's, the other one is not there at all.
    for server in ["10.9.9.1", "203.0.113.53"] {
        let ask = async |arguments: &str| {
            netns.run(&format!("dig @{server} +tries=1 +timeout=15 {arguments}")).await
        };
        assert_eq!(ask("+short web. A").await.trim(), "10.96.0.1");
        assert_eq!(ask("+short +tcp web. A").await.trim(), "10.96.0.1");
        let answers = ask("+short +bufsize=4096 www.example. A").await;
        assert_eq!(answers.lines().count(), 100);
    }
    let seen = resolver.seen.lock().clone();
    assert_eq!(seen.len(), 2, "once over UDP, once over TCP, then from memory: {seen:?}");
    assert!(seen.iter().all(|(_, peer)| peer.ip().to_string() == "10.9.9.1"), "{seen:?}");
}
