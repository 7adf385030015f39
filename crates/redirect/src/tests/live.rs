//! The kernel with our rules in it, in network namespaces of the tests' own.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use crate::run::Netns;
use crate::{
    AS_CLIENT_MARK, Backend, Capture, Change, HostProbes, PACKET_MARK, PROBE_V4, PROBE_V6, apply,
    apply_host, pass, remove, remove_host, verify,
};

const BACKENDS: [Backend; 2] = [Backend::Nftables, Backend::Iptables];
const POD: [&str; 2] = ["10.9.0.2", "fd00:9::2"];
const PEER: [&str; 2] = ["10.9.0.1", "fd00:9::1"];

/// A network namespace that ends with the value.
struct Namespace(OwnedFd);

impl Namespace {
    /// A new one; `None`, with a word of why, where the machine does not allow it (an error where `CI=true`).
    fn new() -> Option<Self> {
        let opened = Netns::scratch(|_| Ok(File::open("/proc/thread-self/ns/net").unwrap()));
        match opened {
            Ok(file) => {
                let namespace = Self(file.into());
                namespace.run(&["ip link set lo up"]);
                Some(namespace)
            }
            Err(error) if std::env::var_os("CI").is_some() => panic!("{error}"),
            Err(error) => {
                eprintln!("skipped: {error}");
                None
            }
        }
    }

    /// Two of them, `pod` and `peer`, with a cable in between.
    fn pair() -> Option<(Self, Self)> {
        let (pod, peer) = (Self::new()?, Self::new()?);
        let other = format!("/proc/{}/fd/{}", std::process::id(), peer.0.as_raw_fd());
        pod.run(&[&format!("ip link add eth0 type veth peer name eth0 netns {other}")]);
        for (namespace, addresses, gateway) in [(&pod, POD, Some(PEER)), (&peer, PEER, None)] {
            let [v4, v6] = addresses;
            namespace.run(&[
                &format!("ip address add {v4}/24 dev eth0"),
                &format!("ip address add {v6}/64 dev eth0 nodad"),
                "ip link set eth0 up",
            ]);
            if let Some([v4, v6]) = gateway {
                namespace.run(&[
                    &format!("ip route add default via {v4}"),
                    &format!("ip -6 route add default via {v6}"),
                ]);
            }
        }
        Some((pod, peer))
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        Netns::enter(self.0.as_fd(), |_| Ok(work())).unwrap()
    }

    fn run(&self, lines: &[&str]) -> String {
        self.inside(|| lines.iter().map(|line| shell(line)).collect())
    }
}

fn shell(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn listing(namespace: &Namespace, backend: Backend) -> crate::drift::Listing {
    Netns::enter(namespace.0.as_fd(), |netns| backend.list(netns)).unwrap()
}

#[test]
fn applying_twice_is_applying_once() {
    let Some(namespace) = Namespace::new() else {
        return;
    };
    for backend in BACKENDS {
        let capture = Capture::default();
        apply(&namespace.0, &capture, backend).unwrap();
        let (rules, routes) =
            (listing(&namespace, backend), namespace.run(&["ip rule; ip -6 rule"]));
        apply(&namespace.0, &capture, backend).unwrap();
        assert_eq!(listing(&namespace, backend), rules);
        assert_eq!(namespace.run(&["ip rule; ip -6 rule"]), routes);
        assert_eq!(verify(&namespace.0, &capture, backend).unwrap(), []);
        remove(&namespace.0).unwrap();
    }
}

#[test]
fn every_setting_replaces_every_other() {
    let Some(namespace) = Namespace::new() else {
        return;
    };
    for backend in BACKENDS {
        for bits in [0, 15, 1, 14, 2, 13, 4, 11, 8, 0] {
            let flag = |bit: u8| bits & bit == 0;
            let capture = Capture {
                ipv6: flag(1),
                dns: flag(2),
                inbound: flag(4),
                reroute_interfaces: if flag(8) { vec![] } else { vec!["vnet0".parse().unwrap()] },
                ..Capture::default()
            };
            apply(&namespace.0, &capture, backend).unwrap();
            assert_eq!(verify(&namespace.0, &capture, backend).unwrap(), [], "{capture:?}");
        }
        remove(&namespace.0).unwrap();
    }
}

#[test]
fn drift_is_seen_and_repaired() {
    let damage = |backend| match backend {
        Backend::Nftables => [
            "nft flush chain inet istio-ambient-nat istio-output",
            "nft delete table inet istio-ambient-raw",
            "nft insert rule inet istio-ambient-nat istio-output counter accept",
            "nft add rule inet istio-ambient-mangle output counter jump istio-output",
        ],
        Backend::Iptables => [
            "iptables -w -t nat -D ISTIO_OUTPUT 3",
            "ip6tables -w -t raw -F ISTIO_PRERT",
            "iptables -w -t nat -I ISTIO_OUTPUT -j ACCEPT",
            "iptables -w -t mangle -A OUTPUT -j ISTIO_OUTPUT",
        ],
    };
    let routing = [
        "ip rule del pref 32764",
        "ip -6 route flush table 100",
        "ip rule add pref 32764 from 10.0.0.1 lookup 100",
    ];
    let Some(namespace) = Namespace::new() else {
        return;
    };
    for backend in BACKENDS {
        let capture = Capture::default();
        for line in damage(backend).iter().chain(&routing) {
            apply(&namespace.0, &capture, backend).unwrap();
            namespace.run(&[line]);
            let drift = verify(&namespace.0, &capture, backend).unwrap();
            assert!(!drift.is_empty(), "{line}");
            let missing = drift.iter().any(|drift| matches!(drift.change, Change::Missing(_)));
            let takes_out = ["flush", "del", "-D", "-F"].iter().any(|word| line.contains(word));
            assert_eq!(missing, takes_out, "{line}: {drift:?}");
            if line.contains("from 10.0.0.1") {
                // A rule of somebody else's: reported, and left to its owner.
                namespace.run(&[&line.replace("add", "del")]);
            }
            apply(&namespace.0, &capture, backend).unwrap();
            assert_eq!(verify(&namespace.0, &capture, backend).unwrap(), [], "{line}");
        }
        remove(&namespace.0).unwrap();
    }
}

#[test]
fn a_changed_order_is_drift() {
    let Some(namespace) = Namespace::new() else {
        return;
    };
    apply(&namespace.0, &Capture::default(), Backend::Iptables).unwrap();
    namespace.run(&[
        "iptables -w -t nat -D ISTIO_OUTPUT 1",
        "iptables -w -t nat -A ISTIO_OUTPUT -d 169.254.7.127/32 -p tcp -j ACCEPT",
    ]);
    let drift = verify(&namespace.0, &Capture::default(), Backend::Iptables).unwrap();
    assert!(matches!(drift[..], [crate::Drift { change: Change::Order(_), .. }]), "{drift:?}");
}

#[test]
fn removing_leaves_nothing_of_ours_and_all_of_others() {
    let Some(namespace) = Namespace::new() else {
        return;
    };
    namespace.run(&[
        "nft add table inet mine; nft add chain inet mine c",
        "iptables -w -t nat -A OUTPUT -p udp -j ACCEPT",
        "ip rule add pref 32764 from 10.0.0.1 lookup 7",
    ]);
    // iptables makes its built-in chains by looking for them; empty, they mean nothing.
    let everything = "nft -s list ruleset inet; iptables-save | grep -e ^- -e ISTIO; \
                      ip6tables-save | grep -e ^- -e ISTIO; ip rule; ip -6 rule; ip route show table all; ip -6 route show table all";
    remove(&namespace.0).unwrap();
    let before = namespace.run(&[everything]);
    for backend in BACKENDS {
        apply(&namespace.0, &Capture::default(), backend).unwrap();
        remove(&namespace.0).unwrap();
        remove(&namespace.0).unwrap();
        assert_eq!(namespace.run(&[everything]), before, "{backend:?}");
    }
}

#[test]
fn a_namespace_without_ipv6_is_captured_too() {
    let Some(namespace) = Namespace::new() else {
        return;
    };
    namespace.run(&["sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.lo.disable_ipv6=1"]);
    for backend in BACKENDS {
        apply(&namespace.0, &Capture::default(), backend).unwrap();
        assert_eq!(verify(&namespace.0, &Capture::default(), backend).unwrap(), []);
        remove(&namespace.0).unwrap();
    }
}

/// Who took a connection: the port it came to, and the destination that its client asked for.
type Taken = (u16, SocketAddr);

/// Connects from one namespace to `to` while all ports in `listening` are open in `at`; who got it?
fn taken(
    from: &Namespace,
    source: Option<IpAddr>,
    mark: u32,
    to: SocketAddr,
    at: &Namespace,
) -> Taken {
    let any: IpAddr = if to.is_ipv4() { [0, 0, 0, 0].into() } else { [0; 16].into() };
    let listeners: Vec<TcpListener> = at.inside(|| {
        [80, 53, 15001, 15006, 15008, 15053]
            .map(|port| bound(|| TcpListener::bind((any, port))))
            .into_iter()
            .collect()
    });
    let _client = from.inside(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
        socket.set_mark(mark).unwrap();
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        }
        socket.connect_timeout(&to.into(), Duration::from_secs(5)).unwrap();
        socket
    });
    for listener in listeners {
        listener.set_nonblocking(true).unwrap();
        if let Ok((stream, _)) = listener.accept() {
            let socket = SockRef::from(&stream);
            let wanted = match to {
                SocketAddr::V4(_) => socket.original_dst_v4(),
                SocketAddr::V6(_) => socket.original_dst_v6(),
            };
            let port = listener.local_addr().unwrap().port();
            let wanted = wanted.map(|address| address.as_socket().unwrap());
            // Without redirection there may be nothing on record.
            return (port, wanted.unwrap_or_else(|_| stream.local_addr().unwrap()));
        }
    }
    panic!("nobody got the connection to {to}");
}

#[test]
fn connections_go_where_they_should() {
    let Some((pod, peer)) = Namespace::pair() else {
        return;
    };
    for backend in BACKENDS {
        apply(&pod.0, &Capture::default(), backend).unwrap();
        for (pod_ip, peer_ip, probe) in
            [(POD[0], PEER[0], IpAddr::from(PROBE_V4)), (POD[1], PEER[1], IpAddr::from(PROBE_V6))]
        {
            let to = |ip: &str, port| SocketAddr::new(ip.parse().unwrap(), port);
            let prefix = if probe.is_ipv4() { 32 } else { 128 };
            peer.run(&[&format!("ip address replace {probe}/{prefix} dev lo nodad")]);
            let web = to(peer_ip, 80);
            assert_eq!(taken(&pod, None, 0, web, &pod), (15001, web), "outbound");
            let dns = to(peer_ip, 53);
            assert_eq!(taken(&pod, None, 0, dns, &pod), (15053, dns), "DNS over TCP");
            assert_eq!(taken(&pod, None, PACKET_MARK, web, &peer).0, 80, "ztunnel's own");
            let own = to(pod_ip, 80);
            assert_eq!(taken(&pod, None, 0, own, &pod).0, 80, "to itself");
            assert_eq!(taken(&peer, None, 0, own, &pod), (15006, own), "inbound");
            assert_eq!(taken(&peer, None, 0, to(pod_ip, 15008), &pod).0, 15008, "HBONE");
            assert_eq!(taken(&peer, Some(probe), 0, own, &pod).0, 80, "probe");
        }
        remove(&pod.0).unwrap();
        let own = SocketAddr::new(POD[0].parse().unwrap(), 80);
        assert_eq!(taken(&peer, None, 0, own, &pod).0, 80, "removed");
    }
}

#[test]
fn settings_say_what_is_not_captured() {
    let Some((pod, peer)) = Namespace::pair() else {
        return;
    };
    let to = |ip: &str, port| SocketAddr::new(ip.parse().unwrap(), port);
    for backend in BACKENDS {
        let capture = Capture { ipv6: false, dns: false, inbound: false, ..Capture::default() };
        apply(&pod.0, &capture, backend).unwrap();
        assert_eq!(taken(&peer, None, 0, to(POD[0], 80), &pod).0, 80, "inbound is bypassed");
        assert_eq!(taken(&pod, None, 0, to(PEER[1], 80), &peer).0, 80, "IPv6 is not captured");
        let dns = to(PEER[0], 53);
        assert_eq!(taken(&pod, None, 0, dns, &pod), (15001, dns), "DNS is a connection as any");
        remove(&pod.0).unwrap();
    }
}

#[test]
fn dns_queries_reach_the_proxy_and_its_own_queries_leave() {
    let Some((pod, peer)) = Namespace::pair() else {
        return;
    };
    for backend in BACKENDS {
        apply(&pod.0, &Capture::default(), backend).unwrap();
        for (peer_ip, any, lo) in [(PEER[0], "0.0.0.0", "127.0.0.1"), (PEER[1], "::", "::1")] {
            let server: SocketAddr = format!("{}:53", bracketed(peer_ip)).parse().unwrap();
            let bind = |ip: &str, port: u16| {
                let socket = bound(|| UdpSocket::bind((ip, port)));
                socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                socket
            };
            let proxy = pod.inside(|| bind(lo, 15053));
            let outside = peer.inside(|| bind(any, 53));
            let (app, forward) = pod.inside(|| (bind(any, 0), bind(any, 0)));
            SockRef::from(&forward).set_mark(PACKET_MARK).unwrap();
            for (asks, answers) in [(&app, &proxy), (&forward, &outside)] {
                asks.send_to(b"question", server).unwrap();
                let mut buffer = [0; 16];
                let (count, from) = answers.recv_from(&mut buffer).unwrap();
                assert_eq!(&buffer[..count], b"question");
                answers.send_to(b"answer", from).unwrap();
                let (count, from) = asks.recv_from(&mut buffer).unwrap();
                assert_eq!((&buffer[..count], from), (&b"answer"[..], server), "{backend:?}");
            }
        }
        remove(&pod.0).unwrap();
    }
}

/// The reason for the routing rule: the application's reply to a connection that ztunnel opened with the client's own
/// address has to come back to ztunnel, and not leave for the client.
#[test]
fn replies_to_spoofed_connections_come_back() {
    let Some((pod, _peer)) = Namespace::pair() else {
        return;
    };
    for backend in BACKENDS {
        apply(&pod.0, &Capture::default(), backend).unwrap();
        let app = pod.inside(|| bound(|| TcpListener::bind((POD[0], 8080))));
        let ztunnel = pod.inside(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_mark(PACKET_MARK).unwrap();
            socket.set_freebind_v4(true).unwrap();
            socket.set_ip_transparent_v4(true).unwrap();
            socket.bind(&SocketAddr::new(PEER[0].parse().unwrap(), 0).into()).unwrap();
            let to: SocketAddr = app.local_addr().unwrap();
            socket.connect_timeout(&to.into(), Duration::from_secs(5)).unwrap();
            TcpStream::from(socket)
        });
        let (stream, client) = app.accept().unwrap();
        assert_eq!(client.ip(), PEER[0].parse::<IpAddr>().unwrap());
        std::io::Write::write_all(&mut &stream, b"hello").unwrap();
        drop(stream);
        let mut got = String::new();
        ztunnel.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        (&ztunnel).read_to_string(&mut got).unwrap();
        assert_eq!(got, "hello", "{backend:?}");
        remove(&pod.0).unwrap();
    }
}

/// ztunnel connects as the client, with a port of the kernel's choice: it may be the very one by which the client has its
/// own connection to the same port.
#[test]
fn a_client_and_ztunnel_in_its_name_may_have_one_port() {
    let Some((pod, peer)) = Namespace::pair() else {
        return;
    };
    let limit = Duration::from_secs(5);
    for backend in BACKENDS {
        apply(&pod.0, &Capture::default(), backend).unwrap();
        for (pod_ip, domain) in [(POD[0], Domain::IPV4), (POD[1], Domain::IPV6)] {
            let listen = |port| pod.inside(|| bound(|| TcpListener::bind((pod_ip, port))));
            let (app, captured) = (listen(8080), listen(15006));
            let to = app.local_addr().unwrap();
            let client = peer.inside(|| TcpStream::connect_timeout(&to, limit).unwrap());
            let (accepted, from) = captured.accept().unwrap();
            let ztunnel = pod.inside(|| {
                let socket = Socket::new(domain, Type::STREAM, None).unwrap();
                socket.set_mark(PACKET_MARK | AS_CLIENT_MARK).unwrap();
                if from.is_ipv4() {
                    socket.set_ip_transparent_v4(true).unwrap();
                } else {
                    socket.set_ip_transparent_v6(true).unwrap();
                }
                socket.bind(&from.into()).unwrap();
                socket.connect_timeout(&to.into(), limit).unwrap();
                TcpStream::from(socket)
            });
            let (served, seen) = app.accept().unwrap();
            assert_eq!(seen, from, "{backend:?}: the application sees the client");
            for (one, other) in [(&client, &accepted), (&ztunnel, &served)] {
                for (mut from, mut to) in [(one, other), (other, one)] {
                    std::io::Write::write_all(&mut from, b"hello").unwrap();
                    to.set_read_timeout(Some(limit)).unwrap();
                    let mut got = [0; 5];
                    to.read_exact(&mut got).unwrap();
                    assert_eq!(&got, b"hello", "{backend:?}");
                }
            }
        }
        remove(&pod.0).unwrap();
    }
}

#[test]
fn what_was_captured_goes_on_while_new_connections_pass() {
    let Some((pod, peer)) = Namespace::pair() else {
        return;
    };
    let capture = Capture::default();
    for backend in BACKENDS {
        apply(&pod.0, &capture, backend).unwrap();
        let web = SocketAddr::new(PEER[0].parse().unwrap(), 80);
        let tunnel = pod.inside(|| bound(|| TcpListener::bind(("0.0.0.0", 15001))));
        let client =
            pod.inside(|| TcpStream::connect_timeout(&web, Duration::from_secs(5)).unwrap());
        let (captured, _) = tunnel.accept().unwrap();
        pass(&pod.0, &capture, backend).unwrap();
        for (mut from, mut to) in [(&client, &captured), (&captured, &client)] {
            std::io::Write::write_all(&mut from, b"hello").unwrap();
            to.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut got = [0; 5];
            to.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"hello", "{backend:?}");
        }
        drop((tunnel, client, captured));
        assert_eq!(taken(&pod, None, 0, web, &peer).0, 80, "{backend:?}");
        assert!(!verify(&pod.0, &capture, backend).unwrap().is_empty());
        remove(&pod.0).unwrap();
    }
}

/// Binds, where a program that another test is just starting may for a moment hold a copy of the socket before.
fn bound<T>(bind: impl Fn() -> std::io::Result<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match bind() {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::yield_now();
            }
            result => return result.unwrap(),
        }
    }
}

fn bracketed(ip: &str) -> String {
    if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() }
}

#[test]
fn probes_of_the_node_reach_a_captured_pod_and_nothing_else_does() {
    let Some((pod, node)) = Namespace::pair() else { return };
    for backend in BACKENDS {
        apply(&pod.0, &Capture::default(), backend).unwrap();
        for (pod_ip, probe) in POD.into_iter().zip([IpAddr::from(PROBE_V4), PROBE_V6.into()]) {
            let pod_ip: IpAddr = pod_ip.parse().unwrap();
            let server = pod.inside(|| TcpListener::bind((pod_ip, 0)).unwrap());
            let address = server.local_addr().unwrap();
            let connect =
                || node.inside(|| TcpStream::connect_timeout(&address, Duration::from_secs(2)));
            // Nobody listens on the port that captured connections are led to.
            assert_eq!(connect().unwrap_err().kind(), ErrorKind::ConnectionRefused, "{backend:?}");

            let pods = [(pod_ip, "uid".to_owned())].into();
            let user = nix::unistd::geteuid().as_raw();
            let probes = HostProbes { pods, kubelet_user: user, ipv6: true };
            for _ in 0..2 {
                apply_host(&node.0, &probes, backend).unwrap();
            }
            let _probing = connect().unwrap();
            assert_eq!(server.accept().unwrap().1.ip(), probe, "{backend:?}");

            apply_host(&node.0, &HostProbes { pods: [].into(), ..probes }, backend).unwrap();
            assert_eq!(connect().unwrap_err().kind(), ErrorKind::ConnectionRefused, "{backend:?}");
        }
        for _ in 0..2 {
            remove_host(&node.0).unwrap();
        }
        let left = node.run(&["nft list ruleset; iptables-save; ip6tables-save"]);
        assert!(!left.contains("ISTIO_POSTRT") && !left.contains("istio-"), "{left}");
        remove(&pod.0).unwrap();
    }
}
