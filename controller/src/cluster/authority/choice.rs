//! Which Secret counts, and what is read of it. Pure.

use ambit_identity::{CA_CERT, CA_KEY, CERT_CHAIN, CaFiles, ROOT_CERT};
use k8s_openapi::api::core::v1::Secret;

/// The keys of Secrets of the type `kubernetes.io/tls`, as cert-manager fills them.
const TLS_CERT: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";
const TLS_ROOTS: &str = "ca.crt";

/// Where the authority comes from. `Err` says what is wrong with the Secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// From the Secret that was plugged in, which has to be right: another authority in its place would split the mesh.
    PluggedIn(Result<CaFiles, String>),
    /// From the Secret that a controller made.
    SelfMade(Result<CaFiles, String>),
    /// There is none yet.
    None,
}

/// Chooses between the Secret that may have been plugged in and the one that a controller may have made.
pub(super) fn choose(plugged_in: Option<&Secret>, self_made: Option<&Secret>) -> Choice {
    match (plugged_in, self_made) {
        (Some(secret), _) => Choice::PluggedIn(plugged(secret)),
        (None, Some(secret)) => Choice::SelfMade(made(secret)),
        (None, None) => Choice::None,
    }
}

fn plugged(secret: &Secret) -> Result<CaFiles, String> {
    let has = |name| matches!(text(secret, name), Ok(Some(_)));
    if has(TLS_KEY) && !has(CA_KEY) {
        return Ok(CaFiles {
            roots: needed(secret, TLS_ROOTS)?,
            signer: needed(secret, TLS_CERT)?,
            key: needed(secret, TLS_KEY)?,
            chain: None,
        });
    }
    Ok(CaFiles {
        roots: needed(secret, ROOT_CERT)?,
        signer: needed(secret, CA_CERT)?,
        key: needed(secret, CA_KEY)?,
        chain: text(secret, CERT_CHAIN)?,
    })
}

/// Secrets that istiod made hold no roots of their own: the signer is the root.
fn made(secret: &Secret) -> Result<CaFiles, String> {
    let signer = needed(secret, CA_CERT)?;
    Ok(CaFiles {
        roots: text(secret, ROOT_CERT)?.unwrap_or_else(|| signer.clone()),
        key: needed(secret, CA_KEY)?,
        chain: text(secret, CERT_CHAIN)?,
        signer,
    })
}

fn needed(secret: &Secret, name: &str) -> Result<String, String> {
    text(secret, name)?.ok_or_else(|| {
        format!(
            "{name} is missing; it needs {ROOT_CERT}, {CA_CERT} and {CA_KEY}, or else {TLS_CERT}, {TLS_KEY} and {TLS_ROOTS}"
        )
    })
}

/// A key's text; empty is as good as absent.
fn text(secret: &Secret, name: &str) -> Result<Option<String>, String> {
    let Some(bytes) = secret.data.as_ref().and_then(|data| data.get(name)) else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes.0.clone()).map_err(|_| format!("{name} is not text"))?;
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(keys: &[&str]) -> Secret {
        let pair = |key: &&str| ((*key).to_owned(), ByteString(format!("of {key}").into_bytes()));
        Secret { data: Some(keys.iter().map(pair).collect()), ..Secret::default() }
    }

    fn of(key: &str) -> String {
        format!("of {key}")
    }

    #[test]
    fn what_was_plugged_in_comes_first_and_is_never_passed_over() {
        let own = secret(&["ca-cert.pem", "ca-key.pem"]);
        let full = secret(&["root-cert.pem", "cert-chain.pem", "ca-cert.pem", "ca-key.pem"]);
        let Choice::PluggedIn(Ok(files)) = choose(Some(&full), Some(&own)) else { panic!() };
        assert_eq!(files.roots, of("root-cert.pem"));
        assert_eq!(files.chain, Some(of("cert-chain.pem")));

        let half = secret(&["ca-cert.pem", "ca-key.pem"]);
        let Choice::PluggedIn(Err(reason)) = choose(Some(&half), Some(&own)) else { panic!() };
        assert!(reason.contains("root-cert.pem is missing"), "{reason}");
        assert_eq!(choose(None, None), Choice::None);
    }

    #[test]
    fn the_keys_of_cert_manager_are_understood() {
        let Choice::PluggedIn(Ok(files)) =
            choose(Some(&secret(&["tls.crt", "tls.key", "ca.crt"])), None)
        else {
            panic!()
        };
        assert_eq!((files.signer, files.key), (of("tls.crt"), of("tls.key")));
        assert_eq!((files.roots, files.chain), (of("ca.crt"), None));
    }

    #[test]
    fn a_root_of_istiod_is_its_own_root() {
        let Choice::SelfMade(Ok(files)) =
            choose(None, Some(&secret(&["ca-cert.pem", "ca-key.pem"])))
        else {
            panic!()
        };
        assert_eq!(files.roots, of("ca-cert.pem"));
        assert_eq!(files.chain, None);
    }
}
