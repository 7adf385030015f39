//! Requests and the rules that they fall to.

use ambit_model::Identity;
use http::{HeaderName, HeaderValue};
use proto::string_match::Kind;

use super::*;
use crate::destination::Place;
use crate::labels::KnownLabels;

fn destinations() -> Destinations {
    let state = ambit_state::Store::new(ambit_state::Config::default()).reader();
    Destinations::new(state, KnownLabels::default(), Place::default())
}

fn text(kind: Kind) -> Option<proto::StringMatch> {
    Some(proto::StringMatch { kind: Some(kind), ignore_case: false })
}

fn exact(value: &str) -> Option<proto::StringMatch> {
    text(Kind::Exact(value.into()))
}

fn named(name: &str, value: Option<proto::StringMatch>) -> proto::NamedMatch {
    proto::NamedMatch { name: name.into(), value, invert: false }
}

/// A table of these conditions; each rule is called by its number.
fn table(matches: Vec<proto::HttpMatch>) -> Table {
    let actions = (0..matches.len())
        .map(|i| proto::HttpAction { name: i.to_string(), ..Default::default() })
        .collect();
    let entry =
        |(action, of): (u32, proto::HttpMatch)| proto::HttpEntry { r#match: Some(of), action };
    let http = (0..).zip(matches).map(entry).collect();
    let message = proto::Table { http, actions, ..Default::default() };
    Table::compile(message, &destinations()).unwrap()
}

struct Sample {
    method: &'static str,
    path: &'static str,
    query: &'static str,
    headers: &'static [(&'static str, &'static str)],
    caller: Caller,
}

impl Default for Sample {
    fn default() -> Self {
        Self { method: "GET", path: "/", query: "", headers: &[], caller: Caller::default() }
    }
}

fn found(table: &Table, sample: Sample) -> Option<String> {
    let mut headers = HeaderMap::new();
    for (name, value) in sample.headers {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let asked = Asked {
        method: sample.method,
        scheme: "http",
        authority: "web.shop",
        path: sample.path,
        query: sample.query,
        headers: &headers,
        caller: &sample.caller,
    };
    table.request(&asked).map(|found| found.action.shares.name.to_string())
}

#[test]
fn every_condition_of_a_rule_has_to_hold() {
    let rule = proto::HttpMatch {
        method: exact("POST"),
        headers: vec![
            named("X-User", exact("ann")),
            proto::NamedMatch { invert: true, ..named("x-bot", text(Kind::Present(true))) },
        ],
        query: vec![named("v", text(Kind::Regex("[0-9]+".into())))],
        ..Default::default()
    };
    let table = table(vec![rule]);
    let good = || Sample {
        method: "POST",
        query: "a=b&v=12",
        headers: &[("x-user", "ann")],
        ..Sample::default()
    };
    assert_eq!(found(&table, good()).as_deref(), Some("0"));
    for (why, sample) in [
        ("method", Sample { method: "GET", ..good() }),
        ("header", Sample { headers: &[("x-user", "bob")], ..good() }),
        ("no header", Sample { headers: &[], ..good() }),
        ("header twice", Sample { headers: &[("x-user", "ann"), ("x-user", "bob")], ..good() }),
        ("unwanted header", Sample { headers: &[("x-user", "ann"), ("x-bot", "")], ..good() }),
        ("query", Sample { query: "v=12a", ..good() }),
        ("first of two", Sample { query: "v=x&v=12", ..good() }),
        ("no query", Sample { query: "", ..good() }),
    ] {
        assert_eq!(found(&table, sample), None, "{why}");
    }
    let joined = Sample { headers: &[("x-user", "ann"), ("x-bot2", "")], ..good() };
    assert_eq!(found(&table, joined).as_deref(), Some("0"));
}

#[test]
fn the_first_rule_that_matches_decides() {
    let path = |kind| Some(proto::PathMatch { kind: Some(kind), ignore_case: false });
    use proto::path_match::Kind as Path;
    let table = table(vec![
        proto::HttpMatch { path: path(Path::Exact("/a/b".into())), ..Default::default() },
        proto::HttpMatch {
            path: path(Path::SegmentPrefix("/a".into())),
            headers: vec![named("canary", exact("true"))],
            ..Default::default()
        },
        proto::HttpMatch { path: path(Path::SegmentPrefix("/a".into())), ..Default::default() },
        proto::HttpMatch { path: path(Path::Regex("/x.*".into())), ..Default::default() },
        proto::HttpMatch { path: path(Path::Exact("/xy".into())), ..Default::default() },
    ]);
    const CANARY: &[(&str, &str)] = &[("canary", "true")];
    for (path, headers, expected) in [
        ("/a/b", CANARY, Some("0")),
        ("/a/c", CANARY, Some("1")),
        ("/a/c", &[], Some("2")),
        ("/ab", &[], None),
        ("/xy", &[], Some("3")),
        ("/", &[], None),
    ] {
        let sample = Sample { path, headers, ..Sample::default() };
        assert_eq!(found(&table, sample).as_deref(), expected, "{path}");
    }
}

#[test]
fn rules_may_be_for_some_callers() {
    let labels = [("app".to_owned(), "web".to_owned())];
    let source =
        |namespace: &str, labels: &[(String, String)], principal: Option<Kind>| proto::HttpMatch {
            source: Some(proto::SourceMatch {
                namespace: namespace.into(),
                labels: labels.iter().cloned().collect(),
                principals: text_list(principal),
            }),
            ..Default::default()
        };
    let table = table(vec![
        source("", &[], Some(Kind::Suffix("/sa/root".into()))),
        source("shop", &labels, None),
        source("shop", &[], None),
    ]);
    let caller = |namespace: &str, account: &str, labels: &[(&str, &str)]| Caller {
        identity: Some(Identity::new("cluster.local", namespace, account)),
        namespace: Some(namespace.into()),
        labels: Some(Arc::new(labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect())),
    };
    for (caller, expected) in [
        (caller("other", "root", &[]), Some("0")),
        (caller("shop", "a", &[("app", "web"), ("x", "y")]), Some("1")),
        (caller("shop", "a", &[("app", "cart")]), Some("2")),
        (caller("other", "a", &[("app", "web")]), None),
        (Caller::default(), None),
    ] {
        let sample = Sample { caller: caller.clone(), ..Sample::default() };
        assert_eq!(found(&table, sample).as_deref(), expected, "{caller:?}");
    }
}

fn text_list(kind: Option<Kind>) -> Vec<proto::StringMatch> {
    kind.into_iter().filter_map(text).collect()
}

#[test]
fn shares_are_met() {
    let backend =
        |weight: u32| proto::Backend { weight, invalid: weight.to_string(), ..Default::default() };
    let weights = [1, 0, 90, 9];
    let shares =
        backends("t".into(), weights.iter().map(|w| backend(*w)).collect(), &destinations())
            .unwrap();
    let mut rng = rand::rng();
    let (mut hits, draws) = ([0_u32; 4], 100_000);
    for _ in 0..draws {
        let chosen = shares.choose(&mut rng).unwrap();
        let name = chosen.to.as_ref().unwrap_err();
        hits[weights.iter().position(|w| w.to_string() == **name).unwrap()] += 1;
    }
    assert_eq!(hits[1], 0);
    // Chi-square with two degrees of freedom stays below 20 in all but one of 20,000 runs.
    let chi: f64 = [0, 2, 3]
        .into_iter()
        .map(|i| {
            let expected = f64::from(draws) * f64::from(weights[i]) / 100.0;
            (f64::from(hits[i]) - expected).powi(2) / expected
        })
        .sum();
    assert!(chi < 20.0, "{hits:?}: {chi}");
    let none = backends("t".into(), vec![backend(0)], &destinations()).unwrap();
    assert!(none.choose(&mut rng).is_none());
}

#[test]
fn names_and_wildcards() {
    for (pattern, name, expected) in [
        ("a.b", "A.b", true),
        ("*.b", "a.b", true),
        ("*.b", "x.a.b", true),
        ("*.b", "b", false),
        ("*.b", ".b", false),
        ("*", "a", true),
        ("a.b", "xa.b", false),
    ] {
        assert_eq!(covers(pattern, name), expected, "{pattern} {name}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let entry = proto::HttpEntry { r#match: None, action: 1 };
    let message = proto::Table { http: vec![entry], ..Default::default() };
    assert!(Table::compile(message, &destinations()).unwrap_err().to_string().contains("rule 1"));
    let regex = proto::HttpMatch { method: text(Kind::Regex("(".into())), ..Default::default() };
    let message = proto::Table {
        http: vec![proto::HttpEntry { r#match: Some(regex), action: 0 }],
        actions: vec![proto::HttpAction::default()],
        ..Default::default()
    };
    assert!(Table::compile(message, &destinations()).unwrap_err().to_string().contains("\"(\""));
}
