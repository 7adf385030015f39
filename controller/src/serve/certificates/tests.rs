//! Who gets a certificate, and who does not.

use std::time::Instant;

use ambit_tls::{pem, x509};
use prost_types::{Struct, Value};
use rcgen::{CertificateParams, KeyPair};
use tonic::Code;

use super::*;
use crate::index::{Index, Settings};
use crate::serve::{AuthorityFiles, FileTokens, Publisher};
use crate::watch::Files;

const TOKENS: &str = r#"{"token": "token-of-a", "node": "node-a", "serviceAccount": "istio-system/ztunnel"}
{"token": "token-of-b", "node": "node-b", "serviceAccount": "istio-system/ztunnel"}
{"token": "token-of-w", "serviceAccount": "shop/waypoint"}
"#;

struct Fixture {
    service: Certificates,
    registry: prometheus_client::registry::Registry,
    _publisher: Publisher,
    _dir: tempfile::TempDir,
}

fn pod(name: &str, phase: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{nodeName: node-a, serviceAccountName: {name}}}\nstatus: {{phase: {phase}}}\n"
    )
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    std::fs::write(&path, TOKENS).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let files = AuthorityFiles {
        dir: dir.path().join("ca"),
        root_out: None,
        names: vec!["localhost".to_owned()],
    };
    let mut index = Index::new(Settings::default());
    let yaml = [pod("web", "Running"), pod("early", "Pending"), pod("dead", "Failed")].concat();
    index.apply(Files::default().read("f.yaml".into(), Ok(&yaml)));
    let publisher = Publisher::new(Instant::now());
    publisher.publish(index.snapshot().clone(), Instant::now(), |_| ());
    let mut registry = prometheus_client::registry::Registry::default();
    let service = Certificates {
        authority: Arc::new(files.open(SystemTime::now()).unwrap()),
        tokens: Tokens::File(FileTokens::follow(&path).unwrap()),
        published: publisher.subscribe(),
        trust_domain: "cluster.local".into(),
        default_ttl: Duration::from_secs(3600),
        metrics: Metrics::register(&mut registry),
    };
    Fixture { service, registry, _publisher: publisher, _dir: dir }
}

fn csr() -> String {
    let key = KeyPair::generate().unwrap();
    CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap()
}

fn request(token: &str, identity: Option<Value>, csr: String) -> Request<IstioCertificateRequest> {
    let metadata = identity
        .map(|value| Struct { fields: [("ImpersonatedIdentity".to_owned(), value)].into() });
    let mut request = Request::new(IstioCertificateRequest { csr, validity_duration: 0, metadata });
    if !token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

fn text(value: &str) -> Option<Value> {
    Some(Value { kind: Some(Kind::StringValue(value.to_owned())) })
}

impl Fixture {
    fn counted(&self, line: &str) -> bool {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text.lines().any(|l| l == line)
    }
}

#[tokio::test]
async fn a_node_gets_certificates_for_its_pods_and_for_nobody_else() {
    let fixture = fixture();
    let web = "spiffe://cluster.local/ns/shop/sa/web";
    let number = Some(Value { kind: Some(Kind::NumberValue(1.0)) });
    let table = [
        ("token-of-a", text(web), None),
        ("token-of-a", text("spiffe://cluster.local/ns/shop/sa/early"), None),
        ("", text(web), Some("token")),
        ("token-of-c", text(web), Some("token")),
        ("token-of-b", text(web), Some("not_on_node")),
        ("token-of-a", text("spiffe://cluster.local/ns/shop/sa/dead"), Some("not_on_node")),
        ("token-of-a", text("spiffe://cluster.local/ns/other/sa/web"), Some("not_on_node")),
        ("token-of-a", text("spiffe://cluster.local/ns/shop/sa/db"), Some("not_on_node")),
        ("token-of-a", text("spiffe://elsewhere/ns/shop/sa/web"), Some("trust_domain")),
        ("token-of-a", text("shop/web"), Some("identity")),
        ("token-of-a", text(""), Some("identity")),
        ("token-of-a", number, Some("identity")),
        // Its own identity is nobody's on the node either.
        ("token-of-a", None, Some("not_on_node")),
        // Who is no node proxy is nobody but itself.
        ("token-of-w", text("spiffe://cluster.local/ns/shop/sa/waypoint"), None),
        ("token-of-w", text(web), Some("not_trusted")),
    ];
    for (token, identity, refused) in table {
        let answer =
            fixture.service.create_certificate(request(token, identity.clone(), csr())).await;
        match (answer, refused) {
            (Ok(answer), None) => {
                let chain = answer.into_inner().cert_chain;
                let leaf = &pem::certificates(chain[0].as_bytes()).unwrap()[0];
                let Some(Kind::StringValue(wanted)) = identity.unwrap().kind else { panic!() };
                assert_eq!(x509::first_uri(leaf).unwrap(), Some(wanted));
                assert!(chain.len() > 1, "the last one holds the roots");
            }
            (Err(status), Some(reason)) => {
                assert_eq!(status.code(), Code::Unauthenticated, "{token} {identity:?}");
                let line =
                    format!("ambit_controller_certificates_refused_total{{reason=\"{reason}\"}}");
                assert!((1..20).any(|n| fixture.counted(&format!("{line} {n}"))), "{line}");
            }
            (answer, refused) => panic!("{token} {identity:?}: {answer:?} {refused:?}"),
        }
    }
    assert!(fixture.counted("ambit_controller_certificates_issued_total 3"));
}

#[tokio::test]
async fn bad_requests_are_told_apart_from_bad_callers() {
    let fixture = fixture();
    let web = || text("spiffe://cluster.local/ns/shop/sa/web");
    let mut long = request("token-of-a", web(), csr());
    long.get_mut().validity_duration = 91 * 24 * 3600;
    let table = [
        (request("token-of-a", web(), "nonsense".into()), "request"),
        (request("token-of-a", web(), String::new()), "request"),
        (long, "lifetime"),
    ];
    for (request, reason) in table {
        let status = fixture.service.create_certificate(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{reason}");
    }
    assert!(fixture.counted("ambit_controller_certificates_refused_total{reason=\"request\"} 2"));
    assert!(fixture.counted("ambit_controller_certificates_refused_total{reason=\"lifetime\"} 1"));
}

#[test]
fn lifetimes_have_a_default_and_an_end() {
    let default = Duration::from_secs(3600);
    let seconds = |asked| lifetime(asked, default).ok().map(|ttl| ttl.as_secs());
    assert_eq!(seconds(0), Some(3600));
    assert_eq!(seconds(-5), Some(3600));
    assert_eq!(seconds(60), Some(60));
    assert_eq!(seconds(90 * 24 * 3600), Some(90 * 24 * 3600));
    assert_eq!(seconds(90 * 24 * 3600 + 1), None);
    assert_eq!(seconds(i64::MAX), None);
}
