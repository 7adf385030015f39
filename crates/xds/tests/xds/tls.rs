//! The client against a control plane with a certificate.

use std::sync::Arc;
use std::time::Duration;

use ambit_tls::control_server_config;
use ambit_xds::{Client, Config, Metrics, Node, Roots};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::client::soon;
use crate::server::{Opened, serve};

struct Secured {
    port: u16,
    roots: String,
    streams: mpsc::UnboundedReceiver<Opened>,
}

/// A server on the loopback whose certificate is for `name`.
async fn secured(name: &str) -> Secured {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new([name.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &authority).unwrap();
    let tls = control_server_config(&leaf.pem(), &key.serialize_pem()).expect("a configuration");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let (opened, streams) = mpsc::unbounded_channel();
    tokio::spawn(accept(listener, TlsAcceptor::from(tls), opened));
    Secured { port, roots: authority.pem(), streams }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, opened: mpsc::UnboundedSender<Opened>) {
    let tls = Arc::new(tls);
    while let Ok((socket, _)) = listener.accept().await {
        let (tls, opened) = (tls.clone(), opened.clone());
        tokio::spawn(async move {
            if let Ok(stream) = tls.accept(socket).await {
                serve(stream, opened).await;
            }
        });
    }
}

/// Whether a client with this configuration gets a stream before it has failed twice.
async fn connects(mut server: Secured, config: Config) -> bool {
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = Metrics::register(&mut registry);
    let client = tokio::spawn(Client::new(config, metrics).run(|_| Vec::new()));
    let failed = async {
        let mut text = String::new();
        while !text.contains("reason=\"ConnectionError\"} 2") {
            tokio::time::sleep(Duration::from_millis(5)).await;
            text.clear();
            prometheus_client::encoding::text::encode(&mut text, &registry).expect("metrics");
        }
    };
    let connected = soon(async {
        tokio::select! {
            stream = server.streams.recv() => stream.is_some(),
            () = failed => false,
        }
    })
    .await;
    client.abort();
    connected
}

#[tokio::test]
async fn the_certificate_has_to_be_for_the_host_and_of_the_root() {
    let config = |server: &Secured, roots: &str, host: &str| Config {
        roots: Roots::Pem(roots.to_owned()),
        ..Config::new(format!("https://{host}:{}", server.port), Node::default())
    };

    let server = secured("localhost").await;
    let good = config(&server, &server.roots, "localhost");
    assert!(connects(server, good).await);

    let server = secured("localhost").await;
    let other_host = config(&server, &server.roots, "127.0.0.1");
    assert!(!connects(server, other_host).await, "the certificate is for another host");

    let server = secured("istiod.istio-system.svc").await;
    let mut alternative = config(&server, &server.roots, "127.0.0.1");
    alternative.alternative_hostname = Some("istiod.istio-system.svc".to_owned());
    assert!(connects(server, alternative).await);

    let (server, other) = (secured("localhost").await, secured("localhost").await);
    let wrong_root = config(&server, &other.roots, "localhost");
    assert!(!connects(server, wrong_root).await, "the certificate is of another root");
}

#[tokio::test]
async fn a_root_file_is_read_for_each_connection() {
    let server = secured("localhost").await;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("root-cert.pem");
    let roots = Roots::File(path.clone());
    let address = format!("https://localhost:{}", server.port);
    let config = Config { roots, ..Config::new(address, Node::default()) };
    let (pem, mut streams) = (server.roots, server.streams);
    let metrics = Metrics::default();
    let client = tokio::spawn(Client::new(config, metrics).run(|_| Vec::new()));
    // Whenever the file appears, the next attempt succeeds.
    std::fs::write(&path, pem).expect("a root");
    assert!(soon(streams.recv()).await.is_some());
    client.abort();
}
