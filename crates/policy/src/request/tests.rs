//! Every field and every order of policies as tables.

use std::sync::Arc;

use ambit_model::RequestCondition::*;
use ambit_model::StringMatch::*;
use ambit_model::{
    NamespacedHostname, PathMatch, PolicyTarget, RequestCondition, RequestOperation, RequestPolicy,
    RequestRule, RequestSource, ServiceAccountMatch, Str, StringMatch, Terms,
};
use ipnet::IpNet;

use super::*;
use crate::EncodedSlashes;

mod properties;

// === builders ===

struct Headers(Vec<(&'static str, &'static str)>);

impl HeaderValues for Headers {
    fn each(&self, name: &str, see: &mut dyn FnMut(&[u8])) {
        self.0.iter().filter(|(n, _)| *n == name).for_each(|(_, value)| see(value.as_bytes()));
    }
}

struct Token;

impl RequestAuth for Token {
    fn principal(&self) -> &str {
        "https://issuer/alice"
    }

    fn each(&self, path: &[Str], see: &mut dyn FnMut(&str)) {
        let path: Vec<&str> = path.iter().map(|name| &**name).collect();
        match path[..] {
            ["aud"] => ["web", "api"].into_iter().for_each(see),
            ["realm", "role"] => see("admin"),
            _ => {}
        }
    }
}

/// A request, as a test says it: `GET http://shop.example:8080/a/b` from 10.0.0.1 for 192.0.2.7.
struct Request {
    method: &'static str,
    target: &'static str,
    host: Option<&'static str>,
    headers: Headers,
    identity: Option<Identity>,
    sni: Option<&'static str>,
    token: bool,
}

fn request() -> Request {
    Request {
        method: "GET",
        target: "/a/b",
        host: Some("shop.example:8080"),
        headers: Headers(vec![]),
        identity: Some(Identity::new("td", "front", "web")),
        sni: Some("Shop.Example"),
        token: true,
    }
}

fn get(target: &'static str) -> Request {
    Request { target, ..request() }
}

fn with(headers: &[(&'static str, &'static str)]) -> Request {
    Request { headers: Headers(headers.to_vec()), ..request() }
}

fn anonymous() -> Request {
    Request { identity: None, host: None, sni: None, token: false, ..request() }
}

impl Request {
    fn decide<'a>(
        &self,
        candidates: impl IntoIterator<Item = &'a CompiledPolicy>,
    ) -> RequestDecision<'a> {
        let slashes = EncodedSlashes::default();
        let path = RequestPath::parse(self.method, self.target.as_bytes(), slashes).unwrap();
        let facts = RequestFacts {
            method: self.method,
            path: &path,
            host: self.host,
            headers: &self.headers,
            source_identity: self.identity.as_ref(),
            source_ip: "::ffff:10.0.0.1".parse().unwrap(),
            remote_ip: "192.0.2.7".parse().unwrap(),
            destination: "10.0.1.1:8080".parse().unwrap(),
            sni: self.sni,
            auth: self.token.then_some(&Token),
        };
        decide_request(&facts, candidates)
    }

    fn matches(&self, action: RequestAction, rule: RequestRule) -> bool {
        let policy = policy(action.clone(), "p", vec![rule]);
        let decision = self.decide([&policy]);
        match action {
            RequestAction::Allow => decision.allowed(),
            _ => !decision.allowed(),
        }
    }
}

fn policy(action: RequestAction, name: &str, rules: Vec<RequestRule>) -> CompiledPolicy {
    CompiledPolicy::new(RequestPolicy {
        name: name.into(),
        namespace: "shop".into(),
        action,
        dry_run: false,
        targets: vec![PolicyTarget::Gateway],
        rules,
    })
}

fn dry(policy: &CompiledPolicy) -> CompiledPolicy {
    CompiledPolicy::new(RequestPolicy { dry_run: true, ..policy.policy().clone() })
}

fn custom(provider: &str) -> RequestAction {
    RequestAction::Custom(provider.into())
}

fn always() -> RequestRule {
    RequestRule::default()
}

fn never() -> RequestRule {
    to(RequestOperation { ports: Terms::any_of([1]), ..RequestOperation::default() })
}

fn from(source: RequestSource) -> RequestRule {
    RequestRule { from: vec![source], ..RequestRule::default() }
}

fn to(operation: RequestOperation) -> RequestRule {
    RequestRule { to: vec![operation], ..RequestRule::default() }
}

fn when(condition: RequestCondition) -> RequestRule {
    RequestRule { when: vec![condition], ..RequestRule::default() }
}

fn any(value: StringMatch) -> Terms<StringMatch> {
    Terms::any_of([value])
}

fn none(value: StringMatch) -> Terms<StringMatch> {
    Terms::none_of([value])
}

fn exact(text: &str) -> Terms<StringMatch> {
    any(Exact(text.into()))
}

fn but(text: &str) -> Terms<StringMatch> {
    none(Exact(text.into()))
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn account(namespace: &str, name: &str) -> ServiceAccountMatch {
    ServiceAccountMatch { namespace: namespace.into(), service_account: name.into() }
}

fn path(pattern: StringMatch) -> RequestRule {
    to(RequestOperation {
        paths: Terms::any_of([PathMatch::Text(pattern)]),
        ..RequestOperation::default()
    })
}

fn header(name: &str, terms: Terms<StringMatch>) -> RequestRule {
    when(Header { name: name.into(), terms })
}

fn claim(path: &[&str], terms: Terms<StringMatch>) -> RequestRule {
    when(AuthClaim { claim: path.iter().map(|name| Str::from(*name)).collect(), terms })
}

const BOTH: [RequestAction; 2] = [RequestAction::Allow, RequestAction::Deny];

// === which policy decides ===

#[test]
fn the_order_of_actions() {
    let deny = policy(RequestAction::Deny, "deny", vec![always()]);
    let no_deny = policy(RequestAction::Deny, "no-deny", vec![never()]);
    let allow = policy(RequestAction::Allow, "allow", vec![never(), always()]);
    let no_allow = policy(RequestAction::Allow, "no-allow", vec![never()]);
    let nothing = policy(RequestAction::Allow, "nothing", vec![]);
    let ask = policy(custom("ext"), "ask", vec![always()]);
    let no_ask = policy(custom("ext"), "no-ask", vec![never()]);
    let audit = policy(RequestAction::Audit, "audit", vec![always()]);
    let table: &[(&[&CompiledPolicy], Reason, Option<&str>, bool)] = &[
        (&[], Reason::NoAllowPolicies, None, true),
        (&[&no_deny], Reason::NoAllowPolicies, None, true),
        (&[&audit, &no_ask], Reason::NoAllowPolicies, None, true),
        (&[&allow], Reason::AllowMatched, Some("shop/allow"), true),
        (&[&no_allow, &allow], Reason::AllowMatched, Some("shop/allow"), true),
        (&[&no_allow], Reason::NoAllowMatched, None, false),
        (&[&nothing], Reason::NoAllowMatched, None, false),
        (&[&no_allow, &audit], Reason::NoAllowMatched, None, false),
        (&[&allow, &deny], Reason::ExplicitDeny, Some("shop/deny"), false),
        (&[&ask], Reason::NoAllowPolicies, None, false),
        (&[&ask, &allow], Reason::AllowMatched, Some("shop/allow"), false),
        (&[&no_ask, &allow], Reason::AllowMatched, Some("shop/allow"), true),
        (&[&ask, &no_allow], Reason::NoAllowMatched, None, false),
        (&[&dry(&deny), &dry(&nothing), &dry(&ask)], Reason::NoAllowPolicies, None, true),
    ];
    for (policies, reason, by, allowed) in table {
        let decision = request().decide(policies.iter().copied());
        let found = (decision.reason, decision.policy.map(|p| p.to_string()), decision.allowed());
        assert_eq!(found, (*reason, by.map(str::to_owned), *allowed), "{policies:?}");
        assert_eq!(decision.denied(), !reason.allows());
        let reversed = request().decide(policies.iter().rev().copied());
        assert_eq!(reversed.reason, *reason, "{policies:?}");
    }
}

#[test]
fn each_provider_is_asked_once_and_nobody_about_what_is_denied() {
    let a = policy(custom("ext"), "a", vec![always()]);
    let b = policy(custom("ext"), "b", vec![always()]);
    let c = policy(custom("other"), "c", vec![always()]);
    let asks: Vec<String> = request()
        .decide([&a, &b, &c])
        .asks
        .iter()
        .map(|ask| format!("{} for {}", ask.provider, ask.policy))
        .collect();
    assert_eq!(asks, ["ext for shop/a", "other for shop/c"]);
    let deny = policy(RequestAction::Deny, "deny", vec![always()]);
    assert_eq!(request().decide([&a, &deny]).asks, []);
}

#[test]
fn what_is_not_enforced_is_reported() {
    let audit = policy(RequestAction::Audit, "audit", vec![always()]);
    let deny = dry(&policy(RequestAction::Deny, "deny", vec![always()]));
    let allow = dry(&policy(RequestAction::Allow, "allow", vec![never()]));
    let enforced = policy(RequestAction::Allow, "enforced", vec![always()]);
    let decision = request().decide([&audit, &deny, &allow]);
    assert_eq!(format!("{:?}", decision.audits), "[shop/audit]");
    let hits: Vec<_> = decision.dry_run.iter().map(|hit| (hit.policy.name, hit.action)).collect();
    assert_eq!(hits, [("deny", &RequestAction::Deny)]);
    assert!(decision.allowed() && decision.dry_run_would_deny);
    assert!(!request().decide([&allow, &enforced]).dry_run_would_deny);
    assert_eq!(request().decide([&enforced]).to_string(), "allowed by: shop/enforced");
}

#[test]
fn an_allowed_request_costs_no_allocation() {
    let policies = [
        policy(RequestAction::Deny, "d", vec![never(), header("x", exact("b"))]),
        policy(RequestAction::Allow, "a", vec![path(Prefix("/a".into()))]),
        policy(RequestAction::Audit, "audit", vec![never()]),
        policy(custom("ext"), "ask", vec![never()]),
    ];
    let decision = with(&[("x", "a")]).decide(&policies);
    assert!(decision.allowed());
    let held = (decision.asks.capacity(), decision.audits.capacity(), decision.dry_run.capacity());
    assert_eq!(held, (0, 0, 0));
}

#[test]
fn rules_are_any_source_any_operation_and_every_condition() {
    let port = |port| RequestOperation { ports: Terms::any_of([port]), ..Default::default() };
    let space = |ns: &str| RequestSource { namespaces: exact(ns), ..Default::default() };
    let method = |name: &str| Header { name: ":method".into(), terms: exact(name) };
    let rule = |from: &[&str], to: &[u16], when: &[&str]| RequestRule {
        from: from.iter().map(|ns| space(ns)).collect(),
        to: to.iter().map(|p| port(*p)).collect(),
        when: when.iter().map(|name| method(name)).collect(),
    };
    let table = [
        (rule(&["front"], &[8080], &["GET"]), true),
        (rule(&["x", "front"], &[1, 8080], &["GET", "GET"]), true),
        (rule(&["x"], &[8080], &["GET"]), false),
        (rule(&["front"], &[1], &["GET"]), false),
        (rule(&["front"], &[8080], &["GET", "PUT"]), false),
        (rule(&[], &[], &[]), true),
    ];
    for (rule, expected) in table {
        for action in BOTH {
            assert_eq!(request().matches(action, rule.clone()), expected, "{rule:?}");
        }
    }
}

// === what each field compares ===

#[test]
fn every_field_and_its_opposite() {
    let source = RequestSource::default;
    let operation = RequestOperation::default;
    let table: Vec<(RequestRule, bool)> = vec![
        (from(RequestSource { principals: exact("td/ns/front/sa/web"), ..source() }), true),
        (from(RequestSource { principals: any(Prefix("td/ns/front/".into())), ..source() }), true),
        (from(RequestSource { principals: but("td/ns/front/sa/web"), ..source() }), false),
        (
            from(RequestSource { request_principals: exact("https://issuer/alice"), ..source() }),
            true,
        ),
        (from(RequestSource { request_principals: none(Presence()), ..source() }), false),
        (from(RequestSource { namespaces: any(Suffix("nt".into())), ..source() }), true),
        (from(RequestSource { namespaces: but("front"), ..source() }), false),
        (
            from(RequestSource {
                service_accounts: Terms::any_of([account("front", "web")]),
                ..source()
            }),
            true,
        ),
        (
            from(RequestSource {
                service_accounts: Terms::any_of([account("back", "web")]),
                ..source()
            }),
            false,
        ),
        (
            from(RequestSource {
                service_accounts: Terms::none_of([account("front", "web")]),
                ..source()
            }),
            false,
        ),
        (from(RequestSource { ip_blocks: Terms::any_of([net("10.0.0.0/24")]), ..source() }), true),
        (
            from(RequestSource { ip_blocks: Terms::any_of([net("192.0.2.0/24")]), ..source() }),
            false,
        ),
        (
            from(RequestSource { ip_blocks: Terms::none_of([net("10.0.0.1/32")]), ..source() }),
            false,
        ),
        (
            from(RequestSource {
                remote_ip_blocks: Terms::any_of([net("192.0.2.0/24")]),
                ..source()
            }),
            true,
        ),
        (
            from(RequestSource {
                remote_ip_blocks: Terms::none_of([net("192.0.2.7/32")]),
                ..source()
            }),
            false,
        ),
        (to(RequestOperation { hosts: exact("shop.example"), ..operation() }), true),
        (to(RequestOperation { hosts: exact("SHOP.example:8080"), ..operation() }), true),
        (to(RequestOperation { hosts: exact("shop.example:80"), ..operation() }), false),
        (to(RequestOperation { hosts: any(Suffix(".Example".into())), ..operation() }), true),
        (to(RequestOperation { hosts: any(Prefix("shop.".into())), ..operation() }), true),
        (to(RequestOperation { hosts: but("shop.example"), ..operation() }), false),
        (to(RequestOperation { ports: Terms::any_of([80, 8080]), ..operation() }), true),
        (to(RequestOperation { ports: Terms::none_of([8080]), ..operation() }), false),
        (to(RequestOperation { methods: exact("GET"), ..operation() }), true),
        (to(RequestOperation { methods: exact("get"), ..operation() }), false),
        (to(RequestOperation { methods: but("GET"), ..operation() }), false),
        (path(Exact("/a/b".into())), true),
        (path(Exact("/a".into())), false),
        (path(Prefix("/a".into())), true),
        (path(Suffix("/b".into())), true),
        (path(Presence()), true),
        (path(Exact("/%61/b".into())), true),
        (
            to(RequestOperation {
                paths: Terms::none_of([PathMatch::Text(Prefix("/a".into()))]),
                ..operation()
            }),
            false,
        ),
        (when(SourceIp(Terms::any_of([net("10.0.0.1/32")]))), true),
        (when(RemoteIp(Terms::any_of([net("10.0.0.1/32")]))), false),
        (when(SourceNamespace(exact("front"))), true),
        (when(SourcePrincipal(exact("td/ns/front/sa/web"))), true),
        (when(SourceServiceAccount(Terms::any_of([account("front", "web")]))), true),
        (when(AuthPrincipal(any(Prefix("https://issuer/".into())))), true),
        (claim(&["aud"], exact("api")), true),
        (claim(&["aud"], but("api")), false),
        (claim(&["realm", "role"], exact("admin")), true),
        (claim(&["realm"], any(Presence())), false),
        (when(DestinationIp(Terms::any_of([net("10.0.1.0/24")]))), true),
        (when(DestinationPort(Terms::none_of([8080]))), false),
        (when(Sni(exact("shop.EXAMPLE"))), true),
        (header(":method", exact("GET")), true),
        (header(":authority", exact("SHOP.EXAMPLE")), true),
        (header("Host", but("Shop.example")), false),
    ];
    for (rule, expected) in table {
        for action in BOTH {
            assert_eq!(request().matches(action, rule.clone()), expected, "{rule:?}");
        }
    }
}

#[test]
fn what_is_absent_fails_conditions_and_holds_exclusions() {
    let everything = || [any(Presence()), any(Prefix("".into())), exact("")];
    let text = |make: &dyn Fn(Terms<StringMatch>) -> RequestRule| {
        for action in BOTH {
            for terms in everything() {
                assert!(!anonymous().matches(action.clone(), make(terms)));
            }
            for terms in [none(Presence()), but("x"), none(Prefix("".into()))] {
                assert!(anonymous().matches(action.clone(), make(terms)));
            }
        }
    };
    text(&|principals| from(RequestSource { principals, ..Default::default() }));
    text(&|namespaces| from(RequestSource { namespaces, ..Default::default() }));
    text(&|request_principals| from(RequestSource { request_principals, ..Default::default() }));
    text(&|hosts| to(RequestOperation { hosts, ..Default::default() }));
    text(&|terms| header("x-user", terms));
    text(&|terms| header(":authority", terms));
    text(&|terms| header(":path", terms));
    text(&|terms| claim(&["sub"], terms));
    text(&|terms| when(AuthPrincipal(terms)));
    text(&|terms| when(Sni(terms)));
    let account = Terms::none_of([account("front", "web")]);
    assert!(anonymous().matches(RequestAction::Allow, when(SourceServiceAccount(account))));
}

#[test]
fn hosts_are_compared_with_their_port_and_without() {
    let table = [
        ("example.com", "example.com", true),
        ("EXAMPLE.com:8443", "example.com", true),
        ("example.com.", "example.com", true),
        ("example.com.:80", "example.com", true),
        ("example.com:80", "example.com:80", true),
        ("example.com:81", "example.com:80", false),
        ("[::1]:80", "[::1]", true),
        ("[::1]", "[::1]", true),
        ("example.com.evil", "example.com", false),
        ("é.example", "é.example", true),
        ("", "example.com", false),
    ];
    for (host, pattern, expected) in table {
        let request = || Request { host: Some(host), ..request() };
        for action in BOTH {
            let rule = to(RequestOperation { hosts: exact(pattern), ..Default::default() });
            assert_eq!(request().matches(action.clone(), rule), expected, "{host}");
            let rule = to(RequestOperation { hosts: but(pattern), ..Default::default() });
            assert_eq!(request().matches(action, rule), !expected, "{host}");
        }
    }
    let wild = Request { host: Some("a.é"), ..request() };
    let rule = to(RequestOperation { hosts: any(Prefix("a.\u{e8}".into())), ..Default::default() });
    assert!(!wild.matches(RequestAction::Allow, rule), "cut inside a character");
}

#[test]
fn templates() {
    let table = [
        ("/foo/{*}", "/foo/bar", true),
        ("/foo/{*}", "/foo/bar/baz", false),
        ("/foo/{*}", "/foo/", false),
        ("/foo/{*}", "/foo", false),
        ("/foo/{**}", "/foo/", true),
        ("/foo/{**}", "/foo/bar/baz.txt", true),
        ("/foo/{**}", "/foo", false),
        ("/foo/{**}", "/foobar", false),
        ("/foo/{**}/", "/foo/bar/", true),
        ("/foo/{**}/", "/foo/bar", false),
        ("/foo/{**}/x/y", "/foo/a/b/x/y", true),
        ("/foo/{**}/x/y", "/foo/x/y", false),
        ("/foo/{*}/bar/{**}", "/foo/buzz/bar/", true),
        ("/foo/{*}/bar/{**}", "/foo/buzz/bar/baz", true),
        ("/foo/{*}/bar/{**}", "/foo/a/b/bar/baz", false),
        ("/{*}", "/", false),
        ("/{**}", "/", true),
        ("/%66oo/{*}", "/foo/%62", true),
        ("/a b/{*}", "/a%20b/c", true),
    ];
    for (template, target, expected) in table {
        let paths = || Terms::any_of([PathMatch::Template(template.parse().unwrap())]);
        for action in BOTH {
            let rule = to(RequestOperation { paths: paths(), ..Default::default() });
            assert_eq!(get(target).matches(action, rule), expected, "{template} {target}");
        }
    }
}

// === several ways to say one thing ===

#[test]
fn repeated_headers_slip_through_nothing() {
    let twice = || with(&[("x", "good"), ("x", "bad")]);
    let table: &[(Terms<StringMatch>, bool, bool)] = &[
        // terms, an ALLOW matches, a DENY matches
        (exact("good"), false, true),
        (exact("bad"), false, true),
        (exact("good,bad"), false, true),
        (any(Prefix("good".into())), false, true),
        (any(Suffix("bad".into())), false, true),
        (any(Presence()), true, true),
        (but("bad"), false, true),
        (but("good"), false, true),
        (but("other"), true, true),
        (none(Presence()), false, false),
        (exact("other"), false, false),
    ];
    for (terms, allow, deny) in table {
        let found = BOTH.map(|action| twice().matches(action, header("X", terms.clone())));
        assert_eq!(found, [*allow, *deny], "{terms:?}");
        let asked = twice().matches(custom("ext"), header("x", terms.clone()));
        assert_eq!(asked, *deny, "{terms:?}");
    }
    let once = with(&[("x", "good")]);
    assert!(once.matches(RequestAction::Allow, header("x", exact("good"))));
    let same = with(&[("x", "good"), ("x", "good")]);
    assert!(!same.matches(RequestAction::Allow, header("x", exact("good"))));
}

#[test]
fn cookies_are_one_header_on_however_many_lines() {
    let split = || with(&[("cookie", "user=a"), ("cookie", "theme=b")]);
    let whole = exact("user=a; theme=b");
    let start = any(Prefix("user=a".into()));
    for terms in [whole, start] {
        for action in BOTH {
            assert!(split().matches(action, header("cookie", terms.clone())), "{terms:?}");
        }
    }
    assert!(split().matches(RequestAction::Deny, header("cookie", exact("theme=b"))));
    assert!(!split().matches(RequestAction::Allow, header("cookie", exact("theme=b"))));
}

#[test]
fn parameters_of_a_path_slip_through_nothing() {
    let admin = || path(Exact("/admin/x".into()));
    let public = || path(Prefix("/public/".into()));
    let not_public = || {
        let paths = Terms::none_of([PathMatch::Text(Prefix("/public/".into()))]);
        to(RequestOperation { paths, ..Default::default() })
    };
    let table = [
        ("/admin;v=1/x", admin(), false, true),
        ("/public/x;v=1", public(), true, true),
        ("/public;v=1/x", public(), false, true),
        ("/public;v=1/x", not_public(), false, true),
        ("/public/x;v=1", not_public(), false, false),
    ];
    for (target, rule, allow, deny) in table {
        let found = BOTH.map(|action| get(target).matches(action, rule.clone()));
        assert_eq!(found, [allow, deny], "{target} {rule:?}");
    }
}

// === by target ===

#[test]
fn policies_are_found_by_what_they_are_about() {
    let service = |host: &str| NamespacedHostname::new("shop", host);
    let about = |name: &str, targets: &[PolicyTarget]| {
        let policy = policy(RequestAction::Deny, name, vec![]);
        let targets = targets.to_vec();
        Arc::new(CompiledPolicy::new(RequestPolicy { targets, ..policy.policy().clone() }))
    };
    let of = |host| PolicyTarget::Service(service(host));
    let audit = Arc::new(CompiledPolicy::new(RequestPolicy {
        targets: vec![of("watched")],
        ..policy(RequestAction::Audit, "audit", vec![]).policy().clone()
    }));
    let all = RequestPolicies::new([
        audit,
        about("all", &[PolicyTarget::Gateway, of("a")]),
        about("a", &[of("a"), of("a")]),
        about("ab", &[of("a"), of("b")]),
        about("nothing", &[]),
    ]);
    let names = |host: Option<&str>, beside: &[&str]| -> Vec<String> {
        let beside: Vec<_> = beside.iter().map(|host| service(host)).collect();
        let host = host.map(service);
        let found = all.of(host.as_ref(), &beside);
        found.map(|p| p.policy().name.to_string()).collect()
    };
    assert_eq!(names(Some("a"), &[]), ["all", "a", "ab"]);
    assert_eq!(names(Some("b"), &[]), ["all", "ab"]);
    assert_eq!(names(Some("c"), &[]), ["all"]);
    assert_eq!(names(None, &[]), ["all"]);
    // What leads to the same workloads is no way around, unless it is guarded itself.
    assert_eq!(names(Some("c"), &["b", "d"]), ["all", "ab"]);
    assert_eq!(names(None, &["b"]), ["all", "ab"]);
    assert_eq!(names(Some("b"), &["a"]), ["all", "ab"]);
    assert_eq!(names(Some("watched"), &["b"]), ["all", "audit", "ab"]);
}

#[test]
fn connections_that_are_not_looked_into_slip_through_nothing() {
    use RequestAction::{Allow, Deny};
    let identity = Identity::new("td", "front", "web");
    let facts = ConnectionFacts {
        source_identity: Some(&identity),
        source_ip: "10.0.0.1".parse().unwrap(),
        destination: "192.0.2.7:8080".parse().unwrap(),
        sni: None,
    };
    let own = || from(RequestSource { namespaces: exact("front"), ..RequestSource::default() });
    let other = || from(RequestSource { namespaces: exact("back"), ..RequestSource::default() });
    let admin = || path(Prefix("/admin".into()));
    let both = |mut a: RequestRule, b: RequestRule| {
        a.to = b.to;
        a.when = b.when;
        a
    };
    for (action, rule, allowed) in [
        (Allow, own(), true),
        (Allow, other(), false),
        (Allow, admin(), false),
        (Allow, both(own(), admin()), false),
        (Allow, header("x-role", exact("a")), false),
        (Deny, own(), false),
        (Deny, other(), true),
        (Deny, admin(), false),
        (Deny, both(own(), admin()), false),
        (Deny, both(other(), admin()), true),
        (Deny, both(other(), header("x-role", exact("a"))), true),
        (Deny, header("x-role", exact("a")), false),
    ] {
        let policy = policy(action.clone(), "p", vec![rule.clone()]);
        let decision = decide_connection(&facts, [&policy]);
        assert_eq!(decision.allowed(), allowed, "{action:?} {rule:?}");
    }
}
