//! Who may open an HBONE connection at all, and HTTP/2 that no library would send.

use std::sync::Arc;

use ambit_model::Identity;
use ambit_tests::{Answer, Caller, Mesh, identity, missing, soon};
use ambit_tls::{Credential, TlsError};
use rustls::client::{ClientConfig, ResolvesClientCert};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
    let alert = |alert: AlertDescription| format!("{alert:?}");
    for (what, config, expected, logged) in [
        ("as a proxy does", with_alpn(&[b"h2"]), "200".into(), ""),
        ("no ALPN", with_alpn(&[]), "200".into(), ""),
        ("HTTP/2 among others", with_alpn(&[b"http/1.1", b"h2"]), "200".into(), ""),
        (
            "HTTP/1.1",
            with_alpn(&[b"http/1.1"]),
            alert(AlertDescription::NoApplicationProtocol),
            "TLS handshake failed: peer doesn't support any known protocol",
        ),
        (
            "no certificate",
            nameless,
            alert(AlertDescription::CertificateRequired),
            "peer showed no certificate",
        ),
        (
            "another trust domain",
            showing(&own, &other_domain),
            alert(AlertDescription::CertificateUnknown),
            "expected trust domain",
        ),
        (
            "another CA",
            showing(&own, &other_ca),
            alert(AlertDescription::UnknownCA),
            "peer's certificate is not trusted: invalid peer certificate: UnknownIssuer",
        ),
    ] {
        let got = outcome(&mesh, config).await;
        // The server closes with our first words unread, and the reset that follows may overtake its alert.
        let lost = expected != "200" && got.starts_with("connection lost");
        assert!(got == expected || lost, "{what}: {got}");
        mesh.logged("n2", logged).await;
    }
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
