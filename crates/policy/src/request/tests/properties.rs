//! `decide_request` against a second reading of its rules, and what saying something twice can never gain.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// What a test request is made of; each part may be absent where requests may lack it.
#[derive(Clone, Debug)]
struct Parts {
    method: &'static str,
    path: &'static str,
    host: Option<&'static str>,
    lines: Vec<&'static str>,
    namespace: Option<&'static str>,
}

const TEXTS: [&str; 6] = ["a", "b", "ab", "ba", "/a", ""];
const PATHS: [&str; 4] = ["/a", "/ab", "/b/a", "/"];

fn parts(lines: std::ops::Range<usize>) -> impl Strategy<Value = Parts> {
    let namespace = option::of(select(vec!["a", "ab", "b"]));
    let host = option::of(select(vec!["a", "ab", "b"]));
    let values = vec(select(vec!["a", "ab", "b", ""]), lines);
    (select(vec!["a", "b"]), select(PATHS.to_vec()), host, values, namespace).prop_map(
        |(method, path, host, lines, namespace)| Parts { method, path, host, lines, namespace },
    )
}

impl Parts {
    fn decide<'a>(&self, policies: &'a [CompiledPolicy]) -> RequestDecision<'a> {
        let lines = self.lines.iter().map(|value| ("x", *value)).collect();
        let request = Request {
            method: self.method,
            target: self.path,
            host: self.host,
            headers: Headers(lines),
            identity: self.namespace.map(|namespace| Identity::new("td", namespace, "sa")),
            ..anonymous()
        };
        request.decide(policies)
    }
}

fn text() -> impl Strategy<Value = StringMatch> {
    (0..4, select(TEXTS.to_vec())).prop_map(|(kind, text)| match kind {
        0 => Exact(text.into()),
        1 => Prefix(text.into()),
        2 => Suffix(text.into()),
        _ => Presence(),
    })
}

fn terms() -> impl Strategy<Value = Terms<StringMatch>> {
    (vec(text(), 0..3), vec(text(), 0..2))
        .prop_map(|(values, not_values)| Terms { values, not_values })
}

fn rules() -> impl Strategy<Value = Vec<RequestRule>> {
    let source = terms().prop_map(|namespaces| RequestSource { namespaces, ..Default::default() });
    let operation = (terms(), terms(), terms()).prop_map(|(hosts, methods, paths)| {
        let paths = Terms {
            values: paths.values.into_iter().map(PathMatch::Text).collect(),
            not_values: paths.not_values.into_iter().map(PathMatch::Text).collect(),
        };
        RequestOperation { hosts, methods, paths, ..Default::default() }
    });
    let when = terms().prop_map(|terms| Header { name: "x".into(), terms });
    let rule = (vec(source, 0..3), vec(operation, 0..3), vec(when, 0..3))
        .prop_map(|(from, to, when)| RequestRule { from, to, when });
    vec(rule, 0..3)
}

fn policies() -> impl Strategy<Value = Vec<CompiledPolicy>> {
    let action = select(vec![
        RequestAction::Allow,
        RequestAction::Allow,
        RequestAction::Deny,
        RequestAction::Deny,
        RequestAction::Audit,
        custom("ext"),
    ]);
    let one = (action, rules(), prop::bool::weighted(0.2)).prop_map(|(action, rules, dry_run)| {
        let policy = policy(action, "p", rules);
        if dry_run { dry(&policy) } else { policy }
    });
    vec(one, 0..4)
}

// === the second reading, of requests that say everything once ===

fn is(pattern: &StringMatch, value: &str) -> bool {
    match pattern {
        Exact(s) => *value == **s,
        Prefix(s) => value.find(&**s) == Some(0),
        Suffix(s) => value.len() >= s.len() && value[value.len() - s.len()..] == **s,
        Presence() => !value.is_empty(),
    }
}

fn field(terms: &Terms<StringMatch>, value: Option<&str>) -> bool {
    let hit =
        |list: &[StringMatch]| list.iter().filter(|p| value.is_some_and(|v| is(p, v))).count();
    (terms.values.is_empty() || hit(&terms.values) > 0) && hit(&terms.not_values) == 0
}

fn path_field(terms: &Terms<PathMatch>, path: &str) -> bool {
    let texts = |list: &[PathMatch]| {
        let text = |pattern: &PathMatch| match pattern {
            PathMatch::Text(text) => text.clone(),
            PathMatch::Template(_) => unreachable!("none is made"),
        };
        list.iter().map(text).collect()
    };
    let terms = Terms { values: texts(&terms.values), not_values: texts(&terms.not_values) };
    field(&terms, Some(path))
}

fn reference_matches(policy: &RequestPolicy, parts: &Parts) -> bool {
    let rule = |rule: &&RequestRule| {
        let from = rule.from.iter().filter(|s| field(&s.namespaces, parts.namespace)).count();
        let to = rule.to.iter().filter(|o| {
            field(&o.hosts, parts.host)
                && field(&o.methods, Some(parts.method))
                && path_field(&o.paths, parts.path)
        });
        let failed = rule.when.iter().filter(|when| match when {
            Header { terms, .. } => !field(terms, parts.lines.first().copied()),
            _ => true,
        });
        (rule.from.is_empty() || from > 0)
            && (rule.to.is_empty() || to.count() > 0)
            && failed.count() == 0
    };
    policy.rules.iter().filter(rule).count() > 0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn agrees_with_the_reference(policies in policies(), parts in parts(0..2)) {
        let of = |action: RequestAction, dry_run| -> Vec<&RequestPolicy> {
            let policies = policies.iter().map(CompiledPolicy::policy);
            policies.filter(|p| p.dry_run == dry_run && p.action == action).collect()
        };
        let hits = |action, dry_run| {
            of(action, dry_run).into_iter().filter(|p| reference_matches(p, &parts)).count()
        };
        let open = of(RequestAction::Allow, false).is_empty() || hits(RequestAction::Allow, false) > 0;
        let passes = open && hits(RequestAction::Deny, false) == 0;
        let asked = usize::from(passes && hits(custom("ext"), false) > 0);
        let decision = parts.decide(&policies);
        prop_assert_eq!(decision.denied(), !passes);
        prop_assert_eq!(decision.asks.len(), asked);
        prop_assert_eq!(decision.allowed(), passes && asked == 0);
        prop_assert_eq!(decision.audits.len(), hits(RequestAction::Audit, false));
        let dry = [RequestAction::Allow, RequestAction::Deny, RequestAction::Audit, custom("ext")];
        let dry: usize = dry.into_iter().map(|action| hits(action, true)).sum();
        prop_assert_eq!(decision.dry_run.len(), dry);
    }

    #[test]
    fn order_and_dry_runs_do_not_matter(policies in policies(), parts in parts(0..3)) {
        let reason = parts.decide(&policies).reason;
        let reversed: Vec<_> = policies.iter().rev().cloned().collect();
        prop_assert_eq!(parts.decide(&reversed).reason, reason);
        let enforced: Vec<_> = policies.iter().filter(|p| !p.policy().dry_run).cloned().collect();
        prop_assert_eq!(parts.decide(&enforced).reason, reason);
    }

    /// Whoever sends a header on several lines is let through only where every line alone would be.
    #[test]
    fn a_header_said_twice_gains_nothing(policies in policies(), parts in parts(2..4)) {
        if parts.decide(&policies).allowed() {
            for line in &parts.lines {
                let alone = Parts { lines: vec![line], ..parts.clone() };
                prop_assert!(!alone.decide(&policies).denied(), "{line:?}");
                prop_assert!(alone.decide(&policies).allowed(), "{line:?}");
            }
        }
    }

    #[test]
    fn nothing_panics(host in ".{0,8}", pattern in ".{0,8}", sni in ".{0,4}", template in "(/|\\{\\*\\}|\\{\\*\\*\\}|a|é|%c3){0,8}", path in "(/|a|%C3%A9|;|%3B){0,8}") {
        let path = format!("/{path}");
        let Ok(path) = RequestPath::parse("GET", path.as_bytes(), EncodedSlashes::default()) else {
            return Ok(());
        };
        let text = || [Exact(pattern.as_str().into()), Prefix(pattern.as_str().into()), Suffix(pattern.as_str().into())];
        let mut paths = Terms::any_of(text().map(PathMatch::Text));
        paths.values.extend(template.parse().ok().map(PathMatch::Template));
        let operation = RequestOperation { hosts: Terms::any_of(text()), paths, ..Default::default() };
        let when = vec![Sni(Terms::none_of(text()))];
        let policy = policy(RequestAction::Deny, "p", vec![RequestRule { when, ..to(operation) }]);
        let ip = std::net::Ipv4Addr::LOCALHOST.into();
        let facts = RequestFacts {
            method: "GET", path: &path, host: Some(&host), headers: &Headers(vec![]), source_identity: None,
            source_ip: ip, remote_ip: ip, destination: SocketAddr::new(ip, 80), sni: Some(&sni), auth: None,
        };
        let decision = decide_request(&facts, [&policy]);
        prop_assert!(decision.asks.is_empty());
    }
}
