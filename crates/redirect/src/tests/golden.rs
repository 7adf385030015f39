//! What each back end writes for each combination of settings, kept as files to look at.

use crate::{Backend, Capture, Family, Match, rules};

fn every_capture() -> impl Iterator<Item = (String, Capture)> {
    (0..8).map(|bits| {
        let (dns, inbound, ipv6) = (bits & 1 == 0, bits & 2 == 0, bits & 4 == 0);
        let name = format!(
            "{}-{}-{}",
            if dns { "dns" } else { "nodns" },
            if inbound { "inbound" } else { "bypass" },
            if ipv6 { "dual" } else { "v4" },
        );
        (name, Capture { dns, inbound, ipv6, ..Capture::default() })
    })
}

#[test]
fn rendered_rules_are_as_recorded() {
    for (name, capture) in every_capture() {
        let rules = rules(&capture);
        insta::assert_snapshot!(format!("nft-{name}"), Backend::Nftables.render(&rules));
        insta::assert_snapshot!(format!("iptables-{name}"), Backend::Iptables.render(&rules));
    }
}

#[test]
fn rerouted_interfaces_are_as_recorded() {
    let reroute_interfaces = vec!["vnet0".parse().unwrap(), "br-vm".parse().unwrap()];
    let rules = rules(&Capture { reroute_interfaces, ..Capture::default() });
    insta::assert_snapshot!("nft-reroute", Backend::Nftables.render(&rules));
    insta::assert_snapshot!("iptables-reroute", Backend::Iptables.render(&rules));
}

#[test]
fn without_ipv6_no_rule_touches_it() {
    for (name, capture) in every_capture().filter(|(_, capture)| !capture.ipv6) {
        for rule in rules(&capture).chains.into_iter().flat_map(|(.., rules)| rules) {
            assert_eq!(rule.family, Some(Family::V4), "{name}: {rule:?}");
        }
        assert!(!Backend::Nftables.render(&rules(&capture)).contains("ip6"), "{name}");
    }
}

#[test]
fn nothing_redirects_what_ztunnel_sends() {
    use crate::Verdict::Redirect;
    for (name, capture) in every_capture() {
        for rule in rules(&capture).chains.into_iter().flat_map(|(.., rules)| rules) {
            if matches!(rule.verdict, Redirect(_)) {
                assert!(rule.matches.contains(&Match::NotMarked), "{name}: {rule:?}");
            }
        }
    }
}
