//! What a certificate authority signs, judged by a foreign program.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambit_identity::{CA_CERT, CA_KEY, Identities, LocalCa, LocalSource, ROOT_CERT};
use ambit_tls::{Revocations, accept, connect, control_client_config, control_server_config, x509};
use rustls_pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::fixtures::{HOUR, identity, openssl, openssl_available};

fn write_chain(dir: &Path, chain: &[String]) {
    let (roots, certificates) = chain.split_last().unwrap();
    fs::write(dir.join("roots.pem"), roots).unwrap();
    fs::write(dir.join("leaf.pem"), &certificates[0]).unwrap();
    fs::write(dir.join("between.pem"), certificates[1..].concat()).unwrap();
}

/// A request made by openssl, with a subject and names that nobody shall get.
fn foreign_request(dir: &Path, key: &str) -> String {
    openssl(
        dir,
        &format!(
            "req -new -nodes -newkey {key} -keyout req-key.pem -out req.pem -subj /CN=admin \
             -addext subjectAltName=URI:spiffe://cluster.local/ns/kube-system/sa/admin,DNS:admin \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign"
        ),
    )
    .unwrap();
    fs::read_to_string(dir.join("req.pem")).unwrap()
}

#[test]
fn a_leaf_is_as_istios_and_ignores_what_was_asked() {
    if !openssl_available() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let ca = LocalCa::open_or_create(&dir.path().join("ca"), now).unwrap();
    for key in ["ec:p256.pem", "ec:p384.pem", "rsa:2048", "ed25519"] {
        for (file, curve) in [("p256.pem", "P-256"), ("p384.pem", "P-384")] {
            let make = format!(
                "genpkey -genparam -algorithm EC -pkeyopt ec_paramgen_curve:{curve} -out {file}"
            );
            openssl(dir.path(), &make).unwrap();
        }
        let csr = foreign_request(dir.path(), key);
        let chain = ca.sign(&csr, &identity("web"), HOUR, now).unwrap();
        assert_eq!(chain.len(), 2);
        write_chain(dir.path(), &chain);
        openssl(dir.path(), "verify -x509_strict -purpose sslserver -CAfile roots.pem leaf.pem")
            .unwrap();
        openssl(dir.path(), "verify -x509_strict -purpose sslclient -CAfile roots.pem leaf.pem")
            .unwrap();
        let text = openssl(dir.path(), "x509 -in leaf.pem -noout -text").unwrap();
        let squeezed = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "Subject: Subject Public Key Info",
            "X509v3 Subject Alternative Name: critical URI:spiffe://cluster.local/ns/shop/sa/web X509v3",
            "X509v3 Key Usage: critical Digital Signature, Key Encipherment X509v3",
            "X509v3 Extended Key Usage: TLS Web Server Authentication, TLS Web Client Authentication",
            "X509v3 Authority Key Identifier:",
        ] {
            assert!(squeezed.contains(part), "{key}: {part:?} is not in {text}");
        }
        assert!(!text.contains("admin") && !text.contains("CA:TRUE"), "{text}");
        // Their key is in it: openssl finds certificate and key to be a pair.
        let public = openssl(dir.path(), "pkey -in req-key.pem -pubout").unwrap();
        assert_eq!(openssl(dir.path(), "x509 -in leaf.pem -noout -pubkey").unwrap(), public);
    }
}

#[test]
fn lifetimes_are_backdated_and_clamped() {
    let now = SystemTime::now();
    let ca = LocalCa::in_memory(now).unwrap();
    let csr = rcgen::CertificateParams::default()
        .serialize_request(&rcgen::KeyPair::generate().unwrap())
        .unwrap()
        .pem()
        .unwrap();
    let sign = |ttl, now| ca.sign(&csr, &identity("web"), ttl, now);
    let validity = |chain: Vec<String>| {
        x509::validity(&ambit_tls::pem::certificates(chain[0].as_bytes()).unwrap()[0]).unwrap()
    };
    for seconds in [2, 60, 3600, 86400] {
        let ttl = Duration::from_secs(seconds);
        let validity = validity(sign(ttl, now).unwrap());
        let started = now.duration_since(validity.not_before).unwrap();
        assert!((120..=121).contains(&started.as_secs()), "{started:?}");
        let lives = validity.not_after.duration_since(now).unwrap();
        assert!(lives >= ttl && lives <= ttl + Duration::from_secs(1), "{ttl:?}: {lives:?}");
    }
    for ttl in [100_000 * HOUR, Duration::MAX] {
        assert_eq!(validity(sign(ttl, now).unwrap()).not_after, ca.not_after());
    }
    assert!(sign(HOUR, ca.not_after()).is_err(), "an expired signer signs nothing");
    let serials: std::collections::HashSet<_> = (0..20)
        .map(|_| sign(HOUR, now).unwrap().remove(0))
        .map(|pem| {
            let der = ambit_tls::pem::certificates(pem.as_bytes()).unwrap();
            x509::summary(&der[0]).unwrap().serial_number
        })
        .collect();
    assert_eq!(serials.len(), 20, "one request signed twice gives two serial numbers");
}

/// The layout that test builds of upstream's proxy use for `FAKE_CA`: one RSA key, whose self-signed certificate
/// `O=cluster.local` is root and signer.
#[tokio::test]
async fn an_rsa_root_that_signs_by_itself_works() {
    if !openssl_available() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    openssl(dir.path(), &format!("genpkey -algorithm RSA -out {CA_KEY}")).unwrap();
    let root = format!(
        "req -x509 -new -key {CA_KEY} -days 1000 -out {ROOT_CERT} -subj /O=cluster.local -addext keyUsage=keyCertSign,cRLSign"
    );
    openssl(dir.path(), &root).unwrap();
    fs::copy(dir.path().join(ROOT_CERT), dir.path().join(CA_CERT)).unwrap();
    let now = SystemTime::now();
    // Two processes in effect: each opens the directory for itself.
    let obtain = async |account: &str| {
        let ca = Arc::new(LocalCa::open_or_create(dir.path(), now).unwrap());
        let identities = Identities::new(Arc::new(LocalSource::new(ca, HOUR)), Revocations::none());
        identities.obtain(&identity(account)).await.unwrap()
    };
    let (web, cart) = (obtain("web").await, obtain("cart").await);
    let (near, far) = tokio::io::duplex(64 * 1024);
    let expected = [identity("cart")];
    let (served, dialled) = tokio::join!(accept(&cart, far), connect(&web, &expected, near));
    assert!(served.is_ok() && dialled.is_ok());
    fs::write(dir.path().join("leaf.pem"), &web.pem().chain).unwrap();
    openssl(dir.path(), &format!("verify -CAfile {ROOT_CERT} leaf.pem")).unwrap();
}

#[tokio::test]
async fn a_fake_authority_is_trusted_by_nobody_else() {
    let obtain = async || {
        let source = LocalSource::fake(HOUR, SystemTime::now()).unwrap();
        let identities = Identities::new(Arc::new(source), Revocations::none());
        let one = identities.obtain(&identity("web")).await.unwrap();
        (one, identities.obtain(&identity("cart")).await.unwrap())
    };
    let ((web, cart), (_, stranger)) = (obtain().await, obtain().await);
    for (server, trusted) in [(cart, true), (stranger, false)] {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let expected = [identity("cart")];
        let (served, dialled) = tokio::join!(accept(&server, far), connect(&web, &expected, near));
        assert_eq!(served.is_ok() && dialled.is_ok(), trusted);
    }
}

#[tokio::test]
async fn the_control_planes_own_certificate() {
    let now = SystemTime::now();
    let ca = LocalCa::in_memory(now).unwrap();
    let names = ["istiod.istio-system.svc".to_owned(), "127.0.0.1".to_owned()];
    let (chain, key) = ca.server_certificate(&names, HOUR, now).unwrap();
    let acceptor = TlsAcceptor::from(control_server_config(&chain, &key).unwrap());
    let root = ambit_tls::RootSource::Pem(ca.roots_pem().to_owned());
    let connector = TlsConnector::from(control_client_config(&root, None).unwrap());
    for (name, right) in [("istiod.istio-system.svc", true), ("127.0.0.1", true), ("other", false)]
    {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from(name).unwrap();
        let (served, dialled) = tokio::join!(acceptor.accept(far), connector.connect(name, near));
        assert_eq!(served.is_ok() && dialled.is_ok(), right);
    }
    assert!(ca.server_certificate(&["no\u{fc}".to_owned()], HOUR, now).is_err());
}
