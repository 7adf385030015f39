//! Certificates that are withdrawn while they are in use, on either side of a tunnel.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ambit_hbone::Config;
use ambit_model::TunnelProtocol;
use ambit_tests::{Answer, Mesh, Peer, eventually, greet, identity, missing, soon};
use ambit_tls::{Credential, pem};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// The file that `CRL_PATH` names.
struct List {
    dir: TempDir,
}

impl List {
    /// A list of a CA that has nothing to do with the mesh, whose own does not exist yet.
    fn new() -> Self {
        let list = Self { dir: tempfile::tempdir().unwrap() };
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
        list.write(&Issuer::new(params, KeyPair::generate().unwrap()), &[]);
        list
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("crl.pem")
    }

    /// Withdraws certificates in the name of the mesh's CA.
    fn revoke(&self, mesh: &Mesh, credentials: &[&Credential]) {
        let read = |name: &str| std::fs::read_to_string(mesh.dir().join("ca").join(name)).unwrap();
        let key = KeyPair::from_pem(&read("ca-key.pem")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&read("ca-cert.pem"), key).unwrap();
        self.write(&issuer, credentials);
    }

    fn write(&self, issuer: &Issuer<'_, KeyPair>, credentials: &[&Credential]) {
        let now = SystemTime::now();
        let hour = Duration::from_secs(3600);
        let revoked = |credential: &&Credential| RevokedCertParams {
            serial_number: serial(credential),
            revocation_time: now.into(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: (now - hour).into(),
            next_update: (now + hour).into(),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: credentials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let text = pem::encode("X509 CRL", params.signed_by(issuer).unwrap().der());
        let temporary = self.dir.path().join("new");
        std::fs::write(&temporary, text).unwrap();
        std::fs::rename(temporary, self.path()).unwrap();
    }
}

/// Of the leaf.
fn serial(credential: &Credential) -> SerialNumber {
    let number: u128 = credential.cert_chain()[0].serial_number.parse().unwrap();
    SerialNumber::from_slice(&number.to_be_bytes())
}

async fn mesh(list: &List) -> Mesh {
    Mesh::builder()
        .pod("client", "n1")
        .plain_pod("caller", "n1")
        .pod("server", "n2")
        .plain_pod("web", "n2")
        .workload("web", |workload| workload.protocol = TunnelProtocol::Hbone)
        .env("CRL_PATH", list.path().to_str().unwrap())
        .env("ZTUNNEL_WORKER_THREADS", "1")
        .start()
        .await
}

#[tokio::test]
async fn a_server_closes_connections_of_clients_whose_certificate_is_withdrawn() {
    if missing(&[]).is_some() {
        return;
    }
    let list = List::new();
    let mesh = mesh(&list).await;
    mesh.greeter("server", 8080, "server for");
    let authority = mesh.at("server", 8080).to_string();
    let (good, bad) =
        (mesh.credential(&identity("caller")).await, mesh.credential(&identity("caller")).await);
    let tunnel_of = async |credential: &Credential| {
        let to = mesh.at("server", 15008);
        let mut caller = mesh.caller("caller", credential, to, &identity("server")).await;
        let answer = caller.connect(&authority).await;
        (caller, answer)
    };
    let (_good_caller, answer) = tunnel_of(&good).await;
    let mut kept = answer.open();
    let (bad_caller, answer) = tunnel_of(&bad).await;
    let mut cut = answer.open();
    cut.line().await.unwrap();
    kept.line().await.unwrap();

    list.revoke(&mesh, &[&bad]);
    cut.rest().await.expect_err("the stream is broken off");
    // GOAWAY without an error.
    bad_caller.ended().await.unwrap();
    let (_caller, answer) = tunnel_of(&bad).await;
    assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
    kept.write(b"still there\n");
    assert_eq!(kept.line().await.unwrap(), "still there");
    let (_caller, answer) = tunnel_of(&good).await;
    assert_eq!(answer.in_a_word(), "200");
    mesh.logged("n2", "certificate was revoked, closing its connections").await;
    mesh.logged("n2", "peer's certificate is revoked").await;
    let metrics = mesh.metrics("n2").await;
    assert!(
        metrics.contains(r#"istio_crl_policy_rejections_total{reporter="destination"} 2"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_client_closes_connections_to_servers_whose_certificate_is_withdrawn() {
    if missing(&[]).is_some() {
        return;
    }
    let list = List::new();
    let mesh = mesh(&list).await;
    let credential = mesh.credential(&identity("web")).await;
    let withdrawn = Credential::from_pem(credential.pem().clone(), &ambit_tls::Revocations::none());
    let web = Peer::start(&mesh, "web", credential, Config::default(), |connect| async {
        if let Ok(stream) = connect.accept(None) {
            let _ = greet(stream.into_io(), "web").await;
        }
    });
    mesh.greeter("server", 8080, "server for");
    let (revoked, other) = (mesh.at("web", 8080), mesh.at("server", 8080));
    let mut cut = BufReader::new(mesh.dial("client", revoked).await.unwrap());
    let mut kept = BufReader::new(mesh.dial("client", other).await.unwrap());
    for tcp in [&mut cut, &mut kept] {
        soon(tcp.read_line(&mut String::new())).await.unwrap();
    }

    list.revoke(&mesh, &[&withdrawn.unwrap()]);
    let error = soon(cut.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(mesh.ask("client", revoked).await, "reset");
    assert_eq!(web.seen().len(), 1);
    kept.write_all(b"still there\n").await.unwrap();
    let mut line = String::new();
    soon(kept.read_line(&mut line)).await.unwrap();
    assert_eq!(line, "still there\n");
    let metrics = mesh.metrics("n1").await;
    assert!(
        metrics.contains(r#"istio_crl_policy_rejections_total{reporter="source"} 2"#),
        "{metrics}"
    );
    // What is no longer on the list is good again.
    list.revoke(&mesh, &[]);
    eventually(|| async {
        let answer = mesh.ask("client", revoked).await;
        if answer == "web" { Ok(()) } else { Err(answer) }
    })
    .await;
}
