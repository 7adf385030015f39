//! Cables, addresses, routes and kernel settings, by `ip -batch` and `/proc/sys`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{FABRIC_V4, FABRIC_V6, NodeNet, PodNet, TopologyOptions};
use crate::error::{Error, IoContext};
use crate::instance::Instance;
use crate::room::Room;

const ALLOWED_CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";
const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// Lets namespaces use `algorithm`: what the initial namespace does not allow, they cannot choose.
pub(super) fn allow_congestion_control(instance: &Instance, algorithm: &str) -> Result<(), Error> {
    let path = Path::new(ALLOWED_CONGESTION_CONTROL);
    let allowed = fs::read_to_string(path).doing("read", path)?;
    if allowed.split_whitespace().any(|known| known == algorithm) {
        return Ok(());
    }
    instance.change_setting(path, &format!("{} {algorithm}", allowed.trim()))
}

/// A node's addresses on the fabric.
pub(super) fn node_ips(index: u8, options: &TopologyOptions) -> Vec<IpAddr> {
    let number = index.saturating_add(10);
    let v4 = Ipv4Addr::new(172, 30, 0, number);
    let v6 = Ipv6Addr::new(0xfd00, 0x172, 0x30, 0, 0, 0, 0, number.into());
    both(v4, v6, options)
}

/// A node's addresses among its pods'.
pub(super) fn gateways(node: u8, options: &TopologyOptions) -> Vec<IpAddr> {
    pod_ips(node, 1, options)
}

/// A pod's addresses.
pub(super) fn pod_ips(node: u8, host: u8, options: &TopologyOptions) -> Vec<IpAddr> {
    let v4 = Ipv4Addr::new(10, 244, node, host);
    let v6 = Ipv6Addr::new(0xfd00, 0x10, 0x244, node.into(), 0, 0, 0, host.into());
    both(v4, v6, options)
}

fn both(v4: Ipv4Addr, v6: Ipv6Addr, options: &TopologyOptions) -> Vec<IpAddr> {
    let mut ips = vec![v4.into()];
    ips.extend(options.ipv6.then_some(IpAddr::V6(v6)));
    ips
}

pub(super) fn set_up_fabric(fabric: &Room, options: &TopologyOptions) -> Result<(), Error> {
    settings(fabric, options, &[])?;
    let mut script = String::from(
        "link set lo up\nlink add fabric type bridge mcast_snooping 0\nlink set fabric up\n",
    );
    for ip in both(FABRIC_V4, FABRIC_V6, options) {
        let _ = writeln!(script, "address add {} dev fabric {}", on_fabric(ip), dad(ip));
    }
    // Pods reach what runs on the fabric, and are answered, through their nodes.
    batch(fabric, script)
}

pub(super) fn set_up_node(
    fabric: &Room,
    node: &NodeNet,
    options: &TopologyOptions,
) -> Result<(), Error> {
    let forwarding = [("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")];
    settings(&node.room, options, &forwarding)?;
    let port = format!("node{}", node.index);
    let mut script = format!(
        "link set lo up\nlink add eth0 type veth peer name {port} netns {}\nlink set eth0 up\n",
        fabric.path().display()
    );
    for ip in &node.ips {
        let _ = writeln!(script, "address add {} dev eth0 {}", on_fabric(*ip), dad(*ip));
    }
    // Nobody has these addresses: what is not translated on the way is refused on the way.
    let _ = writeln!(script, "route add 10.96.0.0/16 via {FABRIC_V4}");
    if options.ipv6 {
        let _ = writeln!(script, "route add fd00:10:96::/112 via {FABRIC_V6}");
    }
    for gateway in &node.gateways {
        let prefix = if gateway.is_ipv4() { 32 } else { 128 };
        let _ = writeln!(script, "address add {gateway}/{prefix} dev lo {}", dad(*gateway));
    }
    batch(&node.room, script)?;
    let mut script = format!("link set {port} master fabric up\n");
    for (range, via) in ranges(node) {
        let _ = writeln!(script, "route add {range} via {via}");
    }
    batch(fabric, script)
}

/// Lets `from` reach the pods of `to`.
pub(super) fn route_between(from: &NodeNet, to: &NodeNet) -> Result<(), Error> {
    let lines = ranges(to).map(|(range, via)| format!("route add {range} via {via}\n"));
    batch(&from.room, lines.collect())
}

/// The ranges of a node's pods, and through which of its addresses they are reached.
fn ranges(node: &NodeNet) -> impl Iterator<Item = (String, IpAddr)> {
    let index = node.index;
    node.ips.iter().map(move |ip| match ip {
        IpAddr::V4(_) => (format!("10.244.{index}.0/24"), *ip),
        IpAddr::V6(_) => (format!("fd00:10:244:{index:x}::/64"), *ip),
    })
}

pub(super) fn set_up_pod(
    node: &NodeNet,
    pod: &PodNet,
    options: &TopologyOptions,
) -> Result<(), Error> {
    // As container runtimes do: an unprivileged server may listen on port 80.
    settings(&pod.room, options, &[("net/ipv4/ip_unprivileged_port_start", "0")])?;
    let port = port(pod);
    let mut outside = format!(
        "link add {port} type veth peer name eth0 netns {}\nlink set {port} up\n",
        pod.room.path().display()
    );
    let mut inside = String::from("link set lo up\nlink set eth0 up\n");
    if options.ipv6 {
        let _ = writeln!(outside, "address add fe80::1/64 dev {port} nodad");
    }
    for ip in &pod.ips {
        let _ = match ip {
            IpAddr::V4(ip) => {
                let gateway = Ipv4Addr::new(10, 244, node.index, 1);
                let _ = writeln!(outside, "route add {ip}/32 dev {port} scope link");
                writeln!(
                    inside,
                    "address add {ip}/32 dev eth0\nroute add {gateway} dev eth0 scope link src {ip}\n\
                     route add default via {gateway} dev eth0 src {ip}"
                )
            }
            IpAddr::V6(ip) => {
                let _ = writeln!(outside, "route add {ip}/128 dev {port}");
                writeln!(
                    inside,
                    "address add {ip}/128 dev eth0 nodad\nroute add default via fe80::1 dev eth0 src {ip}"
                )
            }
        };
    }
    batch(&node.room, outside)?;
    batch(&pod.room, inside)
}

pub(super) fn add_addresses(node: &NodeNet, ips: &[IpAddr]) -> Result<(), Error> {
    let line = |ip: &IpAddr| {
        let prefix = if ip.is_ipv4() { 32 } else { 128 };
        format!("address add {ip}/{prefix} dev lo {}\n", dad(*ip))
    };
    batch(&node.room, ips.iter().map(line).collect())
}

/// Pulls a pod's cable.
pub(super) fn unplug(node: &NodeNet, pod: &PodNet) {
    if let Err(error) = batch(&node.room, format!("link del {}\n", port(pod))) {
        tracing::debug!(pod = pod.name, error = error.line(), "the pod's cable is gone already");
    }
}

fn port(pod: &PodNet) -> String {
    format!("p{}", pod.host)
}

fn on_fabric(ip: IpAddr) -> String {
    format!("{ip}/{}", if ip.is_ipv4() { 24 } else { 64 })
}

/// Addresses are ours alone: no second of waiting for others to claim them.
fn dad(ip: IpAddr) -> &'static str {
    if ip.is_ipv6() { "nodad" } else { "" }
}

/// Writes kernel settings of a namespace: those that every one gets, and `more`.
fn settings(
    room: &Room,
    options: &TopologyOptions,
    more: &[(&'static str, &'static str)],
) -> Result<(), Error> {
    // The machine's own settings are inherited and may be strict about sources; proxies keep their clients' addresses.
    let mut lines = vec![
        ("net/ipv4/conf/all/rp_filter", "0".to_owned()),
        ("net/ipv4/conf/default/rp_filter", "0".to_owned()),
    ];
    let no_ipv6 = if options.ipv6 { "0" } else { "1" };
    for scope in ["all", "default", "lo"] {
        let name = match scope {
            "all" => "net/ipv6/conf/all/disable_ipv6",
            "default" => "net/ipv6/conf/default/disable_ipv6",
            _ => "net/ipv6/conf/lo/disable_ipv6",
        };
        lines.push((name, no_ipv6.to_owned()));
    }
    lines.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let congestion_control = options.congestion_control.clone();
    let written = room.run(move || {
        for (name, value) in lines {
            // A kernel without IPv6 has no switches for it.
            let path = Path::new("/proc/sys").join(name);
            if path.exists() {
                fs::write(&path, value).doing("write", &path)?;
            }
        }
        match congestion_control {
            Some(algorithm) => {
                let path = Path::new(CONGESTION_CONTROL);
                fs::write(path, algorithm).doing("write", path)
            }
            None => Ok(()),
        }
    });
    written.map_err(Error::namespaces)?
}

/// Runs lines of `ip -batch` in a room.
fn batch(room: &Room, script: String) -> Result<(), Error> {
    feed(room, ("ip", "iproute2"), &["-batch", "-"], script)
}

/// Runs a set-up program in a room with `input`; its complaint becomes the error.
pub(crate) fn feed(
    room: &Room,
    (program, package): (&'static str, &'static str),
    args: &'static [&'static str],
    input: String,
) -> Result<(), Error> {
    let run = move || {
        let mut child = Command::new(program)
            .args(args)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that stops reading says why on its standard error.
            let _ = stdin.write_all(input.as_bytes());
        }
        child.wait_with_output()
    };
    let output = room.run(run).and_then(|result| result).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::Program { program, package },
        _ => Error::Start { program: program.to_owned(), source },
    })?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let message = words.split_whitespace().take(60).collect::<Vec<_>>().join(" ");
    Err(Error::Setup { program, message })
}
