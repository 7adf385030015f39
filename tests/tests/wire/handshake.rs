//! Who may open an HBONE connection at all, and HTTP/2 that no library would send.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambit_model::Identity;
use ambit_tests::{Answer, Caller, Mesh, eventually, identity, missing, soon};
use ambit_tls::{Credential, TlsError};
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType,
};
use rustls::client::{ClientConfig, ResolvesClientCert};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HOUR: Duration = Duration::from_secs(3600);

/// What a client would have to prove itself with and does not show.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// A certificate that is shown whatever the server asks for.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A leaf as the mesh's CA makes them for `name`, a URI.
fn leaf(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = (SystemTime::now() - HOUR).into();
    params.not_after = (SystemTime::now() + HOUR).into();
    params
}

/// A client with a leaf that the mesh's CA has signed, whatever it says, or that has signed itself.
fn with_leaf(
    mesh: &Mesh,
    trusting: &Credential,
    leaf: CertificateParams,
    signs: bool,
) -> ClientConfig {
    let read = |name: &str| std::fs::read_to_string(mesh.dir().join("ca").join(name)).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = if signs {
        let ca = KeyPair::from_pem(&read("ca-key.pem")).unwrap();
        leaf.signed_by(&key, &Issuer::from_ca_cert_pem(&read("ca-cert.pem"), ca).unwrap()).unwrap()
    } else {
        leaf.self_signed(&key).unwrap()
    };
    let key = any_supported_type(&PrivatePkcs8KeyDer::from(key.serialize_der()).into()).unwrap();
    let mut config = showing(trusting, trusting);
    let shown = CertifiedKey::new(vec![certificate.der().clone()], key);
    config.client_auth_cert_resolver = Arc::new(Shown(Arc::new(shown)));
    config
}

async fn mesh() -> Mesh {
    Mesh::builder().plain_pod("caller", "n1").pod("server", "n2").start().await
}

/// A client that accepts `server` as the mesh's own, and shows the certificate of `credential`.
fn showing(trusting: &Credential, credential: &Credential) -> ClientConfig {
    let server = [identity("server")];
    let mut config = (*ambit_tls::client_config(trusting, &server)).clone();
    let shown = ambit_tls::client_config(credential, &server);
    config.client_auth_cert_resolver = shown.client_auth_cert_resolver.clone();
    config
}

/// The way a connection goes: the answer to a CONNECT, or the alert that ends the handshake.
async fn outcome(mesh: &Mesh, config: ClientConfig) -> String {
    let tls = match mesh.dial_tls("caller", mesh.at("server", 15008), config).await {
        Ok(tls) => tls,
        Err(error) => return in_a_word(&error),
    };
    let answer = match Caller::over(tls).await {
        Ok(mut caller) => caller.connect(&mesh.at("server", 8080).to_string()).await,
        Err(error) => error.into(),
    };
    match answer {
        // In TLS 1.3 the server's objection comes with the first read.
        Answer::Failed(error) => match error.into_io().map(TlsError::from) {
            Some(error) => in_a_word(&error),
            None => "failed".into(),
        },
        other => other.in_a_word(),
    }
}

fn in_a_word(error: &TlsError) -> String {
    match error {
        TlsError::Refused(alert) => format!("{alert:?}"),
        other => other.to_string(),
    }
}

#[tokio::test]
async fn only_clients_of_this_mesh_get_a_connection() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = mesh().await;
    mesh.greeter("server", 8080, "server for");
    let own = mesh.credential(&identity("caller")).await;
    let other_domain = mesh.credential(&Identity::new("elsewhere", "default", "caller")).await;
    let other_ca = mesh.foreign_credential(&identity("caller")).await;
    let with_alpn = |protocols: &[&[u8]]| {
        let mut config = showing(&own, &own);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        config
    };
    let mut nameless = showing(&own, &own);
    nameless.client_auth_cert_resolver = Arc::new(NoCertificate);
    let name = identity("caller").to_string();
    let with = |leaf| with_leaf(&mesh, &own, leaf, true);
    let mut expired = leaf(&name);
    expired.not_after = (SystemTime::now() - HOUR / 2).into();
    let mut early = leaf(&name);
    early.not_before = (SystemTime::now() + HOUR / 2).into();
    let mut for_servers = leaf(&name);
    for_servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let mut of_a_host = leaf(&name);
    of_a_host.subject_alt_names = vec![SanType::DnsName("caller".try_into().unwrap())];
    let mut anonymous = leaf(&name);
    anonymous.subject_alt_names = Vec::new();
    let alert = |alert: AlertDescription| format!("{alert:?}");
    for (what, config, expected, logged, reason) in [
        ("as a proxy does", with_alpn(&[b"h2"]), "200".into(), "", ""),
        ("no ALPN", with_alpn(&[]), "200".into(), "", ""),
        ("HTTP/2 among others", with_alpn(&[b"http/1.1", b"h2"]), "200".into(), "", ""),
        ("a leaf that is right", with(leaf(&name)), "200".into(), "", ""),
        (
            "HTTP/1.1",
            with_alpn(&[b"http/1.1"]),
            alert(AlertDescription::NoApplicationProtocol),
            "TLS handshake failed: peer doesn't support any known protocol",
            "handshake",
        ),
        (
            "no certificate",
            nameless,
            alert(AlertDescription::CertificateRequired),
            "peer showed no certificate",
            "no_certificate",
        ),
        (
            "another trust domain",
            showing(&own, &other_domain),
            alert(AlertDescription::CertificateUnknown),
            "expected trust domain",
            "wrong_trust_domain",
        ),
        (
            "another CA",
            showing(&own, &other_ca),
            alert(AlertDescription::UnknownCA),
            "peer's certificate is not trusted: invalid peer certificate: UnknownIssuer",
            "untrusted",
        ),
        (
            "signed by itself",
            with_leaf(&mesh, &own, leaf(&name), false),
            alert(AlertDescription::UnknownCA),
            "peer's certificate is not trusted: invalid peer certificate: UnknownIssuer",
            "untrusted",
        ),
        (
            "expired",
            with(expired),
            alert(AlertDescription::CertificateExpired),
            "peer's certificate is not valid at this time",
            "expired",
        ),
        (
            "of tomorrow",
            with(early),
            alert(AlertDescription::CertificateExpired),
            "certificate not valid yet",
            "expired",
        ),
        (
            "for servers",
            with(for_servers),
            alert(AlertDescription::UnsupportedCertificate),
            "invalid peer certificate: InvalidPurpose",
            "untrusted",
        ),
        (
            "a host's name",
            with(of_a_host),
            alert(AlertDescription::CertificateUnknown),
            "peer is [], expected trust domain",
            "wrong_trust_domain",
        ),
        (
            "no name",
            with(anonymous),
            alert(AlertDescription::CertificateUnknown),
            "peer is [], expected trust domain",
            "wrong_trust_domain",
        ),
        (
            "a name of no workload",
            with(leaf("spiffe://cluster.local/caller")),
            alert(AlertDescription::CertificateUnknown),
            "peer is [], expected trust domain",
            "wrong_trust_domain",
        ),
        (
            "a URI of another kind",
            with(leaf("https://cluster.local/ns/default/sa/caller")),
            alert(AlertDescription::CertificateUnknown),
            "peer is [], expected trust domain",
            "wrong_trust_domain",
        ),
    ] {
        let before = failed(&mesh, reason).await;
        let got = outcome(&mesh, config).await;
        // The server closes with our first words unread, and the reset that follows may overtake its alert.
        let lost = expected != "200" && got.starts_with("connection lost");
        assert!(got == expected || lost, "{what}: {got}");
        mesh.logged("n2", logged).await;
        if !reason.is_empty() {
            eventually(|| async {
                let now = failed(&mesh, reason).await;
                if now == before + 1 { Ok(()) } else { Err(format!("{what}: {now} {reason}")) }
            })
            .await;
        }
    }
}

/// How many handshakes the server has counted as failed for this reason.
async fn failed(mesh: &Mesh, reason: &str) -> u64 {
    let metrics = mesh.metrics("n2").await;
    let labels = format!(r#"reason="{reason}"}} "#);
    let lines = metrics.lines().filter(|line| line.starts_with("ambit_handshakes_failed_total{"));
    let values = lines.filter_map(|line| line.split_once(&labels)?.1.parse::<u64>().ok());
    values.sum()
}

/// The first words of a client of TLS 1.2, which no library at hand would say.
fn tls12_hello() -> Vec<u8> {
    let (record, hello) = ([22, 3, 1, 0, 65], [1, 0, 0, 61, 3, 3]);
    let suites = [0, 4, 0xc0, 0x2b, 0xc0, 0x2f];
    let (groups, schemes) = ([0, 10, 0, 4, 0, 2, 0, 23], [0, 13, 0, 4, 0, 2, 4, 3]);
    // A random number, no session, no compression, 16 bytes of extensions.
    [&record[..], &hello, &[7; 32], &[0], &suites, &[1, 0], &[0, 16], &groups, &schemes].concat()
}

#[tokio::test]
async fn an_older_tls_is_refused_by_its_version() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let mesh = mesh().await;
    let mut tcp = mesh.dial("caller", mesh.at("server", 15008)).await.unwrap();
    tcp.write_all(&tls12_hello()).await.unwrap();
    let mut alert = [0; 7];
    soon(tcp.read_exact(&mut alert)).await.unwrap();
    // Fatal: protocol_version (RFC 8446 6).
    assert_eq!(alert, [21, 3, 3, 0, 2, 2, 70]);
    assert_eq!(failed(&mesh, "handshake").await, 1);
}

#[tokio::test]
async fn the_server_proves_who_it_is_and_asks_for_no_session_to_resume() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = mesh().await;
    let own = mesh.credential(&identity("caller")).await;
    let wrong = ambit_tls::client_config(&own, &[identity("client")]);
    let refused = mesh.dial_tls("caller", mesh.at("server", 15008), (*wrong).clone()).await;
    let got = match refused {
        Err(TlsError::WrongIdentity { got, .. }) => got,
        other => panic!("{other:?}"),
    };
    assert_eq!(got, [identity("server")]);
    let config = showing(&own, &own);
    let tls = mesh.dial_tls("caller", mesh.at("server", 15008), config).await.unwrap();
    let connection = tls.get_ref().1;
    assert_eq!(connection.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(connection.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let group = connection.negotiated_key_exchange_group().expect("a key exchange");
    assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
    let chain = connection.peer_certificates().expect("a chain");
    assert_eq!(chain.len(), 1, "the root is not sent");
}

/// HPACK without tables: the static names of `:authority` and `:method` (RFC 7541, appendix A), literal values.
fn headers_frame(authority: Option<&str>) -> Vec<u8> {
    let mut block = Vec::new();
    let mut literal = |name: u8, value: &str| {
        block.extend([name, u8::try_from(value.len()).expect("a short value")]);
        block.extend(value.as_bytes());
    };
    literal(2, "CONNECT");
    if let Some(authority) = authority {
        literal(1, authority);
    }
    let length = u8::try_from(block.len()).expect("a short block");
    // HEADERS, END_HEADERS, stream 1.
    let mut frame = vec![0, 0, length, 1, 4, 0, 0, 0, 1];
    frame.extend(block);
    frame
}

#[tokio::test]
async fn an_authority_that_http_does_not_allow_resets_the_stream() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = mesh().await;
    let own = mesh.credential(&identity("caller")).await;
    // RST_STREAM with PROTOCOL_ERROR; HEADERS with nothing but `:status: 400`, entry 12 of HPACK's static table.
    let (reset, refused) = ((3, vec![0, 0, 0, 1]), (1, vec![0x8c]));
    for (authority, expected) in [
        (Some(""), &reset),
        (Some("[::1"), &reset),
        (Some("a b:80"), &reset),
        (Some("10.0.0.1:80/path"), &reset),
        (None, &refused),
    ] {
        let config = showing(&own, &own);
        let mut tls = mesh.dial_tls("caller", mesh.at("server", 15008), config).await.unwrap();
        tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        tls.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        tls.write_all(&headers_frame(authority)).await.unwrap();
        tls.flush().await.unwrap();
        let answer = loop {
            let mut head = [0; 9];
            soon(tls.read_exact(&mut head)).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            soon(tls.read_exact(&mut payload)).await.unwrap();
            let on_stream = head[5..] == [0, 0, 0, 1];
            if on_stream || head[3] == 7 {
                break (head[3], payload);
            }
        };
        assert_eq!(answer, *expected, "{authority:?}");
    }
}

#[tokio::test]
async fn what_is_no_tls_is_closed_and_troubles_nobody_else() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = mesh().await;
    mesh.greeter("server", 8080, "server for");
    let own = mesh.credential(&identity("caller")).await;
    let mut caller =
        mesh.caller("caller", &own, mesh.at("server", 15008), &identity("server")).await;
    for garbage in
        [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], &[0; 4096], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let mut tcp = mesh.dial("caller", mesh.at("server", 15008)).await.unwrap();
        tcp.write_all(garbage).await.unwrap();
        let mut answer = Vec::new();
        // A reset is as good as an end.
        let _ = soon(tcp.read_to_end(&mut answer)).await;
        assert!(answer.len() < 64, "{answer:?}");
    }
    let answer = caller.connect(&mesh.at("server", 8080).to_string()).await;
    assert_eq!(answer.in_a_word(), "200");
}
