//! The iptables back end: the chains `ISTIO_PRERT` and `ISTIO_OUTPUT`, as Istio ambient names them.

use std::fmt::Write;

use crate::capture::{AS_CLIENT_MARK, CONNECTION_MARK, MARK_MASK, PACKET_MARK};
use crate::drift::Listing;
use crate::error::Error;
use crate::rules::{Chain, Family, Match, Rule, RuleSet, Table, Verdict};
use crate::run::{Netns, Program};

const ALTERNATIVE: &str = ", or choose the nftables back end";

/// What `iptables-save` lists of ours: the table, and the line without counters.
#[derive(Default)]
pub(crate) struct Present(Vec<(Table, String)>);

/// Replaces our chains by those of `rules`, in one transaction for each family.
pub(crate) fn apply(netns: &Netns, rules: &RuleSet) -> Result<(), Error> {
    for family in Family::ALL {
        let present = match present(netns, family) {
            Err(Error::Missing { .. }) if family == Family::V6 && !rules.ipv6 => continue,
            present => present?,
        };
        let script = render(rules, family, &present);
        if !script.is_empty() {
            netns.run(restore(family), &["--noflush", "--wait", "10"], &script)?;
        }
    }
    Ok(())
}

/// Deletes our chains and the jumps to them, whether they are there or not.
pub(crate) fn remove(netns: &Netns) -> Result<(), Error> {
    apply(netns, &RuleSet { ipv6: false, chains: Vec::new() })
}

/// Our chains as they are: pairs of a place, `program table`, and a line of the listing.
pub(crate) fn list(netns: &Netns) -> Result<Listing, Error> {
    let mut entries = Vec::new();
    for family in Family::ALL {
        let lines = match present(netns, family) {
            // Nothing can be there that the pod's own family could need.
            Err(Error::Missing { .. }) if family == Family::V6 => continue,
            present => present?.0,
        };
        let program = save(family).name;
        entries.extend(
            lines.into_iter().map(|(table, line)| (format!("{program} {}", table.name()), line)),
        );
    }
    Ok(entries)
}

/// The input of the family's restore program (with `--noflush`) that turns what is `present` into `rules`.
pub(crate) fn render(rules: &RuleSet, family: Family, present: &Present) -> String {
    let mut script = String::new();
    for table in Table::ALL {
        let (mut declared, mut lines) = (String::new(), String::new());
        for chain in Chain::ALL {
            let (base, own) = chain_names(chain);
            let wanted = rules
                .table(table)
                .find(|(of, _)| *of == chain && (family == Family::V4 || rules.ipv6));
            let jumps = present.jumps(table, own);
            if wanted.is_none() && jumps.is_empty() && !present.declares(table, own) {
                continue;
            }
            // Declaring a chain creates it or empties it.
            let _ = writeln!(declared, ":{own} - [0:0]");
            let jump = format!("{base} -j {own}");
            let keep = wanted.is_some() && jumps == [jump.as_str()];
            for old in jumps.iter().filter(|_| !keep) {
                let _ = writeln!(lines, "-D {old}");
            }
            match wanted {
                None => drop(writeln!(lines, "-X {own}")),
                Some(_) if keep => {}
                Some(_) => drop(writeln!(lines, "-A {jump}")),
            }
            for rule in wanted.iter().flat_map(|(_, rules)| rules.iter()) {
                if rule.family.is_none_or(|of| of == family) {
                    let _ = writeln!(lines, "-A {own} {}", arguments(rule));
                }
            }
        }
        if !declared.is_empty() {
            let _ = write!(script, "*{}\n{declared}{lines}COMMIT\n", table.name());
        }
    }
    script
}

fn present(netns: &Netns, family: Family) -> Result<Present, Error> {
    Ok(Present::parse(&netns.run(save(family), &[], "")?))
}

pub(crate) fn save(family: Family) -> Program {
    let name = match family {
        Family::V4 => "iptables-save",
        Family::V6 => "ip6tables-save",
    };
    Program { name, package: "iptables", alternative: ALTERNATIVE }
}

pub(crate) fn restore(family: Family) -> Program {
    let name = match family {
        Family::V4 => "iptables-restore",
        Family::V6 => "ip6tables-restore",
    };
    Program { name, package: "iptables", alternative: ALTERNATIVE }
}

/// The built-in chain and ours that it jumps to.
fn chain_names(chain: Chain) -> (&'static str, &'static str) {
    match chain {
        Chain::Prerouting => ("PREROUTING", "ISTIO_PRERT"),
        Chain::Output => ("OUTPUT", "ISTIO_OUTPUT"),
    }
}

fn arguments(rule: &Rule) -> String {
    let mut words: Vec<String> = rule.matches.iter().map(condition).collect();
    words.push(verdict(rule.verdict));
    words.join(" ")
}

fn condition(condition: &Match) -> String {
    let prefix = |ip: &std::net::IpAddr| if ip.is_ipv4() { 32 } else { 128 };
    match condition {
        Match::InInterface(name) => format!("-i {name}"),
        Match::OutInterface(name) => format!("-o {name}"),
        Match::NotOutInterface(name) => format!("! -o {name}"),
        Match::Source(address) => format!("-s {address}/{}", prefix(address)),
        Match::Destination(address) => format!("-d {address}/{}", prefix(address)),
        Match::NotDestination(address) => format!("! -d {address}/{}", prefix(address)),
        Match::Tcp => "-p tcp".to_owned(),
        Match::TcpTo(port) => format!("-p tcp -m tcp --dport {port}"),
        Match::TcpNotTo(port) => format!("-p tcp -m tcp ! --dport {port}"),
        Match::UdpTo(port) => format!("-p udp -m udp --dport {port}"),
        Match::UdpFrom(port) => format!("-p udp -m udp --sport {port}"),
        Match::Marked => format!("-m mark --mark {PACKET_MARK:#x}/{MARK_MASK:#x}"),
        Match::MarkedAsClient => format!(
            "-m mark --mark {:#x}/{:#x}",
            AS_CLIENT_MARK | PACKET_MARK,
            AS_CLIENT_MARK | MARK_MASK
        ),
        Match::NotMarked => format!("-m mark ! --mark {PACKET_MARK:#x}/{MARK_MASK:#x}"),
        Match::MarkedAsReply => format!("-m mark --mark {CONNECTION_MARK:#x}/{MARK_MASK:#x}"),
        Match::ConnectionMarked => {
            format!("-m connmark --mark {CONNECTION_MARK:#x}/{MARK_MASK:#x}")
        }
    }
}

fn verdict(verdict: Verdict) -> String {
    match verdict {
        Verdict::Accept => "-j ACCEPT".to_owned(),
        Verdict::Return => "-j RETURN".to_owned(),
        Verdict::Redirect(port) => format!("-j REDIRECT --to-ports {port}"),
        Verdict::MarkConnection => {
            format!("-j CONNMARK --set-xmark {CONNECTION_MARK:#x}/{MARK_MASK:#x}")
        }
        Verdict::RestoreMark => {
            "-j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff".to_owned()
        }
        Verdict::Zone => "-j CT --zone 1".to_owned(),
        Verdict::OriginalZone => "-j CT --zone-orig 1".to_owned(),
    }
}

// === impl Present ===

impl Present {
    /// Reads the output of `iptables-save` as far as it is ours.
    fn parse(listing: &str) -> Self {
        let ours = Chain::ALL.map(|chain| chain_names(chain).1);
        let mut table = None;
        let mut lines = Vec::new();
        for line in listing.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = Table::ALL.into_iter().find(|table| table.name() == name);
            }
            let Some(table) = table else { continue };
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                [declared, ..]
                    if ours.iter().any(|own| declared.strip_prefix(':') == Some(own)) =>
                {
                    lines.push((table, (*declared).to_owned()));
                }
                ["-A", chain, ..] if ours.contains(chain) => lines.push((table, line.to_owned())),
                ["-A", .., "-j", target] if ours.contains(target) => {
                    lines.push((table, line.to_owned()));
                }
                _ => {}
            }
        }
        Self(lines)
    }

    fn declares(&self, table: Table, chain: &str) -> bool {
        self.0.iter().any(|(of, line)| *of == table && line.strip_prefix(':') == Some(chain))
    }

    /// The rules that jump to `own`, without the leading `-A`.
    fn jumps(&self, table: Table, own: &str) -> Vec<&str> {
        let target = format!(" -j {own}");
        self.0
            .iter()
            .filter(|(of, line)| *of == table && line.ends_with(&target))
            .filter_map(|(_, line)| line.strip_prefix("-A "))
            .collect()
    }
}
