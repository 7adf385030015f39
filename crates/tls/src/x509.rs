//! What this mesh reads from a certificate: its names, its validity and its serial number.

use std::time::{Duration, SystemTime};

use ambit_model::Identity;
use rustls_pki_types::CertificateDer;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::pem;

/// The most URI names of one certificate that are looked at; no workload has more than a few.
const MAX_NAMES: usize = 64;

/// The longest URI name that is looked at, in bytes: a trust domain of 255 and two Kubernetes names of 253 fit.
const MAX_NAME_BYTES: usize = 1024;

/// A certificate that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("not an X.509 certificate: {0}")]
pub struct X509Error(String);

/// The period in which a certificate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: SystemTime,
    /// The last moment.
    pub not_after: SystemTime,
}

/// One certificate as `config_dump` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSummary {
    /// The PEM text in base64 once more, which is how Istio's tools read it.
    pub pem: String,
    /// Decimal.
    pub serial_number: String,
    /// RFC 3339.
    pub valid_from: String,
    /// RFC 3339.
    pub expiration_time: String,
}

/// When `certificate` counts.
///
/// # Errors
/// DER that is no certificate.
pub fn validity(certificate: &CertificateDer<'_>) -> Result<Validity, X509Error> {
    let parsed = parse(certificate)?;
    let at = |seconds: i64| match u64::try_from(seconds) {
        Ok(after) => SystemTime::UNIX_EPOCH + Duration::from_secs(after),
        Err(_) => SystemTime::UNIX_EPOCH,
    };
    Ok(Validity {
        not_before: at(parsed.validity.not_before.timestamp()),
        not_after: at(parsed.validity.not_after.timestamp()),
    })
}

/// The first URI name of `certificate`, which is where a certificate authority puts the identity that it vouches for.
///
/// # Errors
/// DER that is no certificate.
pub fn first_uri(certificate: &CertificateDer<'_>) -> Result<Option<String>, X509Error> {
    Ok(uris(&parse(certificate)?).next().map(str::to_owned))
}

/// Whether `uri` is among the URI names of `certificate`.
pub(crate) fn has_uri(certificate: &CertificateDer<'_>, uri: &str) -> bool {
    parse(certificate).is_ok_and(|parsed| uris(&parsed).any(|name| name == uri))
}

/// The subject's public key as DER (`SubjectPublicKeyInfo`).
///
/// # Errors
/// DER that is no certificate.
pub fn public_key(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, X509Error> {
    Ok(parse(certificate)?.public_key().raw.to_vec())
}

/// Every SPIFFE identity of a workload among the URI names of `certificate`, in order.
pub(crate) fn identities(certificate: &CertificateDer<'_>) -> Vec<Identity> {
    let Ok(parsed) = parse(certificate) else {
        return Vec::new();
    };
    uris(&parsed).filter_map(|uri| uri.parse().ok()).collect()
}

/// The certificate as `config_dump` shows it.
///
/// # Errors
/// DER that is no certificate, or dates that RFC 3339 cannot write.
pub fn summary(certificate: &CertificateDer<'_>) -> Result<CertificateSummary, X509Error> {
    let parsed = parse(certificate)?;
    let date = |at: OffsetDateTime| at.format(&Rfc3339).map_err(|e| X509Error(e.to_string()));
    Ok(CertificateSummary {
        pem: STANDARD.encode(pem::encode("CERTIFICATE", certificate)),
        serial_number: parsed.serial.to_string(),
        valid_from: date(parsed.validity.not_before.to_datetime())?,
        expiration_time: date(parsed.validity.not_after.to_datetime())?,
    })
}

pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, X509Error> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok((rest, _)) => Err(X509Error(format!("{} bytes follow it", rest.len()))),
        Err(error) => Err(X509Error(error.to_string())),
    }
}

fn uris<'a>(certificate: &'a X509Certificate<'_>) -> impl Iterator<Item = &'a str> {
    let names = certificate.subject_alternative_name().ok().flatten();
    names
        .into_iter()
        .flat_map(|san| &san.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .take(MAX_NAMES)
        .filter(|uri| uri.len() <= MAX_NAME_BYTES)
}
