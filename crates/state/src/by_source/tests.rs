use ambit_model::{Match, Scope, ServiceAccountMatch, StringMatch};
use ambit_policy::{Decision, Facts, UnknownPolicy, decide};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::fixtures::policy;

const BLOCKS: [&str; 7] =
    ["10.0.0.1/32", "10.0.0.2/32", "10.0.0.7/24", "11.0.0.0/8", "0.0.0.0/0", "fd00::/64", "::/0"];
const ADDRESSES: [&str; 5] = ["10.0.0.1", "10.1.0.1", "::ffff:10.0.0.1", "fd00::1", "fd01::1"];

fn matches() -> impl Strategy<Value = Match> {
    let names = || select(&["a", "b", ""][..]);
    prop_oneof![
        names().prop_map(|ns| Match {
            namespaces: vec![StringMatch::Exact(ns.into())],
            ..Match::default()
        }),
        (names(), names()).prop_map(|(ns, account)| Match {
            service_accounts: vec![ServiceAccountMatch {
                namespace: ns.into(),
                service_account: account.into()
            }],
            ..Match::default()
        }),
        (names(), names()).prop_map(|(ns, account)| Match {
            principals: vec![StringMatch::Exact(format!("td/ns/{ns}/sa/{account}").into())],
            ..Match::default()
        }),
        vec(select(&BLOCKS[..]), 1..3).prop_map(|blocks| Match {
            source_ips: blocks.iter().map(|block| block.parse().unwrap()).collect(),
            ..Match::default()
        }),
        select(&[80, 81][..])
            .prop_map(|port| Match { destination_ports: vec![port], ..Match::default() }),
    ]
}

fn policies() -> impl Strategy<Value = Vec<Arc<Authorization>>> {
    let one = (vec(vec(vec(matches(), 1..3), 0..3), 0..3), any::<[bool; 2]>());
    vec(one, 0..6).prop_map(|all| {
        let numbered = all.into_iter().enumerate();
        let policy = |(number, (rules, [allows, dry_run])): (usize, (Vec<_>, [bool; 2]))| {
            let action = if allows { Action::Allow } else { Action::Deny };
            let named = policy(&number.to_string(), Scope::Namespace);
            Arc::new(Authorization { rules, action, dry_run, ..named })
        };
        numbered.map(policy).collect()
    })
}

fn identity() -> impl Strategy<Value = Option<Identity>> {
    let some = (select(&["a", "b"][..]), select(&["a", "b"][..]));
    proptest::option::of(some.prop_map(|(ns, account)| Identity::new("td", ns, account)))
}

/// All that a decision says but which of several policies it names.
fn said(decision: &Decision<'_>) -> String {
    let mut dry_run: Vec<_> = decision.dry_run.iter().map(|d| d.policy.to_string()).collect();
    dry_run.sort();
    format!("{:?} {dry_run:?} {}", decision.reason, decision.dry_run_would_deny)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Asking those that may match says what asking all of them says, also when some are gone again.
    #[test]
    fn those_that_are_not_asked_would_say_nothing(
        policies in policies(),
        gone in policies(),
        identity in identity(),
        address in select(&ADDRESSES[..]),
    ) {
        let source_ip = address.parse().unwrap();
        let name = |policy: &Authorization| policy.key().0;
        let mut by_source = BySource::default();
        gone.iter().for_each(|policy| by_source.insert(&name(policy), policy));
        gone.iter().for_each(|policy| by_source.remove(&name(policy), policy));
        prop_assert!(by_source.is_empty() && by_source.policies.is_empty()
            && by_source.prefixes.is_empty());
        policies.iter().for_each(|policy| by_source.insert(&name(policy), policy));
        let facts = Facts {
            source_ip,
            source_identity: identity.as_ref(),
            destination: ([10, 0, 0, 2], 80).into(),
        };
        let all = policies.iter().map(|policy| Candidate::Known(policy));
        let all = decide(&facts, all, UnknownPolicy::Deny);
        let some = by_source.candidates(identity.as_ref(), source_ip);
        let some = decide(&facts, some, UnknownPolicy::Deny);
        prop_assert_eq!(said(&some), said(&all));
    }
}

#[test]
fn policies_about_others_are_not_asked() {
    let about = |name: &str| {
        let namespaces = vec![StringMatch::Exact(name.into())];
        let rules = vec![vec![vec![Match { namespaces, ..Match::default() }]]];
        Arc::new(Authorization { rules, ..policy(name, Scope::Namespace) })
    };
    let mut by_source = BySource::default();
    ["a", "b", "c"].iter().for_each(|name| by_source.insert(&(*name).into(), &about(name)));
    let identity = Identity::new("td", "b", "x");
    let asked: Vec<_> = by_source.candidates(Some(&identity), [10, 0, 0, 1].into()).collect();
    assert!(
        matches!(&asked[..], [Candidate::Known(p), Candidate::HasAllow { dry_run: false }] if &*p.name == "b"),
        "{asked:?}"
    );
}
