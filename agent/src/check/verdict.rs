//! What facts about a node mean for the mesh. Pure.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use ambit_model::Finding;
use ambit_redirect::Backend;

/// The oldest kernel that its makers still keep up; older ones are not tested.
const TESTED_KERNEL: (u32, u32) = (5, 10);
/// Other agents that capture pods, by the types of their CNI plugins.
const OTHERS: [(&str, &str); 2] = [("istio-cni", "Istio"), ("linkerd-cni", "Linkerd")];
/// As far as clocks may differ without a word: a question takes its time, and is answered in whole seconds.
const CLOCK_GOOD: Duration = Duration::from_secs(5);
/// Half of what certificates are dated back, since two clocks may be wrong in opposite directions.
const CLOCK_BAD: Duration = Duration::from_secs(60);

/// What became of a connection that the node made as the kubelet makes probes of captured pods.
#[derive(Debug)]
pub(super) enum Probe {
    /// The pod saw it come from this address.
    Seen(IpAddr),
    /// The pod did not answer.
    Silent(String),
    /// The rules for it could not be put in.
    Refused(String),
    /// An interface of the node has the probes' address.
    Taken,
    /// An agent's own rules are there, which are left alone.
    Installed,
}

pub(super) fn kernel(release: &str) -> Finding {
    let check = "kernel";
    let mut numbers = release.split(['.', '-', '+']).map(|part| part.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) >= TESTED_KERNEL => {
            Finding::good(check, format!("Linux {release}"))
        }
        _ => Finding::warning(
            check,
            format!("Linux {release}"),
            format!(
                "use {}.{} or newer, with which Ambit is tested",
                TESTED_KERNEL.0, TESTED_KERNEL.1
            ),
        ),
    }
}

pub(super) fn rules(chosen: Result<Backend, String>) -> Finding {
    let check = "capture rules";
    match chosen {
        Ok(Backend::Nftables) => Finding::good(check, "nftables, tried out"),
        Ok(Backend::Iptables) => {
            Finding::good(check, "iptables, tried out; nftables does not work here")
        }
        Err(problem) => Finding::bad(
            check,
            problem,
            "load the kernel modules nf_tables and nft_redir (or iptable_nat and xt_REDIRECT) on the node",
        ),
    }
}

pub(super) fn migration(is_there: bool) -> Finding {
    let check = "tcp_migrate_req";
    match is_there {
        true => {
            Finding::good(check, "there, so that ztunnel is replaced without a refused connection")
        }
        false => Finding::warning(
            check,
            "the kernel does not have it",
            "use Linux 5.14 or newer, or some connections are refused whenever ztunnel is replaced",
        ),
    }
}

/// `version` is that of the control groups; `found` says whether a running pod was found by its own.
pub(super) fn cgroups(version: u8, found: Option<Result<bool, String>>) -> Finding {
    let check = "control groups";
    let next = "run the agent with hostPID, and the kubelet with control groups for each pod (cgroupsPerQOS)";
    match found {
        None => Finding::good(check, format!("version {version}")),
        Some(Ok(true)) => {
            Finding::good(check, format!("version {version}; running pods are found by them"))
        }
        Some(Ok(false)) => {
            let found =
                format!("version {version}, but a pod that runs here was not found by them");
            Finding::bad(check, found, next)
        }
        Some(Err(problem)) => Finding::bad(check, problem, next),
    }
}

/// `list` is the name of the node's first configuration and the types of its plugins.
pub(super) fn cni(list: Result<(String, Vec<String>), String>) -> Finding {
    let check = "CNI";
    let (name, plugins) = match list {
        Ok(list) => list,
        Err(problem) => {
            return Finding::bad(
                check,
                problem,
                "see to it that the agent can add its plugin there; CNI_NET_DIR and CNI_BIN_DIR name other places",
            );
        }
    };
    let found = format!("{name} with {}", plugins.join(", "));
    match OTHERS.iter().find(|(plugin, _)| plugins.iter().any(|other| other == plugin)) {
        None => Finding::good(check, found),
        Some((plugin, mesh)) => Finding::warning(
            check,
            found,
            format!(
                "{plugin} of {mesh} captures pods too: remove it from this node before Ambit is installed"
            ),
        ),
    }
}

pub(super) fn probe(address: IpAddr, probe: &Probe) -> Finding {
    let check = "kubelet probes";
    match probe {
        Probe::Seen(source) if *source == address => {
            Finding::good(check, format!("a pod answers probes from {address}"))
        }
        Probe::Installed => {
            Finding::good(check, "an agent is at work here; its rules were not touched")
        }
        Probe::Seen(source) => Finding::bad(
            check,
            format!("a pod saw a probe come from {source} instead of {address}"),
            "find the chain in postrouting that translates it first (nft list ruleset), and have it pass over probes",
        ),
        Probe::Silent(problem) => Finding::bad(
            check,
            format!("a pod does not answer probes from {address}: {problem}"),
            "let the CNI and the node's firewall pass 169.254.7.127 between node and pods",
        ),
        Probe::Refused(problem) => {
            Finding::bad(check, problem.clone(), "see the check of capture rules")
        }
        Probe::Taken => Finding::bad(
            check,
            format!("an interface of the node has {address}"),
            "take the address off (ip address): probes of captured pods come from it",
        ),
    }
}

pub(super) fn clock(own: SystemTime, cluster: SystemTime) -> Finding {
    let check = "clock";
    let (apart, word) = match own.duration_since(cluster) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    let found = format!("{} s {word} the API server", apart.as_secs());
    let next = "synchronise the clock (chrony, systemd-timesyncd): certificates count from two minutes before they are made";
    match apart {
        _ if apart <= CLOCK_GOOD => Finding::good(check, "as the API server's"),
        _ if apart <= CLOCK_BAD => Finding::warning(check, found, next),
        _ => Finding::bad(check, found, next),
    }
}

/// `unreached` are the nodes whose pods did not answer, with the reason of each, of `all`.
pub(super) fn tunnel_port(all: usize, unreached: &[(String, String)]) -> Finding {
    const NAMED: usize = 3;
    let check = "port 15008";
    let named: Vec<String> =
        unreached.iter().take(NAMED).map(|(node, problem)| format!("{node} ({problem})")).collect();
    let more = unreached.len().saturating_sub(NAMED);
    match (unreached, all) {
        ([], 0) => Finding::good(check, "there is no other node"),
        ([], _) => Finding::good(check, format!("pods of all other nodes ({all}) are reached")),
        _ => Finding::bad(
            check,
            match more {
                0 => format!("no way to a pod on {}", named.join(", ")),
                _ => format!("no way to pods on {} and {more} more", named.join(", ")),
            },
            "let TCP port 15008 pass between pods: cloud firewall, the CNI's own policies, the node's firewall",
        ),
    }
}

/// Whether a pod reaches itself through its own service.
pub(super) fn hairpin(reached: Result<(), String>) -> Finding {
    let check = "hairpin";
    match reached {
        Ok(()) => Finding::good(check, "a pod reaches itself through its service"),
        Err(problem) => Finding::warning(
            check,
            format!("a pod does not reach itself through its service: {problem}"),
            "turn on hairpin mode in the CNI, or do without pods that call their own service",
        ),
    }
}

/// The addresses that a pod resolved the API server's name to.
pub(super) fn dns(name: &str, resolved: Result<Vec<IpAddr>, String>) -> Finding {
    let check = "DNS";
    let next = "look after the cluster's DNS: kubectl -n kube-system get pods -l k8s-app=kube-dns";
    match resolved {
        Ok(addresses) if !addresses.is_empty() => {
            Finding::good(check, format!("answers for {name}"))
        }
        Ok(_) => Finding::bad(check, format!("{name} has no address"), next),
        Err(problem) => Finding::bad(check, format!("{name}: {problem}"), next),
    }
}

#[cfg(test)]
mod tests {
    use ambit_model::Level::{self, Bad, Good, Warning};

    use super::*;

    fn expect(finding: &Finding, level: Level, words: &str) {
        let Finding { found, next, .. } = finding;
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(found.contains(words), "{words}: {found}");
        assert_eq!(
            next.is_none(),
            level == Good,
            "who has a problem is told what to do: {finding:?}"
        );
    }

    #[test]
    fn kernels() {
        for (release, level) in [
            ("6.1.0-13-amd64", Good),
            ("5.10.0", Good),
            ("5.9.99-generic", Warning),
            ("10.0+", Good),
            ("4.18.0-553.el8_10.x86_64", Warning),
            ("unknown", Warning),
        ] {
            expect(&kernel(release), level, release);
        }
        expect(&migration(true), Good, "");
        expect(&migration(false), Warning, "");
    }

    #[test]
    fn rules_and_groups() {
        expect(&rules(Ok(Backend::Nftables)), Good, "nftables");
        expect(&rules(Ok(Backend::Iptables)), Good, "iptables");
        expect(&rules(Err("nft failed".into())), Bad, "nft failed");
        for (found, level, words) in [
            (None, Good, "version 2"),
            (Some(Ok(true)), Good, "found by them"),
            (Some(Ok(false)), Bad, "was not found"),
            (Some(Err("no /proc".to_owned())), Bad, "no /proc"),
        ] {
            expect(&cgroups(2, found), level, words);
        }
    }

    #[test]
    fn who_else_is_in_the_chain() {
        let list = |plugins: &[&str]| {
            Ok(("10-net.conflist".to_owned(), plugins.iter().map(|&one| one.to_owned()).collect()))
        };
        for (facts, level, words) in [
            (list(&["ptp", "portmap"]), Good, "ptp, portmap"),
            (list(&["ptp", "ambit-cni"]), Good, "ambit-cni"),
            (list(&["ptp", "istio-cni"]), Warning, "istio-cni"),
            (list(&["ptp", "linkerd-cni"]), Warning, "linkerd-cni"),
            (Err("read-only".to_owned()), Bad, "read-only"),
        ] {
            expect(&cni(facts), level, words);
        }
    }

    #[test]
    fn probes() {
        let address: IpAddr = "169.254.7.127".parse().unwrap();
        let other: IpAddr = "10.0.0.1".parse().unwrap();
        for (fact, level, words) in [
            (Probe::Seen(address), Good, "answers"),
            (Probe::Installed, Good, "at work"),
            (Probe::Seen(other), Bad, "10.0.0.1"),
            (Probe::Silent("timed out".into()), Bad, "timed out"),
            (Probe::Refused("no nft".into()), Bad, "no nft"),
            (Probe::Taken, Bad, "interface"),
        ] {
            expect(&probe(address, &fact), level, words);
        }
    }

    #[test]
    fn clocks() {
        let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 30);
        for (own, level, words) in [
            (noon, Good, ""),
            (noon + CLOCK_GOOD, Good, ""),
            (noon - CLOCK_GOOD, Good, ""),
            (noon + Duration::from_secs(6), Warning, "6 s ahead of"),
            (noon - Duration::from_secs(60), Warning, "60 s behind"),
            (noon - Duration::from_secs(61), Bad, "61 s behind"),
            (noon + Duration::from_secs(3600), Bad, "3600 s ahead of"),
        ] {
            expect(&clock(own, noon), level, words);
        }
    }

    #[test]
    fn the_network() {
        let unreached = |names: &[&str]| {
            names
                .iter()
                .map(|name| ((*name).to_owned(), "timed out".to_owned()))
                .collect::<Vec<_>>()
        };
        for (all, unreached, level, words) in [
            (0, unreached(&[]), Good, "no other node"),
            (2, unreached(&[]), Good, "nodes (2)"),
            (2, unreached(&["b"]), Bad, "b (timed out)"),
            (9, unreached(&["b", "c", "d", "e", "f"]), Bad, "and 2 more"),
        ] {
            expect(&tunnel_port(all, &unreached), level, words);
        }
        expect(&hairpin(Ok(())), Good, "");
        expect(&hairpin(Err("refused".into())), Warning, "refused");
        expect(&dns("a.b", Ok(vec!["10.0.0.1".parse().unwrap()])), Good, "a.b");
        expect(&dns("a.b", Ok(vec![])), Bad, "no address");
        expect(&dns("a.b", Err("timed out".into())), Bad, "timed out");
    }
}
