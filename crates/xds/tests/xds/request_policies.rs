//! Policies of requests come back as they were sent; what cannot be understood denies what it is about.

use ambit_model::{NamespacedHostname, PolicyTarget, RequestAction, RequestPolicy};
use ambit_proto::ambit as proto;
use ambit_proto::ambit::path_pattern::Kind as PathKind;
use ambit_proto::ambit::policy_target::Kind as TargetKind;
use ambit_proto::ambit::request_condition::Kind as ConditionKind;
use ambit_proto::ambit::string_match::Kind as TextKind;
use ambit_xds::encode::Encoded;
use ambit_xds::{Interner, ResourceType, decode};
use proptest::prelude::*;
use prost::Message as _;

use crate::generate;

fn decode(name: &str, bytes: &[u8]) -> decode::DecodedRequestPolicy {
    decode::request_policy(name, bytes, &mut Interner::default())
}

proptest! {
    #[test]
    fn policies_come_back(policy in generate::request_policy()) {
        let encoded = Encoded::request_policy(&policy);
        prop_assert_eq!(encoded.kind, ResourceType::RequestPolicy);
        prop_assert_eq!(&*encoded.name, &*policy.key().0);
        prop_assert_eq!(decode(&encoded.name, &encoded.body).policy, Ok(policy));
    }

    #[test]
    fn any_bytes_are_a_policy_or_denied(name in ".{0,9}", bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let decoded = decode(&name, &bytes);
        let audit = matches!(
            proto::RequestPolicy::decode(&*bytes), Ok(message) if message.action == 2);
        prop_assert!(decoded.policy.is_ok() || decoded.stand_in.is_some() || audit);
    }

    #[test]
    fn a_changed_byte_never_panics(
        policy in generate::request_policy(), at in any::<prop::sample::Index>(), to in any::<u8>(),
    ) {
        let encoded = Encoded::request_policy(&policy);
        let mut bytes = encoded.body.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(policy) = decode(&encoded.name, &bytes).policy {
            prop_assert_eq!(&*policy.key().0, &*encoded.name);
        }
    }
}

fn message() -> proto::RequestPolicy {
    proto::RequestPolicy {
        namespace: "shop".into(),
        name: "p".into(),
        targets: vec![proto::PolicyTarget { kind: Some(TargetKind::Service("shop/web".into())) }],
        ..proto::RequestPolicy::default()
    }
}

fn error(change: impl FnOnce(&mut proto::RequestPolicy)) -> String {
    let mut message = message();
    change(&mut message);
    decode("shop/p", &message.encode_to_vec()).policy.expect_err("malformed").to_string()
}

fn rule(change: impl FnOnce(&mut proto::RequestRule)) -> String {
    let mut rule = proto::RequestRule::default();
    change(&mut rule);
    error(|m| m.rules = vec![rule])
}

fn operation(change: impl FnOnce(&mut proto::RequestOperation)) -> String {
    let mut operation = proto::RequestOperation::default();
    change(&mut operation);
    rule(|r| r.to = vec![operation])
}

fn when(kind: Option<ConditionKind>) -> String {
    rule(|r| r.when = vec![proto::RequestCondition { kind }])
}

fn texts(kind: Option<TextKind>, ignore_case: bool) -> proto::TextTerms {
    let values = vec![proto::StringMatch { kind, ignore_case }];
    proto::TextTerms { values, not_values: Vec::new() }
}

#[test]
fn every_malformed_policy_is_refused() {
    let target = |kind| error(|m| m.targets = vec![proto::PolicyTarget { kind }]);
    let path = |kind| {
        let values = vec![proto::PathPattern { kind }];
        operation(|o| o.paths = Some(proto::PathTerms { values, not_values: Vec::new() }))
    };
    let cidr = |address, length| {
        let terms = proto::CidrTerms {
            not_values: vec![proto::Cidr { address, length }],
            ..Default::default()
        };
        when(Some(ConditionKind::RemoteIp(terms)))
    };
    let empty = proto::TextTerms::default;
    let nobody = proto::AccountTerms {
        values: vec![proto::ServiceAccount { namespace: "a".into(), name: String::new() }],
        not_values: Vec::new(),
    };
    let header = |name: &str, terms| {
        when(Some(ConditionKind::Header(proto::HeaderCondition { name: name.into(), terms })))
    };
    let claim = |claim: &[&str]| {
        let claim = claim.iter().map(ToString::to_string).collect();
        let terms = Some(texts(Some(TextKind::Present(true)), false));
        when(Some(ConditionKind::AuthClaim(proto::ClaimCondition { claim, terms })))
    };
    let known = || Some(texts(Some(TextKind::Present(true)), false));
    let table: Vec<(String, &str)> = vec![
        (error(|m| m.name.clear()), "name is missing"),
        (error(|m| m.namespace.clear()), "namespace is missing"),
        (error(|m| m.name = "a/b".into()), "name \"a/b\" is malformed"),
        (error(|m| m.action = 4), "action 4 is unknown"),
        (error(|m| m.action = 3), "provider is missing"),
        (error(|m| m.targets.clear()), "targets is missing"),
        (
            error(|m| m.required_features = vec!["quota".into()]),
            "feature \"quota\" is unknown; bring this proxy up to date",
        ),
        (target(None), "targets says nothing that is known"),
        (target(Some(TargetKind::Gateway(false))), "targets says nothing that is known"),
        (target(Some(TargetKind::Service("web".into()))), "targets.service \"web\" is malformed"),
        (rule(|r| r.from = vec![Default::default()]), "from says nothing that is known"),
        (rule(|r| r.to = vec![Default::default()]), "to says nothing that is known"),
        (when(None), "when says nothing that is known"),
        (when(Some(ConditionKind::Sni(empty()))), "when says nothing that is known"),
        (header("", known()), "when.header.name is missing"),
        (header("a b", known()), "when.header.name \"a b\" is malformed"),
        (header(":path", known()), "when.header.name \":path\" is malformed"),
        (header("x", None), "when says nothing that is known"),
        (claim(&[]), "when.auth_claim.claim is missing"),
        (claim(&["a", ""]), "when.auth_claim.claim is missing"),
        (operation(|o| o.hosts = Some(texts(None, false))), "hosts says nothing that is known"),
        (
            operation(|o| o.hosts = Some(texts(Some(TextKind::Exact("a".into())), true))),
            "hosts says nothing that is known",
        ),
        (
            operation(|o| o.methods = Some(texts(Some(TextKind::Regex(".*".into())), false))),
            "methods says nothing that is known",
        ),
        (
            operation(|o| o.methods = Some(texts(Some(TextKind::Present(false)), false))),
            "methods says nothing that is known",
        ),
        (
            operation(|o| {
                o.ports = Some(proto::PortTerms { values: vec![70_000], ..Default::default() })
            }),
            "ports: 70000 is no port",
        ),
        (path(None), "paths says nothing that is known"),
        (
            path(Some(PathKind::Template("/{*}.x".into()))),
            "paths: \"/{*}.x\" is no path template: {*} and {**} have to stand alone between slashes",
        ),
        (cidr(vec![1, 2, 3], 8), "when: an IP address of 3 bytes; it has to be 4 or 16"),
        (cidr(vec![1, 2, 3, 4], 33), "when: prefix length 33 is too long for 1.2.3.4"),
        (
            when(Some(ConditionKind::SourceServiceAccount(nobody))),
            "when says nothing that is known",
        ),
    ];
    for (found, expected) in table {
        assert_eq!(found, format!("request policy: {expected}"));
    }
}

#[test]
fn a_policy_that_cannot_be_understood_denies_what_it_is_about() {
    let service = PolicyTarget::Service(NamespacedHostname::new("shop", "web"));
    let stand_in = |bytes: &[u8]| {
        let decoded = decode("shop/p", bytes);
        assert!(decoded.policy.is_err());
        decoded.stand_in
    };
    let denies = |targets: &PolicyTarget, dry_run| {
        let key = ("shop".into(), "p".into());
        Some(RequestPolicy { dry_run, ..RequestPolicy::deny_all(key, vec![targets.clone()]) })
    };
    let change = |change: &dyn Fn(&mut proto::RequestPolicy)| {
        let mut message = message();
        change(&mut message);
        message.encode_to_vec()
    };
    let unknown = change(&|m| m.action = 9);
    assert_eq!(stand_in(&unknown), denies(&service, false));
    let dry = change(&|m| (m.action, m.dry_run) = (9, true));
    assert_eq!(stand_in(&dry), denies(&service, true));
    let somewhere = change(&|m| m.targets = vec![proto::PolicyTarget { kind: None }]);
    assert_eq!(stand_in(&somewhere), denies(&PolicyTarget::Gateway, false));
    assert_eq!(stand_in(&[0xff; 9]), denies(&PolicyTarget::Gateway, false));
    let renamed = change(&|m| m.name = "q".into());
    assert_eq!(stand_in(&renamed), denies(&service, false));
    let audit = |m: &mut proto::RequestPolicy| {
        m.action = 2;
        m.rules = vec![proto::RequestRule { from: vec![Default::default()], ..Default::default() }];
    };
    assert_eq!(stand_in(&change(&audit)), None);
    let newer = change(&|m| (m.action, m.required_features) = (2, vec!["x".into()]));
    assert_eq!(stand_in(&newer), denies(&service, false));
    assert_eq!(denies(&service, false).unwrap().action, RequestAction::Deny);
}
