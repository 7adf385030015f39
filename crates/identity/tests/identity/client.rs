//! The gRPC client against a certificate authority on the network.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambit_identity::{
    CaClient, CaClientConfig, CaClientError, CertificateSource as _, FetchError, LocalCa,
    TokenSource,
};
use ambit_model::Identity;
use ambit_proto::certificate::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use ambit_proto::certificate::{IstioCertificateRequest, IstioCertificateResponse};
use ambit_tls::{Credential, CredentialPem, Revocations, RootSource};
use parking_lot::Mutex;
use prost_types::value::Kind;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::fixtures::{DEADLINE, HOUR, identity};

/// What one request carried.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    authorization: Option<String>,
    cluster: Option<String>,
    extra: Option<String>,
    impersonated: Option<String>,
    seconds: i64,
}

enum Mood {
    Sign,
    Refuse,
    Fail,
    WithoutRoots,
    Silent,
}

struct Authority {
    ca: LocalCa,
    mood: Mutex<Mood>,
    seen: Mutex<Vec<Seen>>,
}

#[tonic::async_trait]
impl IstioCertificateService for Authority {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let header = |name: &str| {
            let value = request.metadata().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        let (authorization, cluster) = (header("authorization"), header("clusterid"));
        let extra = header("x-extra");
        let message = request.into_inner();
        let impersonated = message.metadata.and_then(|metadata| {
            match metadata.fields.get("ImpersonatedIdentity")?.kind.clone()? {
                Kind::StringValue(identity) => Some(identity),
                _ => None,
            }
        });
        let seconds = message.validity_duration;
        let seen = Seen { authorization, cluster, extra, impersonated, seconds };
        let own = identity("own").to_string();
        let who: Identity = seen.impersonated.clone().unwrap_or(own).parse().unwrap();
        self.seen.lock().push(seen);
        let silent = match *self.mood.lock() {
            Mood::Refuse => {
                return Err(Status::unauthenticated(
                    "request impersonation authentication failure",
                ));
            }
            Mood::Fail => return Err(Status::internal("broken")),
            Mood::Silent => true,
            Mood::Sign | Mood::WithoutRoots => false,
        };
        if silent {
            std::future::pending::<()>().await;
        }
        let mut cert_chain = self.ca.sign(&message.csr, &who, HOUR, SystemTime::now()).unwrap();
        if matches!(*self.mood.lock(), Mood::WithoutRoots) {
            cert_chain.truncate(1);
        }
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}

impl Authority {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            ca: LocalCa::in_memory(SystemTime::now()).unwrap(),
            mood: Mutex::new(Mood::Sign),
            seen: Mutex::default(),
        })
    }

    /// Serves on a port of its own; over TLS for `istiod.istio-system.svc` if `tls`.
    async fn serve(self: &Arc<Self>, tls: bool) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = Server::builder();
        if tls {
            let names = ["istiod.istio-system.svc".to_owned()];
            let (chain, key) = self.ca.server_certificate(&names, HOUR, SystemTime::now()).unwrap();
            let own = tonic::transport::Identity::from_pem(chain, key);
            server = server.tls_config(ServerTlsConfig::new().identity(own)).unwrap();
        }
        let service = IstioCertificateServiceServer::from_arc(Arc::clone(self));
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(server.add_service(service).serve_with_incoming(incoming));
        address
    }
}

fn config(address: std::net::SocketAddr, dir: &Path) -> CaClientConfig {
    CaClientConfig {
        address: address.to_string(),
        root: RootSource::Path(dir.join("root.pem")),
        alt_hostname: Some("istiod.istio-system.svc".to_owned()),
        token: TokenSource::File(dir.join("token")),
        cluster_id: "east".to_owned(),
        headers: vec![("X-Extra".to_owned(), "1".to_owned())],
        ttl: 2 * HOUR,
        timeout: DEADLINE,
        ..CaClientConfig::default()
    }
}

fn files(ca: &LocalCa) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("root.pem"), ca.roots_pem()).unwrap();
    std::fs::write(dir.path().join("token"), "first\n").unwrap();
    let path = dir.path().to_owned();
    (dir, path)
}

async fn fetch(client: &CaClient, account: &str) -> Result<CredentialPem, FetchError> {
    tokio::time::timeout(DEADLINE, client.fetch(&identity(account))).await.unwrap()
}

#[tokio::test]
async fn asks_as_a_node_proxy_does() {
    let authority = Authority::new();
    let address = authority.serve(true).await;
    let (_dir, path) = files(&authority.ca);
    let client = CaClient::new(config(address, &path)).unwrap();
    let pem = fetch(&client, "web").await.unwrap();
    let credential = Credential::from_pem(pem, &Revocations::none()).unwrap();
    assert_eq!(*credential.identity(), identity("web"));
    assert!(credential.verify_at(SystemTime::now()).is_ok());
    std::fs::write(path.join("token"), "second").unwrap();
    fetch(&client, "cart").await.unwrap();
    let expected = |token: &str, account: &str| Seen {
        authorization: Some(format!("Bearer {token}")),
        cluster: Some("east".to_owned()),
        extra: Some("1".to_owned()),
        impersonated: Some(identity(account).to_string()),
        seconds: 7200,
    };
    assert_eq!(*authority.seen.lock(), [expected("first", "web"), expected("second", "cart")]);

    let dedicated = CaClientConfig {
        impersonate: false,
        token: TokenSource::Literal("mine".to_owned()),
        ..config(address, &path)
    };
    let client = CaClient::new(dedicated).unwrap();
    fetch(&client, "own").await.unwrap();
    let seen = authority.seen.lock().pop().unwrap();
    assert_eq!((seen.impersonated, seen.authorization.as_deref()), (None, Some("Bearer mine")));
    assert!(!format!("{:?}", TokenSource::Literal("mine".to_owned())).contains("mine"));
}

#[tokio::test]
async fn each_failure_has_its_reason() {
    let authority = Authority::new();
    let address = authority.serve(true).await;
    let (_dir, path) = files(&authority.ca);
    let client = CaClient::new(config(address, &path)).unwrap();
    for (mood, reason) in
        [(Mood::Refuse, "refused"), (Mood::Fail, "failed"), (Mood::WithoutRoots, "no_roots")]
    {
        *authority.mood.lock() = mood;
        let error = fetch(&client, "web").await.unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");
    }
    *authority.mood.lock() = Mood::Silent;
    let impatient =
        CaClientConfig { timeout: Duration::from_millis(300), ..config(address, &path) };
    let error = fetch(&CaClient::new(impatient).unwrap(), "web").await.unwrap_err();
    assert_eq!(error.reason(), "unreachable", "{error}");

    std::fs::remove_file(path.join("token")).unwrap();
    let error = fetch(&client, "web").await.unwrap_err();
    assert!(
        matches!(&error, FetchError::Token { path: p, .. } if *p == path.join("token")),
        "{error}"
    );
    std::fs::write(path.join("token"), "a\nb").unwrap();
    assert!(matches!(fetch(&client, "web").await, Err(FetchError::MalformedToken)));

    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    std::fs::write(path.join("token"), "t").unwrap();
    let client = CaClient::new(config(nobody, &path)).unwrap();
    assert_eq!(fetch(&client, "web").await.unwrap_err().reason(), "unreachable");
}

#[tokio::test]
async fn a_server_that_the_root_does_not_vouch_for_gets_no_token() {
    let (authority, other) = (Authority::new(), Authority::new());
    let address = authority.serve(true).await;
    let (_dir, path) = files(&other.ca);
    let client = CaClient::new(config(address, &path)).unwrap();
    assert_eq!(fetch(&client, "web").await.unwrap_err().reason(), "unreachable");
    let (_dir, path) = files(&authority.ca);
    let named = CaClientConfig { alt_hostname: None, ..config(address, &path) };
    let client = CaClient::new(named).unwrap();
    assert_eq!(fetch(&client, "web").await.unwrap_err().reason(), "unreachable");
    assert!(authority.seen.lock().is_empty());
}

#[tokio::test]
async fn a_changed_root_file_makes_a_new_channel() {
    let (authority, other) = (Authority::new(), Authority::new());
    let address = authority.serve(true).await;
    let (_dir, path) = files(&other.ca);
    let client = CaClient::new(config(address, &path)).unwrap();
    assert!(fetch(&client, "web").await.is_err());
    std::fs::write(path.join("root.pem"), authority.ca.roots_pem()).unwrap();
    fetch(&client, "web").await.unwrap();
    // A bad file changes nothing.
    for bad in ["", "junk"] {
        std::fs::write(path.join("root.pem"), bad).unwrap();
        fetch(&client, "web").await.unwrap();
    }
    std::fs::remove_file(path.join("root.pem")).unwrap();
    fetch(&client, "web").await.unwrap();
    // Nor does a change of roots keep a channel that they do not vouch for.
    std::fs::write(path.join("root.pem"), other.ca.roots_pem()).unwrap();
    assert!(fetch(&client, "web").await.is_err());
}

#[tokio::test]
async fn plaintext_is_for_loopback_only_and_mistakes_are_named() {
    let authority = Authority::new();
    let address = authority.serve(false).await;
    let (_dir, path) = files(&authority.ca);
    let plain = CaClientConfig { address: format!("http://{address}"), ..config(address, &path) };
    fetch(&CaClient::new(plain).unwrap(), "web").await.unwrap();

    let with = |address: &str| CaClientConfig {
        address: address.to_owned(),
        ..config(([127, 0, 0, 1], 1).into(), &path)
    };
    for address in
        ["http://10.0.0.1:15012", "http://istiod.istio-system.svc:15012", "http://[2001:db8::1]:1"]
    {
        let error = CaClient::new(with(address)).unwrap_err();
        assert!(matches!(error, CaClientError::Plaintext { .. }), "{address}: {error}");
    }
    for address in ["", "https://", "ftp://a:1", "http s://x", "/path"] {
        let error = CaClient::new(with(address)).unwrap_err();
        assert!(matches!(error, CaClientError::Address { .. }), "{address:?}: {error}");
    }
    for address in
        ["http://localhost:1", "http://[::1]:1", "https://[2001:db8::1]:15012", "istiod:15012"]
    {
        assert!(CaClient::new(with(address)).is_ok(), "{address}");
    }
    let headers = vec![("bad name".to_owned(), "x".to_owned())];
    let error = CaClient::new(CaClientConfig { headers, ..with("x:1") }).unwrap_err();
    assert!(matches!(error, CaClientError::Header { .. }), "{error}");
    std::fs::remove_file(path.join("root.pem")).unwrap();
    assert!(matches!(CaClient::new(with("x:1")), Err(CaClientError::Tls(_))));
}
