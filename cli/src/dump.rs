//! What a ztunnel says of its certificates, ours or Istio's: the part of `config_dump` that both print (protocol.md 7).

use std::time::SystemTime;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The port of ztunnel's diagnostics, on the loopback of its pod.
pub(crate) const ADMIN_PORT: u16 = 15000;
/// The path of the dump.
pub(crate) const PATH: &str = "/config_dump";

/// The certificate of one identity.
#[derive(Debug)]
pub(crate) struct Held {
    /// Whose it is.
    pub(crate) identity: String,
    /// `Available`, or what is wrong.
    pub(crate) state: String,
    /// The leaf, then intermediates; empty as long as there is none.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// Whom its owner trusts.
    pub(crate) roots: Vec<CertificateDer<'static>>,
    /// From when to when the leaf counts.
    pub(crate) period: Option<(SystemTime, SystemTime)>,
}

#[derive(Deserialize)]
struct Raw {
    certificates: Vec<RawHeld>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawHeld {
    identity: String,
    state: String,
    #[serde(default)]
    cert_chain: Vec<RawCertificate>,
    #[serde(default)]
    root_certs: Vec<RawCertificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCertificate {
    pem: String,
    valid_from: String,
    expiration_time: String,
}

/// The certificates in a dump.
///
/// # Errors
/// It is none that we know.
pub(crate) fn certificates(dump: &[u8]) -> Result<Vec<Held>> {
    let raw: Raw = serde_json::from_slice(dump).context("config_dump is not understood")?;
    raw.certificates.into_iter().map(RawHeld::read).collect()
}

// === impl RawHeld ===

impl RawHeld {
    fn read(self) -> Result<Held> {
        let all = |list: &[RawCertificate]| list.iter().map(RawCertificate::der).collect();
        let period = self.cert_chain.first().map(RawCertificate::period).transpose()?;
        let (chain, roots): (Result<Vec<_>>, Result<Vec<_>>) =
            (all(&self.cert_chain), all(&self.root_certs));
        Ok(Held {
            chain: chain?,
            roots: roots?,
            period,
            identity: self.identity,
            state: self.state,
        })
    }
}

// === impl RawCertificate ===

impl RawCertificate {
    /// The PEM is in base64 once more.
    fn der(&self) -> Result<CertificateDer<'static>> {
        let pem = STANDARD.decode(&self.pem).context("a certificate in config_dump")?;
        let all = ambit_tls::pem::certificates(&pem).context("a certificate in config_dump")?;
        all.into_iter().next().context("a certificate in config_dump is empty")
    }

    fn period(&self) -> Result<(SystemTime, SystemTime)> {
        let at = |text: &str| {
            let date = OffsetDateTime::parse(text, &Rfc3339);
            date.map(SystemTime::from).with_context(|| format!("the date {text:?} in config_dump"))
        };
        Ok((at(&self.valid_from)?, at(&self.expiration_time)?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ambit_identity::CaFiles;
    use ambit_tls::pem;
    use serde_json::json;

    use super::*;

    #[test]
    fn certificates_are_read_as_they_are_shown() {
        let root = CaFiles::make(SystemTime::now()).unwrap().roots;
        let shown = json!({
            "pem": STANDARD.encode(&root), "serialNumber": "1",
            "validFrom": "1970-01-01T00:00:10Z", "expirationTime": "1970-01-01T00:00:20Z",
        });
        let dump = json!({"workloads": [], "certificates": [
            {"identity": "a", "state": "Available", "certChain": [shown], "rootCerts": [shown, shown]},
            {"identity": "b", "state": "Initializing", "certChain": [], "rootCerts": []},
        ]});
        let held = certificates(dump.to_string().as_bytes()).unwrap();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(held[0].period, Some((at(10), at(20))));
        assert_eq!(held[0].chain, pem::certificates(root.as_bytes()).unwrap());
        assert_eq!((held[0].roots.len(), held[1].roots.len()), (2, 0));
        assert!(certificates(b"{}").is_err());
    }
}
