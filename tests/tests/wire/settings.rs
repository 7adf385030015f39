//! The first words of both sides: what a real tunnel offers in TLS and HTTP/2, read from the wire.

use std::collections::BTreeMap;

use ambit_model::TunnelProtocol;
use ambit_tests::{Mesh, identity, missing, soon};
use rustls::server::Acceptor;
use rustls::{CipherSuite, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio_rustls::LazyConfigAcceptor;

/// Settings of HTTP/2 (RFC 9113, 6.5.2).
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;

async fn mesh() -> Mesh {
    Mesh::builder()
        .pod("client", "n1")
        .plain_pod("peer", "n2")
        .workload("peer", |workload| workload.protocol = TunnelProtocol::Hbone)
        .start()
        .await
}

/// The first frame of an HTTP/2 connection, which has to be SETTINGS.
async fn settings(io: &mut (impl AsyncRead + Unpin)) -> BTreeMap<u16, u32> {
    let mut head = [0; 9];
    soon(io.read_exact(&mut head)).await.unwrap();
    let [_, _, length, kind, flags, ..] = head;
    assert_eq!((kind, flags), (4, 0), "SETTINGS, no ACK");
    let mut payload = vec![0; length.into()];
    soon(io.read_exact(&mut payload)).await.unwrap();
    let setting = |bytes: &[u8]| {
        let value = u32::from_be_bytes(bytes[2..6].try_into().unwrap());
        (u16::from_be_bytes([bytes[0], bytes[1]]), value)
    };
    payload.chunks(6).map(setting).collect()
}

#[tokio::test]
async fn a_client_offers_what_every_mesh_peer_knows() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = mesh().await;
    let listener = mesh.listen("peer", 15008);
    let credential = mesh.credential(&identity("peer")).await;
    let peer = async {
        let (tcp, _) = soon(listener.accept()).await.unwrap();
        let start = soon(LazyConfigAcceptor::new(Acceptor::default(), tcp)).await.unwrap();
        let hello = start.client_hello();
        assert_eq!(hello.server_name(), None, "no SNI");
        let alpn: Vec<&[u8]> = hello.alpn().unwrap().collect();
        assert_eq!(alpn, [b"h2"]);
        let mut ciphers = hello.cipher_suites().to_vec();
        ciphers.retain(|cipher| *cipher != CipherSuite::TLS_EMPTY_RENEGOTIATION_INFO_SCSV);
        let expected =
            [CipherSuite::TLS13_AES_256_GCM_SHA384, CipherSuite::TLS13_AES_128_GCM_SHA256];
        assert_eq!(ciphers, expected);
        let mut tls = soon(start.into_stream(credential.server_config())).await.unwrap();
        assert_eq!(tls.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        let mut preface = [0; 24];
        soon(tls.read_exact(&mut preface)).await.unwrap();
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        settings(&mut tls).await
    };
    let (_client, settings) = tokio::join!(mesh.dial("client", mesh.at("peer", 8080)), peer);
    for (setting, expected) in [
        (ENABLE_PUSH, 0),
        (INITIAL_WINDOW_SIZE, 4 << 20),
        (MAX_FRAME_SIZE, 1 << 20),
        (MAX_HEADER_LIST_SIZE, 16 << 10),
    ] {
        assert_eq!(settings.get(&setting), Some(&expected), "setting {setting}");
    }
}

#[tokio::test]
async fn a_server_offers_what_every_mesh_peer_knows() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = mesh().await;
    let credential = mesh.credential(&identity("peer")).await;
    let config = ambit_tls::client_config(&credential, &[identity("client")]);
    let mut tls = mesh.dial_tls("peer", mesh.at("client", 15008), (*config).clone()).await.unwrap();
    tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    tls.flush().await.unwrap();
    let settings = settings(&mut tls).await;
    for (setting, expected) in [
        (MAX_CONCURRENT_STREAMS, 200),
        (INITIAL_WINDOW_SIZE, 4 << 20),
        (MAX_FRAME_SIZE, 1 << 20),
        (MAX_HEADER_LIST_SIZE, 64 << 10),
    ] {
        assert_eq!(settings.get(&setting), Some(&expected), "setting {setting}");
    }
}
