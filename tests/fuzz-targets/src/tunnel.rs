//! What peers say about themselves before a tunnel is theirs.

use std::net::SocketAddr;

use ambit_hbone::{Authority, Baggage, Forwarded};
use ambit_model::{Identity, NamespacedHostname};
use http::{HeaderMap, HeaderValue};
use rustls_pki_types::CertificateDer;

/// The `:authority` of a CONNECT: it is read as it is written, and so is nothing else.
pub(crate) fn connect_authority(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match text.parse::<Authority>() {
        Ok(authority) => {
            let written = authority.to_string();
            assert_eq!(written.parse(), Ok(authority.clone()));
            assert!(written.parse::<http::uri::Authority>().is_ok(), "{written} is no authority");
            if let Authority::Hostname { host, port } = authority {
                assert_eq!(written, text, "one name, one text");
                assert_eq!(naive(text), Some((&*host, port)));
            }
        }
        Err(_) => {
            assert!(text.parse::<SocketAddr>().is_err());
            assert_eq!(naive(text), None, "{text:?}");
        }
    }
}

/// What stands before the colon, of the letters of a name, and the number behind it, as numbers are written.
fn naive(text: &str) -> Option<(&str, u16)> {
    if text.parse::<SocketAddr>().is_ok() {
        return None;
    }
    let colon = text.find(':')?;
    let (host, port) = (&text[..colon], &text[colon + 1..]);
    let number: u16 = port.parse().ok()?;
    let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.*";
    let valid = !host.is_empty() && host.len() <= 253 && host.chars().all(|c| letters.contains(c));
    (valid && number.to_string() == port).then_some((host, number))
}

/// `baggage` as it comes, and as it is made of eight lines: no value can change another.
pub(crate) fn baggage(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let read = Baggage::parse(&text);
    for value in fields(&read).into_iter().flatten() {
        assert!(value.len() <= text.len());
    }
    survives(&read);
    let mut lines = text.split('\n').map(|line| (!line.is_empty()).then(|| line.to_owned()));
    let mut line = || lines.next().flatten();
    survives(&Baggage {
        cluster: line(),
        namespace: line(),
        workload_type: None,
        workload: line(),
        service: line(),
        revision: line(),
        region: line(),
        zone: line(),
    });
}

fn survives(baggage: &Baggage) {
    let Some(header) = baggage.to_header() else { return };
    let headers = HeaderMap::from_iter([("baggage".parse().expect("a name"), header.clone())]);
    let read = Baggage::from_headers(&headers);
    // One beyond the limit is absent as a whole.
    let read = read.unwrap_or_default();
    if header.len() > 8 << 10 {
        return assert_eq!(read, Baggage::default());
    }
    for (was, is) in fields(baggage).into_iter().zip(fields(&read)) {
        let can_stand = |value: &&String| {
            let visible = value.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b',');
            visible && value.trim() == **value && !value.is_empty()
        };
        assert_eq!(
            is.as_ref(),
            was.as_ref().filter(can_stand),
            "{baggage:?} was sent as {header:?}"
        );
    }
}

fn fields(baggage: &Baggage) -> [Option<String>; 7] {
    let Baggage { cluster, namespace, workload, service, revision, region, zone, .. } =
        baggage.clone();
    [cluster, namespace, workload, service, revision, region, zone]
}

/// `forwarded` as it comes, and as it is made of a host.
pub(crate) fn forwarded(data: &[u8]) {
    let read = |value: HeaderValue| {
        Forwarded::host(&HeaderMap::from_iter([("forwarded".parse().expect("a name"), value)]))
    };
    if let Ok(value) = HeaderValue::from_bytes(data) {
        let host = read(value);
        assert!(host.is_none_or(|host| host.len() <= 253 && !host.is_empty() && host.is_ascii()));
    }
    let Ok(host) = str::from_utf8(data) else { return };
    let source = SocketAddr::from(([2001, 0xdb8, 0, 0, 0, 0, 0, 1], 80));
    let told = Forwarded { source, host: Some(host.to_owned()) };
    if let Some(header) = told.to_header() {
        let text = header.to_str().expect("it is ASCII").to_owned();
        assert!(text.starts_with(&format!("for=\"{source}\"")), "{text:?}");
        assert!(text.matches(';').count() <= 1, "{text:?}");
        let told = read(header);
        assert!(told.is_none() || told.as_deref() == Some(host), "{host:?} was read as {told:?}");
    }
}

/// A peer's certificate: it has names, or it is refused.
pub(crate) fn certificate(data: &[u8]) {
    let certificate = CertificateDer::from(data);
    let uri = ambit_tls::x509::first_uri(&certificate);
    assert_eq!(uri.is_ok(), ambit_tls::x509::public_key(&certificate).is_ok());
    if let Ok(Some(uri)) = uri {
        assert!(uri.len() <= data.len());
    }
    if let Ok(validity) = ambit_tls::x509::validity(&certificate) {
        let _ = validity.not_after.duration_since(validity.not_before);
    }
    let _ = ambit_tls::x509::summary(&certificate);
    let _ = ambit_tls::pem::certificates(data);
    let _ = ambit_tls::pem::signing_request(data, 16 << 10);
}

/// Identities and services by their names: read as they are written.
pub(crate) fn names(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(identity) = text.parse::<Identity>() {
        assert_eq!(identity.to_string(), text);
        let parts = [&identity.trust_domain, &identity.namespace, &identity.service_account];
        assert!(parts.iter().all(|part| !part.is_empty() && !part.contains('/')), "{identity}");
    }
    if let Ok(service) = text.parse::<NamespacedHostname>() {
        assert_eq!(service.to_string(), text);
        assert_eq!(service.to_string().parse(), Ok(service));
    }
}
