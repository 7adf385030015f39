//! Hostile signing requests.

use std::time::SystemTime;

use ambit_identity::{CsrError, LocalCa, SignError};
use ambit_tls::pem::encode;
use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use crate::fixtures::{HOUR, identity, openssl, openssl_available};

fn sign(csr: &str) -> Result<Vec<String>, SignError> {
    let now = SystemTime::now();
    LocalCa::in_memory(now).unwrap().sign(csr, &identity("web"), HOUR, now)
}

fn refused(csr: &str) -> CsrError {
    match sign(csr) {
        Err(SignError::Request(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn good() -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    CertificateParams::default().serialize_request(&key).unwrap().der().to_vec()
}

fn csr(der: &[u8]) -> String {
    encode("CERTIFICATE REQUEST", der)
}

#[test]
fn each_kind_is_refused_by_name() {
    let der = good();
    assert!(sign(&csr(&der)).is_ok());
    assert!(matches!(refused(""), CsrError::Pem(_)));
    assert!(matches!(refused("-----BEGIN CERTIFICATE REQUEST-----\n?"), CsrError::Pem(_)));
    assert!(matches!(refused(&encode("CERTIFICATE", &der)), CsrError::Pem(_)));
    assert!(matches!(refused(&csr(&der).repeat(2)), CsrError::Pem(_)), "two at once");
    assert!(matches!(refused(&csr(&[0x30; 20_000])), CsrError::Pem(_)), "too large");
    assert!(matches!(refused(&csr(b"junk")), CsrError::Malformed(_)));
    assert!(
        matches!(refused(&csr(&[&der[..], b"x"].concat())), CsrError::Malformed(_)),
        "trailing"
    );
    assert!(matches!(refused(&csr(&der[..der.len() - 1])), CsrError::Malformed(_)), "cut off");
    let mut forged = der.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert!(matches!(refused(&csr(&forged)), CsrError::Signature));
    // Nesting that would exhaust the stack of a naive parser.
    let deep = [0x30, 0x80].repeat(5_000);
    assert!(matches!(refused(&csr(&deep)), CsrError::Malformed(_)));
}

#[test]
fn weak_keys_are_not_certified() {
    if !openssl_available() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (make, what) in [("rsa:1024", "RSA 1024"), ("rsa:512", "RSA 512"), ("ed448", "Ed448")] {
        let make = format!("req -new -nodes -newkey {make} -keyout k.pem -out r.pem -subj /CN=x");
        openssl(dir.path(), &make).unwrap();
        let text = std::fs::read_to_string(dir.path().join("r.pem")).unwrap();
        let error = refused(&text);
        assert!(matches!(error, CsrError::Key | CsrError::Signature), "{what}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_text_is_an_error(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(sign(&text).is_err());
        prop_assert!(sign(&csr(&bytes)).is_err());
    }

    #[test]
    fn no_request_is_signed_that_was_changed_on_the_way(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut der = good();
        let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
        let signed = request.certification_request_info.raw;
        let start = signed.as_ptr() as usize - der.as_ptr() as usize;
        let at = start + at.index(signed.len());
        der[at] ^= flip;
        prop_assert!(sign(&csr(&der)).is_err(), "byte {at} of {}", der.len());
    }
}
