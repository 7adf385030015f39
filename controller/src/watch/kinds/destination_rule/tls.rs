//! How TLS is spoken with endpoints.

use ambit_model::Str;
use ambit_proto::ambit::upstream_tls::Mode;
use serde::Deserialize;

use super::Problem;

/// TLS with endpoints.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct RuleTls {
    pub mode: Mode,
    /// The name that is asked for; the host's where empty.
    pub sni: String,
    /// Names of which the certificate has to have one.
    pub names: Vec<String>,
    /// The Secret with certificate, key and authorities, in the proxies' namespace.
    pub credential: Str,
    /// Whether endpoints are not verified.
    pub unverified: bool,
    /// Why nothing can be sent with these settings.
    pub invalid: String,
    /// A field that is there and means nothing beside the others.
    pub unused: Option<&'static str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawTls {
    mode: Option<String>,
    sni: String,
    subject_alt_names: Vec<String>,
    insecure_skip_verify: Option<bool>,
    client_certificate: String,
    private_key: String,
    ca_certificates: String,
    credential_name: String,
}

/// Settings that name files of the proxy's own, of which waypoints have none, are not usable, rather than less strict.
pub(super) fn tls(raw: RawTls) -> Result<RuleTls, Problem> {
    let mode = match raw.mode.as_deref() {
        None | Some("DISABLE") => Mode::Disabled,
        Some("SIMPLE") => Mode::Simple,
        Some("MUTUAL") => Mode::Mutual,
        Some("ISTIO_MUTUAL") => Mode::Mesh,
        Some(other) => {
            let message = format!("{other:?} is none of DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL");
            return Err(Problem::new("tls.mode", message));
        }
    };
    let files = [
        ("clientCertificate", &*raw.client_certificate),
        ("privateKey", &*raw.private_key),
        (
            "caCertificates",
            raw.ca_certificates.strip_prefix("system").unwrap_or(&raw.ca_certificates),
        ),
    ];
    let file = files.into_iter().find(|(_, path)| !path.is_empty()).map(|(field, _)| field);
    let credential = raw.credential_name.strip_prefix("kubernetes://");
    let credential = credential.unwrap_or(&raw.credential_name);
    let invalid = match mode {
        Mode::Disabled | Mode::Mesh => String::new(),
        _ if file.is_some() => format!(
            "tls.{} is a file, and waypoints have none; put it into a Secret and name that in tls.credentialName",
            file.unwrap_or_default()
        ),
        _ if credential.contains("://") => {
            format!("tls.credentialName: {credential:?} is no Secret's name")
        }
        Mode::Mutual if credential.is_empty() => {
            "tls.credentialName is missing, which MUTUAL needs".to_owned()
        }
        _ => String::new(),
    };
    let unverified = raw.insecure_skip_verify == Some(true);
    let unused = match mode {
        Mode::Disabled | Mode::Mesh => [
            ("sni", !raw.sni.is_empty()),
            ("subjectAltNames", !raw.subject_alt_names.is_empty()),
            ("insecureSkipVerify", unverified),
            ("credentialName", !credential.is_empty()),
        ]
        .into_iter()
        .find_map(|(field, there)| there.then_some(field))
        .or(file),
        _ if unverified && !raw.subject_alt_names.is_empty() => Some("subjectAltNames"),
        _ => None,
    };
    Ok(RuleTls {
        mode,
        sni: raw.sni,
        names: raw.subject_alt_names,
        credential: credential.into(),
        unverified,
        invalid,
        unused,
    })
}
