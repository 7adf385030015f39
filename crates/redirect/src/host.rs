//! The node's own rules: the kubelet's probes of captured pods get an address that captured pods let through.
//!
//! A probe comes from a socket of the node, so that only it is given the special source; what the node forwards is
//! not (protocol.md 1.5). In the pod, the rules for [`PROBE_V4`] and [`PROBE_V6`] let it pass uncaptured.
//!
//! With nftables the pods are elements of two sets. With iptables each pod has a rule of its own instead of an entry
//! of an ipset, so that the program `ipset` is not needed; a node has few enough pods for that.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use crate::backend::Backend;
use crate::capture::{PROBE_V4, PROBE_V6};
use crate::error::Error;
use crate::iptables::{restore, save};
use crate::nft::NFT;
use crate::rules::Family;
use crate::run::Netns;

/// Istio's names.
const TABLE: &str = "istio-ambient-nat";
const SETS: [&str; 2] = ["istio-inpod-probes-v4", "istio-inpod-probes-v6"];
const CHAIN: &str = "ISTIO_POSTRT";
/// Before the chains of others at 100: the first chain that translates a connection decides.
const PRIORITY: i32 = 99;

/// Whose probes are let through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostProbes {
    /// The captured pods' addresses, with the pods' UIDs.
    pub pods: BTreeMap<IpAddr, String>,
    /// The user that the kubelet runs as, whose connections are probes. Only nftables looks at it.
    pub kubelet_user: u32,
    /// Whether IPv6 is captured too.
    pub ipv6: bool,
}

/// Makes the node's rules exempt the probes of `probes`, and no others.
pub(crate) fn apply(netns: &Netns, probes: &HostProbes, backend: Backend) -> Result<(), Error> {
    match backend {
        Backend::Nftables => netns.run(NFT, &["-f", "-"], &nft(probes)).map(drop),
        Backend::Iptables => {
            for family in Family::ALL.into_iter().filter(|f| *f == Family::V4 || probes.ipv6) {
                let present = present(netns, family)?;
                let script = iptables(Some(probes), family, &present);
                netns.run(restore(family), &["--noflush", "--wait", "10"], &script)?;
            }
            Ok(())
        }
    }
}

/// Takes out what either back end has put in.
pub(crate) fn remove(netns: &Netns) -> Result<(), Error> {
    let script = format!("add table inet {TABLE}\ndelete table inet {TABLE}\n");
    match netns.run(NFT, &["-f", "-"], &script) {
        Ok(_) | Err(Error::Missing { .. }) => {}
        Err(error) => return Err(error),
    }
    for family in Family::ALL {
        let present = match present(netns, family) {
            Err(Error::Missing { .. }) => continue,
            present => present?,
        };
        let script = iptables(None, family, &present);
        if !script.is_empty() {
            netns.run(restore(family), &["--noflush", "--wait", "10"], &script)?;
        }
    }
    Ok(())
}

impl HostProbes {
    /// The rules as the back end's program reads them, where none are yet.
    pub fn render(&self, backend: Backend) -> String {
        match backend {
            Backend::Nftables => nft(self),
            Backend::Iptables => {
                Family::ALL.map(|family| iptables(Some(self), family, &Present::default())).concat()
            }
        }
    }

    fn of(&self, family: Family) -> impl Iterator<Item = (&IpAddr, &String)> {
        let is_wanted = family == Family::V4 || self.ipv6;
        self.pods.iter().filter(move |(ip, _)| is_wanted && ip.is_ipv4() == (family == Family::V4))
    }
}

/// A script that replaces the table's content in one transaction.
fn nft(probes: &HostProbes) -> String {
    let mut script = format!("add table inet {TABLE}\n");
    for (set, kind) in SETS.into_iter().zip(["ipv4_addr", "ipv6_addr"]) {
        let _ = writeln!(script, "add set inet {TABLE} {set} {{ type {kind}; }}");
        let _ = writeln!(script, "flush set inet {TABLE} {set}");
    }
    let _ = writeln!(
        script,
        "add chain inet {TABLE} postrouting {{ type nat hook postrouting priority {PRIORITY}; policy accept; }}\n\
         flush chain inet {TABLE} postrouting"
    );
    for (family, set) in Family::ALL.into_iter().zip(SETS) {
        let elements: Vec<String> = probes
            .of(family)
            .map(|(ip, uid)| format!("{ip} comment \"{}\"", comment(uid)))
            .collect();
        if !elements.is_empty() {
            let _ =
                writeln!(script, "add element inet {TABLE} {set} {{ {} }}", elements.join(", "));
        }
        let (word, source) = match family {
            Family::V4 => ("ip", IpAddr::V4(PROBE_V4)),
            Family::V6 if probes.ipv6 => ("ip6", IpAddr::V6(PROBE_V6)),
            Family::V6 => continue,
        };
        let _ = writeln!(
            script,
            "add rule inet {TABLE} postrouting meta l4proto tcp meta skuid {} {word} daddr @{set} counter snat {word} to {source}",
            probes.kubelet_user
        );
    }
    script
}

/// What `iptables-save` lists of ours in the table `nat`.
#[derive(Default)]
struct Present {
    declared: bool,
    /// Jumps to our chain, without the leading `-A`.
    jumps: Vec<String>,
    /// Whether the first rule of all is the jump.
    first: bool,
}

fn present(netns: &Netns, family: Family) -> Result<Present, Error> {
    Ok(Present::parse(&netns.run(save(family), &["-t", "nat"], "")?))
}

// === impl Present ===

impl Present {
    fn parse(listing: &str) -> Self {
        let mut present = Self::default();
        let mut rules = 0;
        for line in listing.lines() {
            if line.strip_prefix(':').and_then(|line| line.split(' ').next()) == Some(CHAIN) {
                present.declared = true;
            }
            if let Some(rule) = line.strip_prefix("-A ")
                && rule.starts_with("POSTROUTING ")
            {
                if rule.ends_with(&format!(" -j {CHAIN}")) {
                    present.first |= rules == 0;
                    present.jumps.push(rule.to_owned());
                }
                rules += 1;
            }
        }
        present
    }
}

/// The input of the family's restore program (with `--noflush`) that turns what is `present` into `probes`.
fn iptables(probes: Option<&HostProbes>, family: Family, present: &Present) -> String {
    if probes.is_none() && !present.declared && present.jumps.is_empty() {
        return String::new();
    }
    let keep = probes.is_some() && present.first && present.jumps.len() == 1;
    let mut script = format!("*nat\n:{CHAIN} - [0:0]\n");
    for jump in present.jumps.iter().filter(|_| !keep) {
        let _ = writeln!(script, "-D {jump}");
    }
    match probes {
        None => drop(writeln!(script, "-X {CHAIN}")),
        Some(probes) => {
            if !keep {
                let _ = writeln!(script, "-I POSTROUTING 1 -j {CHAIN}");
            }
            let (length, source) = match family {
                Family::V4 => (32, IpAddr::V4(PROBE_V4)),
                Family::V6 => (128, IpAddr::V6(PROBE_V6)),
            };
            for (ip, uid) in probes.of(family) {
                let _ = writeln!(
                    script,
                    "-A {CHAIN} -d {ip}/{length} -p tcp -m owner --socket-exists -m comment --comment {} -j SNAT --to-source {source}",
                    comment(uid)
                );
            }
        }
    }
    script.push_str("COMMIT\n");
    script
}

/// A UID as far as it can be written anywhere.
fn comment(uid: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    uid.chars().filter(plain).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probes(ipv6: bool) -> HostProbes {
        let pods = [("10.0.0.5", "uid-a"), ("10.0.0.6", "uid\"b"), ("fd00::5", "uid-a")];
        let pods = pods.map(|(ip, uid)| (ip.parse().unwrap(), uid.to_owned()));
        HostProbes { pods: pods.into(), kubelet_user: 0, ipv6 }
    }

    #[test]
    fn rendered_rules_are_as_recorded() {
        insta::assert_snapshot!("host-nft-dual", probes(true).render(Backend::Nftables));
        insta::assert_snapshot!("host-nft-v4", probes(false).render(Backend::Nftables));
        insta::assert_snapshot!("host-iptables-dual", probes(true).render(Backend::Iptables));
    }

    #[test]
    fn the_jump_is_put_first_and_taken_out_again() {
        let none = HostProbes::default();
        for (listing, kept) in [
            (":ISTIO_POSTRT - [0:0]\n-A POSTROUTING -j ISTIO_POSTRT\n-A POSTROUTING -j KUBE", true),
            ("-A POSTROUTING -j KUBE\n-A POSTROUTING -j ISTIO_POSTRT", false),
            ("-A POSTROUTING -j ISTIO_POSTRT\n-A POSTROUTING -j ISTIO_POSTRT", false),
            ("-A OUTPUT -j KUBE\n:POSTROUTING ACCEPT [1:2]", false),
        ] {
            let present = Present::parse(listing);
            let script = iptables(Some(&none), Family::V4, &present);
            assert_eq!(!script.contains("-I POSTROUTING 1"), kept, "{listing}: {script}");
            assert_eq!(script.matches("-D ").count(), if kept { 0 } else { present.jumps.len() });
        }
        let present = Present::parse(":ISTIO_POSTRT - [0:0]\n-A POSTROUTING -j ISTIO_POSTRT");
        assert_eq!(
            iptables(None, Family::V4, &present),
            "*nat\n:ISTIO_POSTRT - [0:0]\n-D POSTROUTING -j ISTIO_POSTRT\n-X ISTIO_POSTRT\nCOMMIT\n"
        );
        assert_eq!(iptables(None, Family::V4, &Present::default()), "");
    }
}
