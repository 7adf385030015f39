//! What is captured, rule by rule, in Istio ambient's order.

use std::net::IpAddr;

use super::{Chain, Family, Match, Rule, RuleSet, Table, Verdict};
use crate::capture::{Capture, DNS_PORT, HBONE_PORT, INBOUND_PORT, InterfaceName, OUTBOUND_PORT};

/// The rules for `capture`, in Istio ambient's order, and one of ours ([`Verdict::OriginalZone`]).
pub fn rules(capture: &Capture) -> RuleSet {
    let build = Build { capture };
    let mut chains = vec![
        (Table::Mangle, Chain::Prerouting, build.mangle_prerouting()),
        (Table::Mangle, Chain::Output, build.mangle_output()),
        (Table::Nat, Chain::Prerouting, build.nat_prerouting()),
        (Table::Nat, Chain::Output, build.nat_output()),
    ];
    if capture.dns || capture.inbound {
        chains.push((Table::Raw, Chain::Prerouting, build.raw_prerouting()));
        chains.push((Table::Raw, Chain::Output, build.raw_output()));
    }
    RuleSet { ipv6: capture.ipv6, chains }
}

/// Builds the rules of each chain.
struct Build<'a> {
    capture: &'a Capture,
}

// === impl Build ===

impl Build<'_> {
    fn mangle_prerouting(&self) -> Vec<Rule> {
        self.any(vec![Match::Marked], Verdict::MarkConnection).collect()
    }

    fn mangle_output(&self) -> Vec<Rule> {
        self.any(vec![Match::ConnectionMarked], Verdict::RestoreMark).collect()
    }

    fn nat_prerouting(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        for interface in &self.capture.reroute_interfaces {
            let matches = vec![Match::InInterface(interface.clone()), Match::Tcp];
            rules.extend(self.any(matches.clone(), Verdict::Redirect(OUTBOUND_PORT)));
            rules.extend(self.any(matches, Verdict::Return));
        }
        if self.capture.inbound {
            rules.extend(self.each(|family| {
                (vec![Match::Source(self.probe(family)), Match::Tcp], Verdict::Accept)
            }));
            rules.extend(self.each(|family| {
                let matches = vec![
                    Match::NotDestination(family.localhost()),
                    Match::TcpNotTo(HBONE_PORT),
                    Match::NotMarked,
                ];
                (matches, Verdict::Redirect(INBOUND_PORT))
            }));
        }
        rules
    }

    fn nat_output(&self) -> Vec<Rule> {
        let mut rules: Vec<Rule> = self
            .each(|family| {
                (vec![Match::Destination(self.probe(family)), Match::Tcp], Verdict::Accept)
            })
            .collect();
        if self.capture.dns {
            let lo = InterfaceName::loopback();
            let udp = vec![Match::NotOutInterface(lo), Match::UdpTo(53), Match::NotMarked];
            rules.extend(self.any(udp, Verdict::Redirect(DNS_PORT)));
            rules.extend(self.each(|family| {
                let away = Match::NotDestination(family.localhost());
                (vec![away, Match::TcpTo(53), Match::NotMarked], Verdict::Redirect(DNS_PORT))
            }));
        }
        rules.extend(self.any(vec![Match::Tcp, Match::MarkedAsReply], Verdict::Accept));
        rules.extend(self.each(|family| {
            let away = Match::NotDestination(family.localhost());
            (vec![away, Match::OutInterface(InterfaceName::loopback())], Verdict::Accept)
        }));
        rules.extend(self.each(|family| {
            let away = Match::NotDestination(family.localhost());
            (vec![away, Match::Tcp, Match::NotMarked], Verdict::Redirect(OUTBOUND_PORT))
        }));
        rules
    }

    fn raw_prerouting(&self) -> Vec<Rule> {
        let answers = self.any(vec![Match::UdpFrom(53), Match::NotMarked], Verdict::Zone);
        answers.filter(|_| self.capture.dns).collect()
    }

    fn raw_output(&self) -> Vec<Rule> {
        let queries = self.any(vec![Match::UdpTo(53), Match::Marked], Verdict::Zone);
        let as_client = self.any(vec![Match::Tcp, Match::MarkedAsClient], Verdict::OriginalZone);
        queries
            .filter(|_| self.capture.dns)
            .chain(as_client.filter(|_| self.capture.inbound))
            .collect()
    }

    /// A rule for every captured family.
    fn any(&self, matches: Vec<Match>, verdict: Verdict) -> impl Iterator<Item = Rule> + use<> {
        let family = (!self.capture.ipv6).then_some(Family::V4);
        std::iter::once(Rule { family, matches, verdict })
    }

    /// One rule for each captured family.
    fn each(&self, rule: impl Fn(Family) -> (Vec<Match>, Verdict)) -> impl Iterator<Item = Rule> {
        let families = if self.capture.ipv6 { &Family::ALL[..] } else { &[Family::V4] };
        families.iter().map(move |family| {
            let (matches, verdict) = rule(*family);
            Rule { family: Some(*family), matches, verdict }
        })
    }

    fn probe(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.capture.probe_v4.into(),
            Family::V6 => self.capture.probe_v6.into(),
        }
    }
}
