//! TLS of the control plane.

use ambit_tls::{ControlError, RootSource, control_client_config, control_server_config};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::pki::Authority;

/// A self-signed server for `name`: `(certificate, key)`.
fn server(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (ambit_tls::pem::encode("CERTIFICATE", certificate.der()), key.serialize_pem())
}

async fn works(root: &RootSource, alt: Option<&str>, dialled: &'static str) -> bool {
    let (certificate, key) = server("istiod.istio-system.svc");
    let root = match root {
        RootSource::Pem(text) if text.is_empty() => RootSource::Pem(certificate.clone()),
        other => other.clone(),
    };
    let acceptor = TlsAcceptor::from(control_server_config(&certificate, &key).unwrap());
    let connector = TlsConnector::from(control_client_config(&root, alt).unwrap());
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(dialled).unwrap();
    let (served, connected) = tokio::join!(acceptor.accept(far), connector.connect(name, near));
    if let Ok(stream) = &connected {
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    }
    served.is_ok() && connected.is_ok()
}

#[tokio::test]
async fn the_dialled_name_or_the_alternative_one_is_needed() {
    let own = RootSource::Pem(String::new());
    assert!(works(&own, None, "istiod.istio-system.svc").await);
    assert!(!works(&own, None, "localhost").await);
    assert!(works(&own, Some("istiod.istio-system.svc"), "localhost").await);
    assert!(works(&own, Some("elsewhere.svc"), "istiod.istio-system.svc").await);
    assert!(!works(&own, Some("elsewhere.svc"), "localhost").await);
    let other = RootSource::Pem(Authority::root("other").pem);
    assert!(!works(&other, None, "istiod.istio-system.svc").await);
}

#[test]
fn mistakes_are_named() {
    assert_eq!(RootSource::parse("SYSTEM"), RootSource::System);
    assert_eq!(RootSource::parse("/a/b.pem"), RootSource::Path("/a/b.pem".into()));
    let text = "-----BEGIN CERTIFICATE-----";
    assert_eq!(RootSource::parse(text), RootSource::Pem(text.to_owned()));

    let missing = RootSource::Path("/nonexistent/root.pem".into());
    let error = control_client_config(&missing, None).unwrap_err();
    assert!(matches!(error, ControlError::Read { .. }), "{error}");
    assert!(error.to_string().contains("/nonexistent/root.pem"));
    let key = RootSource::Pem(KeyPair::generate().unwrap().serialize_pem());
    assert!(matches!(control_client_config(&key, None), Err(ControlError::Roots { .. })));
    let good = RootSource::Pem(server("x").0);
    assert!(matches!(
        control_client_config(&good, Some("not a name")),
        Err(ControlError::HostName { .. })
    ));
    let ((certificate, _), (_, other_key)) = (server("x"), server("x"));
    assert!(matches!(
        control_server_config(&certificate, &other_key),
        Err(ControlError::Config(_))
    ));
    assert!(matches!(control_server_config("", &other_key), Err(ControlError::Certificate(_))));
    assert!(matches!(control_server_config(&certificate, ""), Err(ControlError::Key(_))));
}
