//! Both sides' checks, row by row.

use std::sync::Arc;
use std::time::SystemTime;

use ambit_model::Identity;
use ambit_tls::{
    Credential, ServerStream, TlsError, accept, client_config, connect, peer_identity, provider,
};
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{CipherSuite, ClientConfig, NamedGroup, SupportedCipherSuite};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsConnector;

use crate::pki::{Authority, HOUR, Leaf, build, identity, meet_twice, reason, tcp};

struct Row {
    name: &'static str,
    server: Credential,
    client: Credential,
    expected: Vec<Identity>,
    /// What the server says, then what the client says.
    said: (&'static str, &'static str),
}

fn strangers(root: &Authority) -> Vec<Row> {
    let (web, cart) = (identity("shop", "web"), identity("shop", "cart"));
    let other_domain = Identity::new("other.example", "shop", "web");
    let other_root = Authority::root("cluster.local");
    let row = |name, server: &Credential, client: &Credential, expected: &[&Identity], said| Row {
        name,
        server: build(server.pem().clone()),
        client: build(client.pem().clone()),
        expected: expected.iter().copied().cloned().collect(),
        said,
    };
    let (server, client) = (root.credential(&cart), root.credential(&web));
    let foreign = root.credential(&other_domain);
    let stranger = other_root.credential(&web);
    vec![
        row("good", &server, &client, &[&cart], ("ok", "ok")),
        row("one of several", &server, &client, &[&web, &cart], ("ok", "ok")),
        row("wrong identity", &server, &client, &[&web], ("refused_by_peer", "wrong_identity")),
        row("nobody expected", &server, &client, &[], ("refused_by_peer", "wrong_identity")),
        row(
            "client's domain",
            &server,
            &foreign,
            &[&cart],
            ("wrong_trust_domain", "refused_by_peer"),
        ),
        row("client's root", &server, &stranger, &[&cart], ("refused_by_peer", "untrusted")),
        row("server's root", &stranger, &client, &[&web], ("refused_by_peer", "untrusted")),
    ]
}

fn odd_leaves(root: &Authority) -> Vec<Row> {
    let (web, cart) = (identity("shop", "web"), identity("shop", "cart"));
    let now = SystemTime::now();
    let leaf = |identity: &Identity, change: &dyn Fn(&mut Leaf)| {
        let mut leaf = Leaf::of(identity);
        change(&mut leaf);
        build(root.issue(&leaf))
    };
    let row = |name, server, client, said| Row {
        name,
        server,
        client,
        expected: vec![cart.clone()],
        said,
    };
    let good_server = || root.credential(&cart);
    let good_client = || root.credential(&web);
    let expired = |leaf: &mut Leaf| leaf.until = now - HOUR / 2;
    let early = |leaf: &mut Leaf| leaf.from = now + HOUR / 2;
    let serves_only = |leaf: &mut Leaf| leaf.usages = vec![ServerAuth];
    let dials_only = |leaf: &mut Leaf| leaf.usages = vec![ClientAuth];
    let second_name = |leaf: &mut Leaf| leaf.uris.push(cart.to_string());
    let odd_names =
        |leaf: &mut Leaf| leaf.uris.extend(["https://x".into(), "spiffe://td/ns/a".into()]);
    vec![
        row("expired client", good_server(), leaf(&web, &expired), ("expired", "refused_by_peer")),
        row("expired server", leaf(&cart, &expired), good_client(), ("refused_by_peer", "expired")),
        row("early client", good_server(), leaf(&web, &early), ("expired", "refused_by_peer")),
        row("early server", leaf(&cart, &early), good_client(), ("refused_by_peer", "expired")),
        row(
            "client may not dial",
            good_server(),
            leaf(&web, &serves_only),
            ("untrusted", "refused_by_peer"),
        ),
        row(
            "server may not serve",
            leaf(&cart, &dials_only),
            good_client(),
            ("refused_by_peer", "untrusted"),
        ),
        row("server may only serve", leaf(&cart, &serves_only), good_client(), ("ok", "ok")),
        row("client may only dial", good_server(), leaf(&web, &dials_only), ("ok", "ok")),
        row("any name will do", leaf(&web, &second_name), good_client(), ("ok", "ok")),
        row("odd names beside", leaf(&cart, &odd_names), leaf(&web, &odd_names), ("ok", "ok")),
    ]
}

#[tokio::test]
async fn rows() {
    let root = Authority::root("cluster.local");
    for row in strangers(&root).into_iter().chain(odd_leaves(&root)) {
        let outcome = meet_twice(&row.server, &row.client, &row.expected).await;
        let said = (reason(&outcome.server), reason(&outcome.client));
        assert_eq!(said, row.said, "{}: {:?} {:?}", row.name, outcome.server, outcome.client);
    }
}

#[tokio::test]
async fn a_wrong_identity_names_both() {
    let root = Authority::root("cluster.local");
    let (web, cart) = (identity("shop", "web"), identity("shop", "cart"));
    let (server, client) = (root.credential(&cart), root.credential(&web));
    let outcome = meet_twice(&server, &client, std::slice::from_ref(&web)).await;
    let error = outcome.client.unwrap_err();
    assert!(
        matches!(&error, TlsError::WrongIdentity { expected, got } if *expected == [web] && *got == [cart]),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        "peer is [spiffe://cluster.local/ns/shop/sa/cart], expected one of [spiffe://cluster.local/ns/shop/sa/web]"
    );
}

#[tokio::test]
async fn intermediates_are_sent_and_the_root_is_not() {
    let root = Authority::root("cluster.local");
    let signer = root.intermediate("signer", 7).intermediate("below", 8);
    let (web, cart) = (identity("shop", "web"), identity("shop", "cart"));
    let (server, client) = (signer.credential(&cart), signer.credential(&web));
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (served, dialled) =
        tokio::join!(accept(&server, far), connect(&client, std::slice::from_ref(&cart), near));
    let (served, dialled) = (served.unwrap(), dialled.unwrap());
    assert_eq!(peer_identity(served.get_ref().1), Some(web));
    assert_eq!(peer_identity(dialled.get_ref().1), Some(cart));
    assert_eq!(served.get_ref().1.peer_certificates().unwrap(), client.chain());
    assert_eq!(client.chain().len(), 3);
}

#[tokio::test]
async fn both_roots_are_trusted_while_they_rotate() {
    let (old, new) = (Authority::root("cluster.local"), Authority::root("cluster.local"));
    let (web, cart) = (identity("shop", "web"), identity("shop", "cart"));
    let before = |id| build(old.issue(&Leaf::of(id)));
    let between_old = |id| build(old.issue_trusting(&Leaf::of(id), &[&old, &new]));
    let between_new = |id| build(new.issue_trusting(&Leaf::of(id), &[&old, &new]));
    let after = |id| build(new.issue(&Leaf::of(id)));
    let steps: [(&str, Credential, Credential, bool); 5] = [
        ("old and between", before(&cart), between_old(&web), true),
        ("between, signed by old and by new", between_old(&cart), between_new(&web), true),
        ("between and after", between_new(&cart), after(&web), true),
        ("too early: old meets what new has signed", before(&cart), between_new(&web), false),
        ("too late: old meets after", before(&cart), after(&web), false),
    ];
    for (name, server, client, works) in &steps {
        for (server, client, id) in [(server, client, &cart), (client, server, &web)] {
            let outcome = meet_twice(server, client, std::slice::from_ref(id)).await;
            let both = outcome.server.is_ok() && outcome.client.is_ok();
            assert_eq!(both, *works, "{name}: {:?} {:?}", outcome.server, outcome.client);
        }
    }
}

/// A client of our own making against a server of the crate.
async fn odd_client(config: ClientConfig) -> Result<ServerStream<DuplexStream>, TlsError> {
    let root = Authority::root("cluster.local");
    let server = root.credential(&identity("shop", "cart"));
    odd_client_of(&server, config).await
}

async fn odd_client_of(
    server: &Credential,
    config: ClientConfig,
) -> Result<ServerStream<DuplexStream>, TlsError> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("ignored.example").unwrap();
    let (served, _dialled) = tokio::join!(accept(server, far), async {
        let mut stream = connector.connect(name, near).await?;
        let _ = stream.write_u8(1).await;
        let _ = stream.flush().await;
        Ok::<_, std::io::Error>(stream)
    });
    served
}

fn with_provider(
    client: &Credential,
    server: &Identity,
    suites: &[SupportedCipherSuite],
    groups: &[&'static dyn SupportedKxGroup],
) -> ClientConfig {
    let provider = CryptoProvider {
        cipher_suites: suites.to_vec(),
        kx_groups: groups.to_vec(),
        ..(*provider()).clone()
    };
    let ours = client_config(client, std::slice::from_ref(server));
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_client_cert_resolver(Arc::clone(&ours.client_auth_cert_resolver));
    config.dangerous().set_certificate_verifier(accept_all());
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

fn accept_all() -> Arc<dyn rustls::client::danger::ServerCertVerifier> {
    #[derive(Debug)]
    struct AcceptAll;
    impl rustls::client::danger::ServerCertVerifier for AcceptAll {
        fn verify_server_cert(
            &self,
            _: &rustls_pki_types::CertificateDer<'_>,
            _: &[rustls_pki_types::CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: rustls_pki_types::UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &rustls_pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &rustls_pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    }
    Arc::new(AcceptAll)
}

#[tokio::test]
async fn ciphers_and_groups() {
    use cipher_suite::{
        TLS13_AES_128_GCM_SHA256 as AES128, TLS13_AES_256_GCM_SHA384 as AES256,
        TLS13_CHACHA20_POLY1305_SHA256 as CHACHA,
    };
    use kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
    let root = Authority::root("cluster.local");
    let (web, cart) = (identity("shop", "web"), identity("shop", "cart"));
    let (server, client) = (root.credential(&cart), root.credential(&web));
    type Suites<'a> = &'a [SupportedCipherSuite];
    type Groups<'a> = &'a [&'static dyn SupportedKxGroup];
    type Agreed = Option<(CipherSuite, NamedGroup)>;
    let rows: [(&str, Suites<'_>, Groups<'_>, Agreed); 6] = [
        (
            "everything, in our order",
            &[CHACHA, AES256, AES128],
            &[X25519MLKEM768, X25519],
            Some((CipherSuite::TLS13_AES_256_GCM_SHA384, NamedGroup::X25519MLKEM768)),
        ),
        (
            "128 only",
            &[AES128],
            &[X25519],
            Some((CipherSuite::TLS13_AES_128_GCM_SHA256, NamedGroup::X25519)),
        ),
        (
            "P-256 only",
            &[AES256],
            &[SECP256R1],
            Some((CipherSuite::TLS13_AES_256_GCM_SHA384, NamedGroup::secp256r1)),
        ),
        (
            "hybrid only",
            &[AES256],
            &[X25519MLKEM768],
            Some((CipherSuite::TLS13_AES_256_GCM_SHA384, NamedGroup::X25519MLKEM768)),
        ),
        ("ChaCha only", &[CHACHA], &[X25519], None),
        ("P-384 only", &[AES256], &[SECP384R1], None),
    ];
    for (name, suites, groups, agreed) in rows {
        let config = with_provider(&client, &cart, suites, groups);
        let served = odd_client_of(&server, config).await;
        let got = served.as_ref().ok().map(|stream| {
            let connection = stream.get_ref().1;
            let suite = connection.negotiated_cipher_suite().unwrap().suite();
            (suite, connection.negotiated_key_exchange_group().unwrap().name())
        });
        assert_eq!(got, agreed, "{name}: {:?}", served.err());
    }
}

#[tokio::test]
async fn two_of_us_agree_on_the_hybrid_exchange_and_never_resume() {
    let root = Authority::root("cluster.local");
    let (web, cart) = (identity("shop", "web"), identity("shop", "cart"));
    let (server, client) = (root.credential(&cart), root.credential(&web));
    for _ in 0..3 {
        let (near, far) = tcp().await;
        let (served, dialled) =
            tokio::join!(accept(&server, far), connect(&client, std::slice::from_ref(&cart), near));
        let (mut served, mut dialled) = (served.unwrap(), dialled.unwrap());
        served.write_all(b"x").await.unwrap();
        served.flush().await.unwrap();
        assert_eq!(dialled.read_u8().await.unwrap(), b'x');
        let connection = dialled.get_ref().1;
        let group = connection.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, NamedGroup::X25519MLKEM768);
        assert_eq!(
            connection.negotiated_cipher_suite().unwrap().suite(),
            CipherSuite::TLS13_AES_256_GCM_SHA384
        );
        assert_eq!(connection.alpn_protocol(), Some(b"h2".as_slice()));
        assert_eq!(connection.tls13_tickets_received(), 0);
        assert_ne!(connection.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
        assert_eq!(served.get_ref().1.server_name(), None, "SNI is off");
    }
}

#[tokio::test]
async fn application_protocols() {
    let root = Authority::root("cluster.local");
    let (web, cart) = (identity("shop", "web"), identity("shop", "cart"));
    let (server, client) = (root.credential(&cart), root.credential(&web));
    type Agreed = Option<Option<&'static [u8]>>;
    let rows: [(&[&[u8]], Agreed); 4] = [
        (&[], Some(None)),
        (&[b"h2"], Some(Some(b"h2"))),
        (&[b"http/1.1", b"h2"], Some(Some(b"h2"))),
        (&[b"http/1.1"], None),
    ];
    for (offered, agreed) in rows {
        let mut config = (*client_config(&client, std::slice::from_ref(&cart))).clone();
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let served = odd_client_of(&server, config).await;
        let got = served.as_ref().ok().map(|stream| stream.get_ref().1.alpn_protocol());
        assert_eq!(got, agreed, "{offered:?}");
        if let Err(error) = served {
            assert_eq!(error.reason(), "handshake", "{error}");
        }
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.dangerous().set_certificate_verifier(accept_all());
    let error = odd_client(config).await.unwrap_err();
    assert!(matches!(error, TlsError::NoCertificate), "{error:?}");
}

#[tokio::test]
async fn noise_and_silence_end_in_an_error() {
    let root = Authority::root("cluster.local");
    let server = root.credential(&identity("shop", "cart"));
    for (sent, expected) in [
        (b"".as_slice(), "transport"),
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", "handshake"),
        (b"\x16\x03\x01\xff\xff", "handshake"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00", "transport"),
        (&[0xff; 20_000], "handshake"),
    ] {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        near.write_all(sent).await.unwrap();
        near.shutdown().await.unwrap();
        let error = accept(&server, far).await.unwrap_err();
        assert_eq!(error.reason(), expected, "{:?}: {error:?}", sent.get(..8));
    }
}
