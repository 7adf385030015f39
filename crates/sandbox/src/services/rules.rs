//! What a node does with packets to virtual addresses: the pods' own kube-proxy, as one nftables table.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::{DNS_V4, DNS_V6, PortView, Protocol, ServiceView};

/// The transaction that makes `node` send packets for services to endpoints, in place of what it did before.
/// `gateways` are its own addresses among its pods'.
pub(crate) fn node_rules(node: &str, gateways: &[IpAddr], services: &[ServiceView]) -> String {
    let mut script = String::from(
        "add table inet ambit-services\nflush table inet ambit-services\ntable inet ambit-services {\n",
    );
    script.push_str("  chain services {\n");
    for service in services {
        for (index, port) in service.ports.iter().enumerate() {
            for vip in &service.vips {
                script.push_str(&choice(*vip, port, &targets(service, index, *vip, node)));
            }
        }
    }
    script.push_str("  }\n");
    for hook in ["prerouting", "output"] {
        let _ = writeln!(
            script,
            "  chain {hook} {{ type nat hook {hook} priority -100; goto services; }}"
        );
    }
    script.push_str(&hairpin(node, gateways, services));
    script.push_str(&refusal());
    script.push_str("}\n");
    script
}

/// The endpoints of the address's family that `node` may use.
fn targets(service: &ServiceView, port: usize, vip: IpAddr, node: &str) -> Vec<SocketAddr> {
    let local = service.is_local();
    service
        .available()
        .filter(|member| !local || member.node.as_deref() == Some(node))
        .filter_map(|member| {
            let ip = member.ips.iter().find(|ip| ip.is_ipv4() == vip.is_ipv4())?;
            Some(SocketAddr::new(*ip, member.targets.get(port).copied()??))
        })
        .collect()
}

/// One rule: packets to the address and port go to one of the targets, by chance.
fn choice(vip: IpAddr, port: &PortView, targets: &[SocketAddr]) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let family = family(vip);
    let matches = format!("    {family} daddr {vip} {protocol} dport {}", port.port);
    match targets {
        [] => String::new(),
        [only] => format!("{matches} dnat {family} to {only}\n"),
        several => {
            let map: Vec<String> = several
                .iter()
                .enumerate()
                .map(|(index, target)| format!("{index} : {} . {}", target.ip(), target.port()))
                .collect();
            let (count, map) = (several.len(), map.join(", "));
            format!("{matches} dnat {family} to numgen random mod {count} map {{ {map} }}\n")
        }
    }
}

/// A pod that reaches itself through a service needs another source than itself, or it would drop the packet.
fn hairpin(node: &str, gateways: &[IpAddr], services: &[ServiceView]) -> String {
    let mut script =
        String::from("  chain postrouting {\n    type nat hook postrouting priority 100;\n");
    let mut own: Vec<IpAddr> = services
        .iter()
        .flat_map(ServiceView::available)
        .filter(|member| member.node.as_deref() == Some(node))
        .flat_map(|member| member.ips.iter().copied())
        .collect();
    own.sort();
    own.dedup();
    for gateway in gateways {
        let v4 = gateway.is_ipv4();
        let pairs: Vec<String> =
            own.iter().filter(|ip| ip.is_ipv4() == v4).map(|ip| format!("{ip} . {ip}")).collect();
        let family = family(*gateway);
        if !pairs.is_empty() {
            let _ = writeln!(
                script,
                "    ct status dnat {family} saddr . {family} daddr {{ {} }} snat {family} to {gateway}",
                pairs.join(", ")
            );
        }
    }
    script.push_str("  }\n");
    script
}

/// A virtual address that leads nowhere refuses at once.
fn refusal() -> String {
    let mut script = String::from("  chain refusal {\n");
    let _ = writeln!(script, "    ip daddr {DNS_V4} accept\n    ip6 daddr {DNS_V6} accept");
    for range in ["ip daddr 10.96.0.0/16", "ip6 daddr fd00:10:96::/112"] {
        let _ = writeln!(script, "    {range} meta l4proto tcp reject with tcp reset");
        let _ = writeln!(script, "    {range} reject");
    }
    script.push_str("  }\n");
    for hook in ["forward", "output"] {
        let _ = writeln!(
            script,
            "  chain {hook}-filter {{ type filter hook {hook} priority 0; goto refusal; }}"
        );
    }
    script
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "ip" } else { "ip6" }
}
