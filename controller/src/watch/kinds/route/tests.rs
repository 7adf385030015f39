//! Routes that are wrong: each problem names its field.

use serde_json::{Value, json};

use super::*;
use crate::watch::kinds::trim;

fn problems(kind: Kind, spec: Value) -> Vec<String> {
    let object = json!({"metadata": {"name": "r", "namespace": "shop"}, "spec": spec});
    let trimmed = trim(kind, object, Vec::new());
    trimmed.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn each_mistake_names_its_field() {
    let rule = |rule: Value| json!({"rules": [{}, rule]});
    let table = [
        (json!({"hostnames": ["a..b"]}), "spec.hostnames[0]: \"a..b\" is not a host name"),
        (json!({"parentRefs": [{}]}), "spec.parentRefs[0]: missing field `name`"),
        (
            json!({"parentRefs": [{"name": "a", "port": 0}]}),
            "spec.parentRefs[0].port: 0 is not a port",
        ),
        (
            rule(json!({"matches": [{"path": {"value": "a"}}]})),
            "spec.rules[1].matches[0].path.value",
        ),
        (rule(json!({"matches": [{"path": {"type": "X"}}]})), "spec.rules[1].matches[0].path.type"),
        (
            rule(json!({"matches": [{"path": {"type": "RegularExpression", "value": "("}}]})),
            "spec.rules[1].matches[0].path.value: is no regular expression",
        ),
        (
            rule(
                json!({"matches": [{"path": {"type": "RegularExpression", "value": "(a{1000}){1000}"}}]}),
            ),
            "spec.rules[1].matches[0].path.value: is no regular expression",
        ),
        (rule(json!({"matches": [{"method": "a b"}]})), "spec.rules[1].matches[0].method"),
        (
            rule(json!({"matches": [{"headers": [{"name": "ä", "value": ""}]}]})),
            "spec.rules[1].matches[0].headers[0].name",
        ),
        (rule(json!({"timeouts": {"request": "1"}})), "spec.rules[1].timeouts.request"),
        (rule(json!({"retry": {"codes": [200]}})), "spec.rules[1].retry.codes[0]: 200"),
        (rule(json!({"retry": {"attempts": 1000}})), "spec.rules[1].retry.attempts: 1000"),
        (
            rule(json!({"backendRefs": [{"name": "a", "weight": -1}]})),
            "spec.rules[1].backendRefs[0].weight: -1",
        ),
        (
            rule(json!({"filters": [{"type": "RequestRedirect"}]})),
            "spec.rules[1].filters[0]: what RequestRedirect should do is missing",
        ),
        (
            rule(
                json!({"filters": [{"type": "RequestRedirect", "requestRedirect": {"statusCode": 200}}]}),
            ),
            "spec.rules[1].filters[0].requestRedirect.statusCode: 200",
        ),
        (
            rule(json!({"filters": [
                {"type": "RequestRedirect", "requestRedirect": {}},
                {"type": "URLRewrite", "urlRewrite": {}},
            ]})),
            "spec.rules[1].filters: RequestRedirect and URLRewrite",
        ),
        (
            rule(
                json!({"filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "a", "value": "x\n"}]}}]}),
            ),
            "spec.rules[1].filters[0].requestHeaderModifier.set[0].value",
        ),
        (
            rule(
                json!({"filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "a"}, "percent": 101}}]}),
            ),
            "spec.rules[1].filters[0].requestMirror: 101 of 100",
        ),
        (json!({"rules": vec![json!({}); 300]}), "spec.rules: 300 are too many; 256 are the most"),
        (json!({"rules": 7}), "spec.rules: invalid type"),
    ];
    for (spec, expected) in table {
        let problems = problems(Kind::HttpRoute, spec);
        assert_eq!(problems.len(), 1, "{expected}: {problems:?}");
        assert!(problems[0].starts_with(expected), "{expected}: {}", problems[0]);
    }
}

#[test]
fn fields_that_mean_nothing_are_named() {
    let spec =
        json!({"rules": [{"sessionPersistence": {"type": "Cookie"}, "matches": [{"pth": {}}]}]});
    assert_eq!(
        problems(Kind::HttpRoute, spec),
        [
            "spec.rules[0].matches[0].pth: is not known here and means nothing",
            "spec.rules[0].sessionPersistence: is not known here and means nothing",
        ]
    );
    assert_eq!(problems(Kind::TcpRoute, json!({"hosts": []})).len(), 1);
    let method = json!({"rules": [{"matches": [{"method": {"service": "a/b"}}]}]});
    assert_eq!(
        problems(Kind::GrpcRoute, method),
        ["spec.rules[0].matches[0].method.service: is not a name"]
    );
}
