use StringMatch::{Exact, Prefix};
use ambit_model::{Action, Scope, ServiceAccountMatch};

use super::*;

fn policy(rules: Vec<Vec<Vec<Match>>>) -> Authorization {
    let (name, namespace) = ("p".into(), "shop".into());
    let (scope, action, dry_run) = (Scope::Namespace, Action::Allow, false);
    Authorization { name, namespace, scope, action, rules, dry_run }
}

fn principal(principal: &str) -> Match {
    Match { principals: vec![Exact(principal.into())], ..Match::default() }
}

fn namespace(namespace: &str) -> Match {
    Match { namespaces: vec![Exact(namespace.into())], ..Match::default() }
}

fn account(namespace: &str, account: &str) -> Match {
    let account =
        ServiceAccountMatch { namespace: namespace.into(), service_account: account.into() };
    Match { service_accounts: vec![account], ..Match::default() }
}

fn block(block: &str) -> Match {
    Match { source_ips: vec![block.parse().unwrap()], ..Match::default() }
}

fn port() -> Match {
    Match { destination_ports: vec![80], ..Match::default() }
}

/// `namespace`, `namespace/account` or the block of each, or `*` for anybody.
fn sources(rules: Vec<Vec<Vec<Match>>>) -> Vec<String> {
    let Sources::Only(named) = Sources::of(&policy(rules)) else {
        return vec!["*".to_owned()];
    };
    let text = |source| match source {
        Source::Namespace(namespace) => namespace.to_string(),
        Source::ServiceAccount { namespace, name } => format!("{namespace}/{name}"),
        Source::Block(block) => block.to_string(),
    };
    named.into_iter().map(text).collect()
}

#[test]
fn a_policy_is_about_those_it_names_exactly() {
    let a = || principal("td/ns/a/sa/x");
    let both = Match { principals: a().principals, ..namespace("b") };
    let not = Match { not_namespaces: vec![Exact("a".into())], ..Match::default() };
    let ten = || block("10.0.0.0/8");
    let outside = Match { not_source_ips: ten().source_ips, ..Match::default() };
    let prefix = Match { principals: vec![Prefix("td/ns/a".into())], ..Match::default() };
    let mixed = Match {
        principals: [a().principals, prefix.principals.clone()].concat(),
        ..Match::default()
    };
    let cases = [
        ("no rules", vec![], vec![]),
        ("a rule without clauses", vec![vec![]], vec!["*"]),
        ("a clause without matches", vec![vec![vec![]]], vec!["*"]),
        ("a match without conditions is skipped", vec![vec![vec![Match::default()]]], vec![]),
        ("a principal", vec![vec![vec![a()]]], vec!["a/x"]),
        ("a service account", vec![vec![vec![account("a", "x")]]], vec!["a/x"]),
        ("a namespace", vec![vec![vec![namespace("a")]]], vec!["a"]),
        ("plaintext", vec![vec![vec![namespace("")]]], vec![""]),
        ("a principal that is none", vec![vec![vec![principal("td/ns/a")]]], vec!["*"]),
        ("the narrower of two conditions", vec![vec![vec![both]]], vec!["a/x"]),
        ("what is not", vec![vec![vec![not]]], vec!["*"]),
        ("a prefix", vec![vec![vec![prefix]]], vec!["*"]),
        ("an exact name beside a prefix", vec![vec![vec![mixed]]], vec!["*"]),
        ("a port", vec![vec![vec![port()]]], vec!["*"]),
        ("any match of a clause", vec![vec![vec![a(), namespace("b")]]], vec!["b", "a/x"]),
        ("any match of a clause, one open", vec![vec![vec![a(), port()]]], vec!["*"]),
        ("all clauses of a rule", vec![vec![vec![port()], vec![a()]]], vec!["a/x"]),
        ("any rule", vec![vec![vec![a()]], vec![vec![namespace("b")]]], vec!["b", "a/x"]),
        ("any rule, one open", vec![vec![vec![a()]], vec![vec![port()]]], vec!["*"]),
        ("one within another", vec![vec![vec![a()]], vec![vec![namespace("a")]]], vec!["a"]),
        ("a block", vec![vec![vec![block("10.1.2.3/8")]]], vec!["10.0.0.0/8"]),
        ("a block in another", vec![vec![vec![block("10.1.0.0/16"), ten()]]], vec!["10.0.0.0/8"]),
        (
            "both families",
            vec![vec![vec![ten(), block("fd00::/8")]]],
            vec!["10.0.0.0/8", "fd00::/8"],
        ),
        ("a block and a port", vec![vec![vec![port()], vec![ten()]]], vec!["10.0.0.0/8"]),
        ("a block or a port", vec![vec![vec![ten(), port()]]], vec!["*"]),
        ("a name in a block", vec![vec![vec![ten()], vec![a()]]], vec!["a/x"]),
        ("a name or a block", vec![vec![vec![a()]], vec![vec![ten()]]], vec!["*"]),
        ("outside a block", vec![vec![vec![outside]]], vec!["*"]),
    ];
    for (case, rules, expected) in cases {
        assert_eq!(sources(rules), expected, "{case}");
    }
}
