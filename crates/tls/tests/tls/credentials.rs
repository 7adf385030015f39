//! What makes a credential, and how each mistake in one is named.

use std::time::SystemTime;

use ambit_tls::{Credential, CredentialError, CredentialPem, Revocations, pem};
use proptest::prelude::*;
use rcgen::KeyPair;

use crate::pki::{Authority, HOUR, Leaf, build, identity};

fn refused(pem: CredentialPem) -> CredentialError {
    Credential::from_pem(pem, &Revocations::none()).expect_err("must be refused")
}

#[test]
fn each_mistake_has_its_name() {
    let root = Authority::root("cluster.local");
    let good = root.issue(&Leaf::of(&identity("shop", "web")));
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    let chain = |chain: &str| refused(CredentialPem { chain: chain.to_owned(), ..good.clone() });
    let key = |key: &str| refused(CredentialPem { key: key.to_owned(), ..good.clone() });
    let roots = |roots: &str| refused(CredentialPem { roots: roots.to_owned(), ..good.clone() });
    let junk = pem::encode("CERTIFICATE", b"junk");

    assert!(matches!(chain(""), CredentialError::Chain(_)));
    assert!(matches!(chain(&good.key), CredentialError::Chain(_)));
    assert!(matches!(chain("-----BEGIN CERTIFICATE-----\n!"), CredentialError::Chain(_)));
    assert!(matches!(chain(&"x".repeat(2 << 20)), CredentialError::Chain(_)));
    assert!(matches!(chain(&junk), CredentialError::Certificate { index: 0, .. }));
    let second = format!("{}{junk}", good.chain);
    assert!(matches!(chain(&second), CredentialError::Certificate { index: 1, .. }));
    assert!(matches!(chain(&root.pem), CredentialError::NoIdentity { found: None }));
    assert!(matches!(key(""), CredentialError::Key(_)));
    assert!(matches!(key(&good.chain), CredentialError::Key(_)));
    assert!(matches!(key(&good.key.repeat(2)), CredentialError::Key(_)));
    assert!(matches!(key(&pem::encode("PRIVATE KEY", b"x")), CredentialError::UnusableKey(_)));
    assert!(matches!(key(&other_key), CredentialError::KeyMismatch));
    assert!(matches!(roots(""), CredentialError::Roots(_)));
    assert!(matches!(roots(&junk.repeat(2)), CredentialError::NoUsableRoot(2)));
    let _ = build(CredentialPem { roots: format!("{junk}{}", good.roots), ..good });
}

#[test]
fn the_first_name_has_to_be_an_identity() {
    let root = Authority::root("cluster.local");
    let web = identity("shop", "web");
    for first in ["https://example.com", "spiffe://cluster.local/ns/shop", "spiffe://a/b/c/d/e/f"] {
        let mut leaf = Leaf::of(&web);
        leaf.uris.insert(0, first.to_owned());
        let error = refused(root.issue(&leaf));
        let named =
            matches!(&error, CredentialError::NoIdentity { found: Some(uri) } if uri == first);
        assert!(named, "{error}");
    }
}

#[test]
fn accessors_tell_what_went_in() {
    let root = Authority::root("cluster.local");
    let signer = root.intermediate("signer", 5);
    let web = identity("shop", "web");
    let leaf = Leaf::of(&web);
    let credential = build(signer.issue(&leaf));
    assert_eq!(*credential.identity(), web);
    assert_eq!((credential.chain().len(), credential.roots().len()), (2, 1));
    let serials: Vec<_> =
        credential.cert_chain().into_iter().map(|summary| summary.serial_number).collect();
    assert_eq!(serials, ["77", "5"]);
    assert_eq!(credential.root_certs().len(), 1);
    let now = SystemTime::now();
    assert!(credential.is_valid_at(now));
    assert!(!credential.is_valid_at(now + 2 * HOUR));
    assert!(!credential.is_valid_at(now - 2 * HOUR));
    assert!(credential.verify_at(now).is_ok());
    assert_eq!(credential.verify_at(now + 2 * HOUR).unwrap_err().reason(), "expired");
    let stranger =
        CredentialPem { roots: Authority::root("cluster.local").pem, ..signer.issue(&leaf) };
    assert_eq!(build(stranger).verify_at(now).unwrap_err().reason(), "untrusted");
    let shown = format!("{credential:?} {:?}", credential.pem());
    assert!(!shown.contains("PRIVATE"), "{shown}");
    let json = serde_json::to_value(&credential.cert_chain()[0]).unwrap();
    for key in ["pem", "serialNumber", "validFrom", "expirationTime"] {
        assert!(json[key].is_string(), "{json}");
    }
}

#[test]
fn pem_is_written_as_it_is_read() {
    let root = Authority::root("cluster.local");
    let der = pem::certificates(root.pem.as_bytes()).unwrap();
    assert_eq!(pem::encode_certificates(&der), root.pem);
    assert!(root.pem.lines().all(|line| line.len() <= 64));
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        prop_assert!(pem::certificates(&bytes).is_err());
        prop_assert!(pem::private_key(&bytes).is_err());
        let certificate = rustls_pki_types::CertificateDer::from(bytes);
        prop_assert!(ambit_tls::x509::validity(&certificate).is_err());
        prop_assert!(!ambit_tls::RevocationList::default().revokes(&[certificate]));
    }

    #[test]
    fn a_damaged_certificate_never_panics(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let root = Authority::root("cluster.local");
        let list = ambit_tls::RevocationList::from_pem(root.crl(&[77]).as_bytes()).unwrap();
        let good = root.issue(&Leaf::of(&identity("shop", "web")));
        let mut der = pem::certificates(good.chain.as_bytes()).unwrap().remove(0).to_vec();
        let at = at.index(der.len());
        der[at] = value;
        list.revokes(&[der.clone().into()]);
        let damaged = CredentialPem { chain: pem::encode("CERTIFICATE", &der), ..good };
        if let Ok(credential) = Credential::from_pem(damaged, &Revocations::none()) {
            let _ = credential.cert_chain();
            let _ = credential.verify_at(SystemTime::now());
        }
    }
}
