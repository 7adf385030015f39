//! Every row of the protocol facts 6.1 to 6.3 as a table, and properties against an independent reading of them.

use ambit_model::{Match, Scope, ServiceAccountMatch, StringMatch, StringMatch::*};
use ipnet::IpNet;

use super::*;

mod properties;

// === builders ===

fn id(namespace: &str, account: &str) -> Identity {
    Identity::new("cluster.local", namespace, account)
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn account(namespace: &str, account: &str) -> ServiceAccountMatch {
    ServiceAccountMatch { namespace: namespace.into(), service_account: account.into() }
}

fn policy(action: Action, name: &str, rules: Vec<Vec<Vec<Match>>>) -> Authorization {
    Authorization {
        name: name.into(),
        namespace: "shop".into(),
        scope: Scope::Namespace,
        action,
        rules,
        dry_run: false,
    }
}

fn allow(name: &str, rules: Vec<Vec<Vec<Match>>>) -> Authorization {
    policy(Action::Allow, name, rules)
}

fn deny(name: &str, rules: Vec<Vec<Vec<Match>>>) -> Authorization {
    policy(Action::Deny, name, rules)
}

fn dry(mut policy: Authorization) -> Authorization {
    policy.dry_run = true;
    policy
}

/// A rule of one clause of one match.
fn when(m: Match) -> Vec<Vec<Match>> {
    vec![vec![m]]
}

/// A rule that matches everything.
fn always() -> Vec<Vec<Match>> {
    vec![]
}

/// A rule that matches nothing.
fn never() -> Vec<Vec<Match>> {
    when(Match { destination_ports: vec![1], ..Match::default() })
}

/// A connection from 10.0.0.1 to 10.0.9.9:8080.
fn facts(source_identity: Option<&Identity>) -> Facts<'_> {
    Facts {
        source_ip: [10, 0, 0, 1].into(),
        source_identity,
        destination: ([10, 0, 9, 9], 8080).into(),
    }
}

fn decide_on<'a>(facts: &Facts<'_>, policies: &'a [Authorization]) -> Decision<'a> {
    decide(facts, policies.iter().map(Candidate::Known), UnknownPolicy::Deny)
}

fn by(decision: &Decision<'_>) -> Option<String> {
    decision.policy.map(|policy| policy.to_string())
}

// === 6.1: the order of evaluation ===

#[test]
fn order_of_evaluation() {
    let shut = vec![]; // no rules
    let cases = [
        ("no policies", vec![], Reason::NoAllowPolicies, None),
        ("deny matches", vec![deny("d", vec![always()])], Reason::ExplicitDeny, Some("shop/d")),
        ("deny does not match", vec![deny("d", vec![never()])], Reason::NoAllowPolicies, None),
        (
            "deny without rules is a no-op",
            vec![deny("d", shut.clone())],
            Reason::NoAllowPolicies,
            None,
        ),
        ("allow matches", vec![allow("a", vec![always()])], Reason::AllowMatched, Some("shop/a")),
        ("allow does not match", vec![allow("a", vec![never()])], Reason::NoAllowMatched, None),
        ("allow without rules denies all", vec![allow("a", shut)], Reason::NoAllowMatched, None),
        (
            "deny wins over an earlier allow",
            vec![allow("a", vec![always()]), deny("d", vec![always()])],
            Reason::ExplicitDeny,
            Some("shop/d"),
        ),
        (
            "one of several allows is enough",
            vec![allow("a", vec![never()]), deny("d", vec![never()]), allow("b", vec![always()])],
            Reason::AllowMatched,
            Some("shop/b"),
        ),
        (
            "the first deny that matches is named",
            vec![deny("c", vec![never()]), deny("d", vec![always()]), deny("e", vec![always()])],
            Reason::ExplicitDeny,
            Some("shop/d"),
        ),
    ];
    for (case, policies, reason, policy) in cases {
        let decision = decide_on(&facts(None), &policies);
        assert_eq!(decision.reason, reason, "{case}");
        assert_eq!(by(&decision).as_deref(), policy, "{case}");
        assert_eq!(decision.dry_run, [], "{case}");
    }
}

#[test]
fn unknown_policies() {
    use Candidate::{Known, Unknown};
    let (yes, no) = (allow("yes", vec![always()]), deny("no", vec![always()]));
    let cases = [
        ("alone", vec![Unknown("ns/late")], Reason::UnknownPolicy, Some("ns/late")),
        (
            "beside an allow",
            vec![Known(&yes), Unknown("ns/late")],
            Reason::UnknownPolicy,
            Some("ns/late"),
        ),
        (
            "beside a deny",
            vec![Unknown("ns/late"), Known(&no)],
            Reason::ExplicitDeny,
            Some("shop/no"),
        ),
        (
            "two of them",
            vec![Unknown("ns/a"), Unknown("ns/b")],
            Reason::UnknownPolicy,
            Some("ns/a"),
        ),
        ("without a slash", vec![Unknown("odd")], Reason::UnknownPolicy, Some("odd")),
    ];
    for (case, candidates, reason, policy) in cases {
        let decision = decide(&facts(None), candidates, UnknownPolicy::Deny);
        assert_eq!(decision.reason, reason, "{case}");
        assert!(!decision.allowed(), "{case}");
        assert_eq!(by(&decision).as_deref(), policy, "{case}");
        assert!(decision.skipped.is_empty(), "{case}");
    }
    let skipping = |candidates| decide(&facts(None), candidates, UnknownPolicy::Allow);
    let decision = skipping(vec![Unknown("ns/late")]);
    assert_eq!(decision.reason, Reason::NoAllowPolicies);
    assert_eq!(decision.skipped, ["ns/late"]);
    assert_eq!(skipping(vec![Known(&no), Unknown("ns/late")]).reason, Reason::ExplicitDeny);
}

#[test]
fn dry_run_policies_are_only_reported() {
    let (a, d) = (|rule| dry(allow("dry-a", vec![rule])), |rule| dry(deny("dry-d", vec![rule])));
    let cases = [
        ("deny", vec![d(always())], Reason::NoAllowPolicies, vec![Action::Deny], false),
        ("deny that does not match", vec![d(never())], Reason::NoAllowPolicies, vec![], false),
        ("allow", vec![a(always())], Reason::NoAllowPolicies, vec![Action::Allow], false),
        ("allow that does not match", vec![a(never())], Reason::NoAllowPolicies, vec![], true),
        (
            "allow that does not match beside an enforced one that does",
            vec![a(never()), allow("a", vec![always()])],
            Reason::AllowMatched,
            vec![],
            false,
        ),
        (
            "allow beside an enforced one that does not match",
            vec![a(always()), allow("a", vec![never()])],
            Reason::NoAllowMatched,
            vec![Action::Allow],
            false,
        ),
        (
            "both beside an enforced deny",
            vec![deny("d", vec![always()]), a(always()), d(always())],
            Reason::ExplicitDeny,
            vec![Action::Allow, Action::Deny],
            false,
        ),
    ];
    for (case, policies, reason, reported, would_deny) in cases {
        let decision = decide_on(&facts(None), &policies);
        assert_eq!(decision.reason, reason, "{case}");
        let actions: Vec<_> = decision.dry_run.iter().map(|dry_run| dry_run.action).collect();
        assert_eq!(actions, reported, "{case}");
        assert_eq!(decision.dry_run_would_deny, would_deny, "{case}");
    }
}

#[test]
fn an_allowed_connection_costs_no_allocation() {
    let policies = [deny("d", vec![never()]), allow("a", vec![always()])];
    let decision = decide_on(&facts(None), &policies);
    assert_eq!((decision.dry_run.capacity(), decision.skipped.capacity()), (0, 0));
}

// === 6.1: rules, clauses and matches ===

#[test]
fn rules_clauses_and_matches() {
    let yes = || Match { destination_ports: vec![8080], ..Match::default() };
    let no = || Match { destination_ports: vec![1], ..Match::default() };
    let empty = Match::default;
    let cases = [
        ("no rules", vec![], false),
        ("a rule without clauses", vec![vec![]], true),
        ("a clause without matches", vec![vec![vec![]]], true),
        ("a match without conditions is skipped", vec![vec![vec![empty()]]], false),
        ("a skipped match beside one that holds", vec![vec![vec![empty(), yes()]]], true),
        ("any match of a clause", vec![vec![vec![no(), yes()]]], true),
        ("no match of a clause", vec![vec![vec![no(), no()]]], false),
        ("all clauses of a rule", vec![vec![vec![yes()], vec![yes()]]], true),
        ("not all clauses of a rule", vec![vec![vec![yes()], vec![no()]]], false),
        ("an empty clause beside one that fails", vec![vec![vec![], vec![no()]]], false),
        ("any rule", vec![vec![vec![no()]], vec![vec![yes()]]], true),
        ("no rule", vec![vec![vec![no()]], vec![vec![no()]]], false),
    ];
    for (case, rules, expected) in cases {
        assert_eq!(matches(&deny("p", rules), &facts(None)), expected, "{case}");
    }
}

#[test]
fn fields_are_anded_and_their_values_ored() {
    let cart = id("shop", "cart");
    let base = || Match {
        namespaces: vec![Exact("shop".into())],
        destination_ports: vec![1, 8080],
        not_source_ips: vec![net("10.1.0.0/16")],
        ..Match::default()
    };
    let cases = [
        ("all hold", base(), true),
        ("one does not", Match { destination_ports: vec![1, 2], ..base() }, false),
        (
            "a negated one does not",
            Match { not_source_ips: vec![net("10.0.0.0/16")], ..base() },
            false,
        ),
        (
            "wanted and unwanted at once",
            Match { not_destination_ports: vec![8080], ..base() },
            false,
        ),
    ];
    for (case, m, expected) in cases {
        assert_eq!(matches(&deny("p", vec![when(m)]), &facts(Some(&cart))), expected, "{case}");
    }
}

// === 6.1: the table of fields ===

/// Whether one condition holds for a peer, positively and negated.
fn holds(m: Match, identity: Option<&Identity>) -> bool {
    matches(&deny("p", vec![when(m)]), &facts(identity))
}

#[test]
fn field_namespaces() {
    let cart = id("shop", "cart");
    let check = |wanted: StringMatch, identity: Option<&Identity>| {
        let positive = Match { namespaces: vec![wanted.clone()], ..Match::default() };
        let negative = Match { not_namespaces: vec![wanted], ..Match::default() };
        (holds(positive, identity), holds(negative, identity))
    };
    assert_eq!(check(Exact("shop".into()), Some(&cart)), (true, false));
    assert_eq!(check(Exact("Shop".into()), Some(&cart)), (false, true), "case matters");
    assert_eq!(check(Prefix("sh".into()), Some(&cart)), (true, false));
    assert_eq!(check(Suffix("op".into()), Some(&cart)), (true, false));
    assert_eq!(check(Presence(), Some(&cart)), (true, false));
    // Without identity the namespace is the empty string.
    assert_eq!(check(Presence(), None), (false, true));
    assert_eq!(check(Exact("shop".into()), None), (false, true));
    assert_eq!(check(Prefix("".into()), None), (true, false));
}

#[test]
fn field_service_accounts() {
    let cart = id("shop", "cart");
    let elsewhere = Identity::new("other.example", "shop", "cart");
    let check = |wanted: ServiceAccountMatch, identity: Option<&Identity>| {
        let positive = Match { service_accounts: vec![wanted.clone()], ..Match::default() };
        let negative = Match { not_service_accounts: vec![wanted], ..Match::default() };
        (holds(positive, identity), holds(negative, identity))
    };
    assert_eq!(check(account("shop", "cart"), Some(&cart)), (true, false));
    assert_eq!(
        check(account("shop", "cart"), Some(&elsewhere)),
        (true, false),
        "trust domain is ignored"
    );
    assert_eq!(check(account("shop", "car"), Some(&cart)), (false, true));
    assert_eq!(check(account("sho", "cart"), Some(&cart)), (false, true));
    assert_eq!(check(account("shop", "cart"), None), (false, true));
}

#[test]
fn field_principals() {
    let cart = id("shop", "cart");
    let check = |wanted: StringMatch, identity: Option<&Identity>| {
        let positive = Match { principals: vec![wanted.clone()], ..Match::default() };
        let negative = Match { not_principals: vec![wanted], ..Match::default() };
        (holds(positive, identity), holds(negative, identity))
    };
    let whole = "cluster.local/ns/shop/sa/cart";
    assert_eq!(check(Exact(whole.into()), Some(&cart)), (true, false));
    assert_eq!(check(Exact(format!("spiffe://{whole}").into()), Some(&cart)), (false, true));
    for cut in 0..=whole.len() {
        assert_eq!(check(Prefix(whole[..cut].into()), Some(&cart)), (true, false), "{cut}");
        assert_eq!(check(Suffix(whole[cut..].into()), Some(&cart)), (true, false), "{cut}");
        if cut < whole.len() {
            assert_eq!(check(Exact(whole[..cut].into()), Some(&cart)), (false, true), "{cut}");
        }
    }
    for text in [format!("{whole}s"), format!("x{whole}"), "cluster.local/ns/shop/sa/ca_t".into()] {
        for wanted in [
            Exact(text.as_str().into()),
            Prefix(text.as_str().into()),
            Suffix(text.as_str().into()),
        ] {
            assert_eq!(check(wanted.clone(), Some(&cart)), (false, true), "{wanted:?}");
        }
    }
    assert_eq!(check(Presence(), Some(&cart)), (true, false));
    // Without identity nothing matches, not even what would match the empty string.
    for wanted in [Presence(), Prefix("".into()), Suffix("".into()), Exact("".into())] {
        assert_eq!(check(wanted.clone(), None), (false, true), "{wanted:?}");
    }
}

#[test]
fn field_addresses_and_ports() {
    let m = Match::default;
    let cases = [
        (Match { source_ips: vec![net("10.0.0.1/32")], ..m() }, true),
        (Match { source_ips: vec![net("10.0.0.0/8"), net("fd00::/8")], ..m() }, true),
        (Match { source_ips: vec![net("10.0.9.0/24")], ..m() }, false),
        (Match { source_ips: vec![net("::/0")], ..m() }, false),
        (Match { not_source_ips: vec![net("10.0.0.0/24")], ..m() }, false),
        (Match { not_source_ips: vec![net("10.0.9.0/24")], ..m() }, true),
        (Match { destination_ips: vec![net("10.0.9.0/24")], ..m() }, true),
        (Match { destination_ips: vec![net("10.0.0.0/24")], ..m() }, false),
        (Match { not_destination_ips: vec![net("10.0.9.9/32")], ..m() }, false),
        (Match { destination_ports: vec![8080], ..m() }, true),
        (Match { destination_ports: vec![15008], ..m() }, false),
        (Match { not_destination_ports: vec![8080], ..m() }, false),
        (Match { not_destination_ports: vec![80], ..m() }, true),
    ];
    for (m, expected) in cases {
        assert_eq!(holds(m.clone(), None), expected, "{m:?}");
    }
}

#[test]
fn mapped_addresses_are_what_they_stand_for() {
    let facts = Facts {
        source_ip: "::ffff:10.0.0.1".parse().unwrap(),
        source_identity: None,
        destination: "[::ffff:10.0.9.9]:8080".parse().unwrap(),
    };
    let source = Match { source_ips: vec![net("10.0.0.0/24")], ..Match::default() };
    let destination = Match { destination_ips: vec![net("10.0.9.0/24")], ..Match::default() };
    assert!(matches(&deny("p", vec![when(source)]), &facts));
    assert!(matches(&deny("p", vec![when(destination)]), &facts));
}

// === 6.2: converted AuthorizationPolicies ===

#[test]
fn converted_authorization_policies() {
    let (cart, web) = (id("shop", "cart"), id("web", "front"));
    // from: two sources; to: ports; when: source.namespace not web. Clauses of one rule.
    let rule = vec![
        vec![
            Match {
                principals: vec![Exact("cluster.local/ns/shop/sa/cart".into())],
                ..Match::default()
            },
            Match { namespaces: vec![Prefix("we".into())], ..Match::default() },
        ],
        vec![Match { destination_ports: vec![8080, 9090], ..Match::default() }],
        vec![Match { not_namespaces: vec![Exact("web".into())], ..Match::default() }],
    ];
    let policies = [allow("three-clauses", vec![rule])];
    assert!(decide_on(&facts(Some(&cart)), &policies).allowed());
    assert!(!decide_on(&facts(Some(&web)), &policies).allowed(), "the when clause fails");
    assert!(!decide_on(&facts(None), &policies).allowed());
    let other_port = Facts { destination: ([10, 0, 9, 9], 80).into(), ..facts(Some(&cart)) };
    assert!(!decide_on(&other_port, &policies).allowed(), "the to clause fails");

    // An ALLOW whose only rule had L7 fields arrives without rules: it allows nothing.
    assert_eq!(
        decide_on(&facts(Some(&cart)), &[allow("l7", vec![])]).reason,
        Reason::NoAllowMatched
    );
    // A DENY keeps its L4 part: more is denied than asked for. If nothing is left it never fires.
    let l4 = deny("l7", vec![when(Match { destination_ports: vec![8080], ..Match::default() })]);
    assert_eq!(decide_on(&facts(Some(&cart)), &[l4]).reason, Reason::ExplicitDeny);
    assert!(decide_on(&facts(Some(&cart)), &[deny("l7", vec![])]).allowed());
    // A match all of whose entries were malformed is empty: never.
    assert!(
        !decide_on(&facts(Some(&cart)), &[allow("bad", vec![when(Match::default())])]).allowed()
    );
}

// === 6.3: converted PeerAuthentications ===

fn absent() -> Match {
    Match { not_principals: vec![Presence()], ..Match::default() }
}

fn strict() -> Authorization {
    Authorization {
        namespace: "istio-system".into(),
        scope: Scope::WorkloadSelector,
        ..deny("istio_converted_static_strict", vec![when(absent())])
    }
}

/// STRICT for `ports`, PERMISSIVE otherwise.
fn strict_ports(ports: &[u16]) -> Authorization {
    let rule = |port| when(Match { destination_ports: vec![port], ..absent() });
    deny(
        "converted_peer_authentication_strict-ports",
        ports.iter().map(|port| rule(*port)).collect(),
    )
}

/// PERMISSIVE or DISABLE for `ports`, STRICT otherwise.
fn permissive_ports(ports: &[u16]) -> Authorization {
    let except =
        |port: &u16| vec![Match { not_destination_ports: vec![*port], ..Match::default() }];
    let rule = std::iter::once(vec![absent()]).chain(ports.iter().map(except)).collect();
    deny("converted_peer_authentication_permissive-ports", vec![rule])
}

#[test]
fn peer_authentication() {
    let cart = id("shop", "cart");
    let cases = [
        ("STRICT", vec![strict()], 8080, false),
        ("PERMISSIVE", vec![], 8080, true),
        ("STRICT port", vec![strict_ports(&[8080, 9090])], 8080, false),
        ("the other STRICT port", vec![strict_ports(&[8080, 9090])], 9090, false),
        ("beside STRICT ports", vec![strict_ports(&[8080, 9090])], 80, true),
        ("PERMISSIVE port", vec![permissive_ports(&[8080, 9090])], 8080, true),
        ("the other PERMISSIVE port", vec![permissive_ports(&[8080, 9090])], 9090, true),
        ("beside PERMISSIVE ports", vec![permissive_ports(&[8080, 9090])], 80, false),
    ];
    for (case, policies, port, plaintext_allowed) in cases {
        let destination = ([10, 0, 9, 9], port).into();
        let plain = Facts { destination, ..facts(None) };
        let secured = Facts { destination, ..facts(Some(&cart)) };
        let decision = decide_on(&plain, &policies);
        assert_eq!(decision.allowed(), plaintext_allowed, "{case}");
        if !plaintext_allowed {
            assert_eq!(decision.reason, Reason::ExplicitDeny, "{case}");
        }
        assert!(decide_on(&secured, &policies).allowed(), "{case}: with an identity");
    }
}

#[test]
fn strict_names_itself() {
    let policies = [strict()];
    let decision = decide_on(&facts(None), &policies);
    assert_eq!(by(&decision).unwrap(), "istio-system/istio_converted_static_strict");
    assert_eq!(
        decision.to_string(),
        "explicitly denied by: istio-system/istio_converted_static_strict"
    );
}

// === labels ===

#[test]
fn labels_are_distinct_and_agree_with_the_verdict() {
    let labels: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
    assert_eq!(labels.len(), Reason::ALL.len());
    let allowing: Vec<_> = Reason::ALL.iter().filter(|r| r.allows()).map(|r| r.as_str()).collect();
    assert_eq!(allowing, ["no_allow_policies", "allow_matched"]);
    assert!(!Decision::not_synced().allowed());
}
