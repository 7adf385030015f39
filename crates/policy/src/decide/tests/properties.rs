//! `decide` against a second reading of the protocol facts, written as sets of verdicts over the whole input.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::{Source, Sources};

/// One field of a match as a list of (is this entry true, is it negated), or nothing where the field is not set.
fn field<T>(wanted: &[T], unwanted: &[T], truth: impl Fn(&T) -> bool) -> Option<bool> {
    if wanted.is_empty() && unwanted.is_empty() {
        return None;
    }
    let hits = wanted.iter().filter(|v| truth(v)).count();
    let misses = unwanted.iter().filter(|v| truth(v)).count();
    Some((wanted.is_empty() || hits >= 1) && misses == 0)
}

fn text(pattern: &StringMatch, value: Option<String>) -> bool {
    let Some(value) = value else { return false };
    match pattern {
        Exact(s) => *value == **s,
        Prefix(s) => value.find(&**s) == Some(0),
        Suffix(s) => value.len() >= s.len() && value[value.len() - s.len()..] == **s,
        Presence() => !value.is_empty(),
    }
}

fn reference_match(m: &Match, f: &Facts<'_>) -> bool {
    let id = f.source_identity;
    let principal = id.map(|id| id.to_string().replacen("spiffe://", "", 1));
    let namespace = id.map_or(String::new(), |id| id.namespace.to_string());
    let fields = [
        field(&m.namespaces, &m.not_namespaces, |s| text(s, Some(namespace.clone()))),
        field(&m.principals, &m.not_principals, |s| text(s, principal.clone())),
        field(&m.service_accounts, &m.not_service_accounts, |s| {
            id.map(|id| (&id.namespace, &id.service_account))
                == Some((&s.namespace, &s.service_account))
        }),
        field(&m.source_ips, &m.not_source_ips, |n| n.contains(&f.source_ip)),
        field(&m.destination_ips, &m.not_destination_ips, |n| n.contains(&f.destination.ip())),
        field(&m.destination_ports, &m.not_destination_ports, |p| *p == f.destination.port()),
    ];
    let set: Vec<bool> = fields.into_iter().flatten().collect();
    !set.is_empty() && set.iter().all(|holds| *holds)
}

fn reference_matches(policy: &Authorization, f: &Facts<'_>) -> bool {
    let clause = |c: &Vec<Match>| {
        let held: Vec<_> = c.iter().map(|m| reference_match(m, f)).collect();
        c.is_empty() || held.contains(&true)
    };
    let rule = |r: &Vec<Vec<Match>>| r.iter().filter(|c| !clause(c)).count() == 0;
    policy.rules.iter().filter(|r| rule(r)).count() > 0
}

/// The verdict: allowed or not.
fn reference(policies: &[Authorization], unknown: usize, f: &Facts<'_>) -> bool {
    let enforced: Vec<_> = policies.iter().filter(|p| !p.dry_run).collect();
    let of = |action| enforced.iter().filter(move |p| p.action == action);
    let any = |action| of(action).any(|p| reference_matches(p, f));
    let open = of(Action::Allow).count() == 0 || any(Action::Allow);
    !any(Action::Deny) && unknown == 0 && open
}

fn pattern(texts: &'static [&'static str]) -> impl Strategy<Value = StringMatch> {
    (0..4, select(texts)).prop_map(|(kind, text)| match kind {
        0 => Exact(text.into()),
        1 => Prefix(text.into()),
        2 => Suffix(text.into()),
        _ => Presence(),
    })
}

/// Mostly nothing, sometimes one or two.
fn some<T: Clone + std::fmt::Debug>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![4 => Just(Vec::new()), 1 => vec(value, 1..=2)]
}

fn accounts() -> impl Strategy<Value = ServiceAccountMatch> {
    (select(&["a", "b"][..]), select(&["x", "y"][..])).prop_map(|(ns, sa)| account(ns, sa))
}

fn nets() -> impl Strategy<Value = IpNet> {
    select(&["10.0.0.1/32", "10.0.0.0/24", "10.0.1.0/24", "0.0.0.0/0", "fd00::/8", "::/0"][..])
        .prop_map(net)
}

const NAMESPACES: &[&str] = &["a", "b", "", "ab"];
const PRINCIPALS: &[&str] =
    &["td/ns/a/sa/x", "td/", "td/ns/a", "/sa/x", "x", "", "td/ns/b/sa/", "a/sa/x"];

fn matches_strategy() -> impl Strategy<Value = Match> {
    let ports = || some(select(&[80_u16, 443, 8080][..]));
    (
        (some(pattern(NAMESPACES)), some(pattern(NAMESPACES))),
        (some(pattern(PRINCIPALS)), some(pattern(PRINCIPALS))),
        (some(accounts()), some(accounts())),
        (some(nets()), some(nets())),
        (some(nets()), some(nets())),
        (ports(), ports()),
    )
        .prop_map(|(ns, principals, accounts, sources, destinations, ports)| Match {
            namespaces: ns.0,
            not_namespaces: ns.1,
            principals: principals.0,
            not_principals: principals.1,
            service_accounts: accounts.0,
            not_service_accounts: accounts.1,
            source_ips: sources.0,
            not_source_ips: sources.1,
            destination_ips: destinations.0,
            not_destination_ips: destinations.1,
            destination_ports: ports.0,
            not_destination_ports: ports.1,
        })
}

fn policies() -> impl Strategy<Value = Vec<Authorization>> {
    let rules = vec(vec(vec(matches_strategy(), 0..3), 0..3), 0..3);
    let one =
        (any::<bool>(), rules, prop::bool::weighted(0.2)).prop_map(|(allows, rules, dry_run)| {
            let action = if allows { Action::Allow } else { Action::Deny };
            Authorization { dry_run, ..policy(action, "p", rules) }
        });
    vec(one, 0..5)
}

fn identities() -> impl Strategy<Value = Option<Identity>> {
    let some = (select(&["a", "b", "ab"][..]), select(&["x", "y"][..]))
        .prop_map(|(ns, sa)| Some(Identity::new("td", ns, sa)));
    prop_oneof![1 => Just(None), 3 => some]
}

fn sockets() -> impl Strategy<Value = SocketAddr> {
    select(&["10.0.0.1:80", "10.0.1.1:443", "[fd00::1]:8080", "192.0.2.1:80"][..])
        .prop_map(|text| text.parse().unwrap())
}

fn is(source: &Source, facts: &Facts<'_>) -> bool {
    let identity = facts.source_identity;
    let of_namespace = |ns: &str| *ns == *identity.map_or("", |id| &id.namespace);
    match source {
        Source::Namespace(namespace) => of_namespace(namespace),
        Source::ServiceAccount { namespace, name } => {
            of_namespace(namespace) && identity.is_some_and(|id| id.service_account == *name)
        }
        Source::Block(block) => block.contains(&facts.source_ip),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn agrees_with_the_reference(
        policies in policies(),
        identity in identities(),
        source in sockets(),
        destination in sockets(),
        unknown in prop_oneof![4 => Just(0_usize), 1 => Just(1)],
    ) {
        let facts =
            Facts { source_ip: source.ip(), source_identity: identity.as_ref(), destination };
        for policy in &policies {
            prop_assert_eq!(matches(policy, &facts), reference_matches(policy, &facts));
            let named = match Sources::of(policy) {
                Sources::Any => true,
                Sources::Only(named) => named.iter().any(|source| is(source, &facts)),
            };
            prop_assert!(named || !matches(policy, &facts), "it matches whom it does not name");
        }
        let candidates = || {
            let known = policies.iter().map(Candidate::Known);
            known.chain(std::iter::repeat_n(Candidate::Unknown("ns/late"), unknown))
        };
        let decision = decide(&facts, candidates(), UnknownPolicy::Deny);
        prop_assert_eq!(decision.allowed(), reference(&policies, unknown, &facts));
        let skipping = decide(&facts, candidates(), UnknownPolicy::Allow);
        prop_assert_eq!(skipping.allowed(), reference(&policies, 0, &facts));
        prop_assert_eq!(skipping.skipped.len(), unknown);
        let matching = policies.iter().filter(|p| p.dry_run && reference_matches(p, &facts));
        prop_assert_eq!(decision.dry_run.len(), matching.count());
    }

    /// The order of candidates never changes the verdict, and dry-run policies never matter to it.
    #[test]
    fn order_and_dry_runs_do_not_matter(
        policies in policies(),
        identity in identities(),
        destination in sockets(),
    ) {
        let facts = Facts {
            source_ip: [10, 0, 0, 1].into(),
            source_identity: identity.as_ref(),
            destination,
        };
        let verdict = decide_on(&facts, &policies).reason;
        let reversed: Vec<_> = policies.iter().rev().cloned().collect();
        prop_assert_eq!(decide_on(&facts, &reversed).reason, verdict);
        let enforced: Vec<_> = policies.iter().filter(|p| !p.dry_run).cloned().collect();
        prop_assert_eq!(decide_on(&facts, &enforced).reason, verdict);
    }
}
