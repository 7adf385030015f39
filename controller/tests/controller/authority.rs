//! Certificates, and what happens when roots change.

use std::time::SystemTime;

use ambit_identity::{CertificateSource as _, FetchError, LocalCa};
use ambit_model::Identity;
use ambit_tls::{CredentialPem, pem};

use crate::harness::{Files, Running, eventually, pod};

fn web() -> Identity {
    Identity::new("cluster.local", "shop", "web")
}

async fn controller() -> Running {
    let files = Files::new();
    files.replace("objects/web.yaml", &pod("web", "10.0.0.1", "node-a"));
    Running::start(files, &[]).await
}

fn roots(credential: &CredentialPem) -> usize {
    pem::certificates(credential.roots.as_bytes()).expect("roots").len()
}

#[tokio::test]
async fn a_node_gets_its_pods_certificates_while_they_are_there() {
    let controller = controller().await;
    let node_a = controller.certificates("token-of-node-a");
    let node_b = controller.certificates("token-of-node-b");
    let credential = node_a.fetch(&web()).await.expect("a certificate");
    assert_eq!(roots(&credential), 1);
    let refused = |result: Result<CredentialPem, FetchError>| {
        matches!(result, Err(FetchError::Refused { .. }))
    };
    assert!(refused(node_b.fetch(&web()).await));
    assert!(refused(controller.certificates("no-such-token").fetch(&web()).await));

    // The pod moves.
    controller.files.replace("objects/web.yaml", &pod("web", "10.0.0.1", "node-b"));
    eventually(|| async { node_b.fetch(&web()).await.is_ok() }).await;
    assert!(refused(node_a.fetch(&web()).await));
}

#[tokio::test]
async fn a_token_that_is_taken_away_counts_no_more() {
    let controller = controller().await;
    let node_a = controller.certificates("token-of-node-a");
    node_a.fetch(&web()).await.expect("a certificate");
    let rest = r#"{"token": "new-token-of-a", "node": "node-a", "serviceAccount": "istio-system/ztunnel"}"#;
    controller.files.replace("tokens", rest);
    eventually(|| async { node_a.fetch(&web()).await.is_err() }).await;
    controller.certificates("new-token-of-a").fetch(&web()).await.expect("a certificate");
}

#[tokio::test]
async fn a_root_is_replaced_without_anybody_noticing() {
    let controller = controller().await;
    let files = &controller.files;
    let client = controller.certificates("token-of-node-a");
    let read = |name: &str| std::fs::read_to_string(files.path(name)).expect("a file");
    let old = client.fetch(&web()).await.expect("a certificate");

    // The new authority's root is added first: everybody learns to trust it.
    LocalCa::open_or_create(&files.path("next"), SystemTime::now()).expect("an authority");
    let both = read("ca/root-cert.pem") + &read("next/root-cert.pem");
    files.replace("ca/root-cert.pem", &both);
    eventually(|| async { client.fetch(&web()).await.is_ok_and(|new| roots(&new) == 2) }).await;
    assert_eq!(read("root-cert.pem"), both);
    let between = client.fetch(&web()).await.expect("a certificate");
    assert!(between.chain != old.chain);

    // Then it signs; between the two files nothing fits and the last good one serves on.
    files.replace("ca/ca-key.pem", &read("next/ca-key.pem"));
    files.replace("ca/ca-cert.pem", &read("next/ca-cert.pem"));
    let new_signer = pem::certificates(read("next/ca-cert.pem").as_bytes()).expect("a signer");
    eventually(|| async {
        let now = client.fetch(&web()).await.expect("a certificate");
        issued_by(&now, &new_signer[0]) && roots(&now) == 2
    })
    .await;

    // At last the old root goes.
    files.replace("ca/root-cert.pem", &read("next/root-cert.pem"));
    eventually(|| async { client.fetch(&web()).await.is_ok_and(|new| roots(&new) == 1) }).await;
    assert_eq!(read("root-cert.pem"), read("next/root-cert.pem"));
}

/// Whether the leaf of `credential` is signed by `signer`.
fn issued_by(credential: &CredentialPem, signer: &[u8]) -> bool {
    let chain = pem::certificates(credential.chain.as_bytes()).expect("a chain");
    let parse = |der: &[u8]| -> (Vec<u8>, Vec<u8>) {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).expect("a certificate");
        let key = |oid: &[u8]| oid.to_vec();
        let authority = certificate.extensions().iter().find_map(|e| match e.parsed_extension() {
            x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(a) => {
                a.key_identifier.as_ref().map(|k| key(k.0))
            }
            _ => None,
        });
        let own = certificate.extensions().iter().find_map(|e| match e.parsed_extension() {
            x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(k) => Some(key(k.0)),
            _ => None,
        });
        (authority.unwrap_or_default(), own.unwrap_or_default())
    };
    let (authority, own) = (parse(&chain[0]).0, parse(signer).1);
    assert!(!authority.is_empty() && !own.is_empty(), "certificates name their keys");
    authority == own
}

#[tokio::test]
async fn a_broken_authority_leaves_the_last_good_one_in_force() {
    let controller = controller().await;
    let files = &controller.files;
    let client = controller.certificates("token-of-node-a");
    client.fetch(&web()).await.expect("a certificate");
    files.replace("ca/root-cert.pem", "no certificate");
    std::fs::remove_file(files.path("ca/ca-key.pem")).unwrap();
    eventually(|| async {
        controller.metric("ambit_controller_authority_reload_failures_total").await >= 1.0
    })
    .await;
    assert!(!files.path("ca/ca-key.pem").exists(), "and none was made in its place");
    client.fetch(&web()).await.expect("a certificate");
}
