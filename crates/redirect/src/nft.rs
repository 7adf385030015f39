//! The nftables back end: three tables of the `inet` family, named as Istio ambient names them.

use std::fmt::Write;
use std::net::IpAddr;

use crate::capture::{AS_CLIENT_MARK, CONNECTION_MARK, MARK_MASK, PACKET_MARK};
use crate::drift::Listing;
use crate::error::Error;
use crate::rules::{Chain, Family, Match, Rule, RuleSet, Table, Verdict};
use crate::run::{Netns, Program};

pub(crate) const NFT: Program =
    Program { name: "nft", package: "nftables", alternative: ", or choose the iptables back end" };

/// Replaces our tables by those of `rules`, in one transaction.
pub(crate) fn apply(netns: &Netns, rules: &RuleSet) -> Result<(), Error> {
    netns.run(NFT, &["-f", "-"], &render(rules)).map(drop)
}

/// Deletes our tables, whether they are there or not.
pub(crate) fn remove(netns: &Netns) -> Result<(), Error> {
    let script: String = Table::ALL.iter().map(|table| delete(*table)).collect();
    netns.run(NFT, &["-f", "-"], &script).map(drop)
}

/// Our tables as they are: pairs of a place, `table chain`, and a rule or a chain's definition.
pub(crate) fn list(netns: &Netns) -> Result<Listing, Error> {
    Ok(parse(&netns.run(NFT, &["-s", "list", "ruleset", "inet"], "")?))
}

/// A script that replaces all that is ours; tables that `rules` does not need are deleted.
pub(crate) fn render(rules: &RuleSet) -> String {
    let mut script = String::new();
    for table in Table::ALL {
        let mut chains = rules.table(table).peekable();
        if chains.peek().is_none() {
            script.push_str(&delete(table));
            continue;
        }
        let name = table_name(table);
        let _ = writeln!(script, "add table inet {name}\nflush table inet {name}");
        for (chain, rules) in chains {
            let (base, own) = chain_names(chain);
            let hook = base_chain(table, chain);
            let _ = writeln!(script, "add chain inet {name} {base} {{ {hook}; policy accept; }}");
            let _ = writeln!(script, "add chain inet {name} {own}");
            let _ = writeln!(script, "add rule inet {name} {base} counter jump {own}");
            for rule in rules {
                let _ = writeln!(script, "add rule inet {name} {own} {}", statement(rule));
            }
        }
    }
    script
}

/// Deletes a table without failing where there is none.
fn delete(table: Table) -> String {
    let name = table_name(table);
    format!("add table inet {name}\ndelete table inet {name}\n")
}

fn table_name(table: Table) -> String {
    format!("istio-ambient-{}", table.name())
}

/// The chain that the kernel calls and the one that it jumps to.
fn chain_names(chain: Chain) -> (&'static str, &'static str) {
    match chain {
        Chain::Prerouting => ("prerouting", "istio-prerouting"),
        Chain::Output => ("output", "istio-output"),
    }
}

/// Type, hook and priority (Istio ambient: nat -100, mangle -150, raw -300).
fn base_chain(table: Table, chain: Chain) -> String {
    let (kind, priority) = match (table, chain) {
        (Table::Nat, _) => ("nat", -100),
        (Table::Mangle, Chain::Prerouting) => ("filter", -150),
        // A changed mark has to be routed again.
        (Table::Mangle, Chain::Output) => ("route", -150),
        (Table::Raw, _) => ("filter", -300),
    };
    format!("type {kind} hook {} priority {priority}", chain_names(chain).0)
}

fn statement(rule: &Rule) -> String {
    let mut words = Vec::new();
    let names_address = rule.matches.iter().any(|condition| {
        matches!(condition, Match::Source(_) | Match::Destination(_) | Match::NotDestination(_))
    });
    match rule.family {
        // An address in a condition limits the rule to its family already.
        Some(Family::V4) if !names_address => words.push("meta nfproto ipv4".to_owned()),
        Some(Family::V6) if !names_address => words.push("meta nfproto ipv6".to_owned()),
        _ => {}
    }
    words.extend(rule.matches.iter().map(condition));
    words.push("counter".to_owned());
    words.push(verdict(rule.verdict));
    words.join(" ")
}

fn condition(condition: &Match) -> String {
    let ip = |ip: &IpAddr| if ip.is_ipv4() { "ip" } else { "ip6" };
    match condition {
        Match::InInterface(name) => format!("iifname \"{name}\""),
        Match::OutInterface(name) => format!("oifname \"{name}\""),
        Match::NotOutInterface(name) => format!("oifname != \"{name}\""),
        Match::Source(address) => format!("{} saddr {address}", ip(address)),
        Match::Destination(address) => format!("{} daddr {address}", ip(address)),
        Match::NotDestination(address) => format!("{} daddr != {address}", ip(address)),
        Match::Tcp => "meta l4proto tcp".to_owned(),
        Match::TcpTo(port) => format!("tcp dport {port}"),
        Match::TcpNotTo(port) => format!("tcp dport != {port}"),
        Match::UdpTo(port) => format!("udp dport {port}"),
        Match::UdpFrom(port) => format!("udp sport {port}"),
        Match::Marked => format!("meta mark & {MARK_MASK:#x} == {PACKET_MARK:#x}"),
        Match::MarkedAsClient => format!(
            "meta mark & {:#x} == {:#x}",
            AS_CLIENT_MARK | MARK_MASK,
            AS_CLIENT_MARK | PACKET_MARK
        ),
        Match::NotMarked => format!("meta mark & {MARK_MASK:#x} != {PACKET_MARK:#x}"),
        Match::MarkedAsReply => format!("meta mark & {MARK_MASK:#x} == {CONNECTION_MARK:#x}"),
        Match::ConnectionMarked => format!("ct mark & {MARK_MASK:#x} == {CONNECTION_MARK:#x}"),
    }
}

fn verdict(verdict: Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".to_owned(),
        Verdict::Return => "return".to_owned(),
        Verdict::Redirect(port) => format!("redirect to :{port}"),
        Verdict::MarkConnection => {
            format!("ct mark set ct mark & {:#x} | {CONNECTION_MARK:#x}", !MARK_MASK)
        }
        Verdict::RestoreMark => "meta mark set ct mark".to_owned(),
        Verdict::Zone => "ct zone set 1".to_owned(),
        Verdict::OriginalZone => "ct original zone set 1".to_owned(),
    }
}

/// Reads the listing of the `inet` family as far as it is ours.
fn parse(listing: &str) -> Listing {
    let ours: Vec<String> = Table::ALL.iter().map(|table| table_name(*table)).collect();
    let mut entries = Vec::new();
    let (mut table, mut chain) = ("", "");
    for line in listing.lines().map(str::trim) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["table", "inet", name, "{", ..] => (table, chain) = (name, ""),
            [_, name, "{"] if ours.iter().any(|own| own == table) => {
                chain = name;
                entries.push((table.to_owned(), line.trim_end_matches(" {").to_owned()));
            }
            ["" | "}"] => {}
            _ if ours.iter().any(|own| own == table) => {
                entries.push((format!("{table} {chain}"), line.to_owned()));
            }
            _ => {}
        }
    }
    entries
}
