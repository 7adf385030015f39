//! From configuration to clients of the control plane.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambit_identity::{
    CaClient, CaClientConfig, CertificateSource, Identities, LocalCa, LocalSource, TokenSource,
};
use ambit_state::Reader;
use ambit_tls::{FileWatch, Revocations, RootSource, pem};
use anyhow::Context as _;
use prometheus_client::registry::Registry;

use crate::config::{Certificates, Config, ControlPlane, Node, ProxyMode, Signer};
use crate::dns::{self, DnsProxy};

/// How long one request to the CA may take.
const CA_TIMEOUT: Duration = Duration::from_secs(10);
/// The process's own resolver configuration.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Whoever signs this process's certificates.
pub(crate) fn certificate_source(config: &Config) -> anyhow::Result<Arc<dyn CertificateSource>> {
    let Certificates { signer, ttl, .. } = &config.certificates;
    let now = SystemTime::now();
    Ok(match signer {
        Signer::Directory(dir) => {
            let ca = LocalCa::open_or_create(dir, now)
                .with_context(|| format!("LOCAL_CA_DIR={}", dir.display()))?;
            Arc::new(LocalSource::new(Arc::new(ca), *ttl))
        }
        Signer::Fake => Arc::new(LocalSource::fake(*ttl, now)?),
        Signer::Service(service) => Arc::new(CaClient::new(CaClientConfig {
            address: service.address.clone(),
            root: RootSource::parse(&service.root),
            alt_hostname: service.alt_hostname.clone(),
            token: match token(service) {
                None => TokenSource::None,
                Some(Token::File(path)) => TokenSource::File(path),
                Some(Token::Literal(token)) => TokenSource::Literal(token),
            },
            cluster_id: config.node.cluster.to_string(),
            headers: service.headers.clone(),
            ttl: *ttl,
            impersonate: matches!(config.mode, ProxyMode::Shared { .. }),
            timeout: CA_TIMEOUT,
        })?),
    })
}

/// Has certificates renewed when the file of roots changes, which the certificate authority's owner rotates by it.
/// Without such a file, or where it cannot be watched, they are renewed at half their life.
pub(crate) async fn follow_roots(signer: Signer, identities: Identities) {
    let Signer::Service(service) = signer else { return };
    let RootSource::Path(path) = RootSource::parse(&service.root) else { return };
    let (mut watch, mut content) = match FileWatch::open(&path, pem::MAX_PEM_BYTES) {
        Ok(opened) => opened,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "changes of the roots will not be noticed");
            return;
        }
    };
    loop {
        match pem::certificates(&content) {
            Ok(roots) => identities.expect_roots(roots),
            Err(error) => tracing::warn!(path = %path.display(), %error, "no roots"),
        }
        content = loop {
            match watch.changed().await {
                Ok(content) => break content,
                Err(error) => tracing::warn!(path = %path.display(), %error, "no roots"),
            }
        };
    }
}

/// The revocation list to follow.
pub(crate) fn revocations(config: &Config) -> anyhow::Result<Revocations> {
    match &config.certificates.crl {
        None => Ok(Revocations::none()),
        Some(path) => Revocations::follow(path.clone())
            .with_context(|| format!("CRL_PATH={}", path.display())),
    }
}

/// The control plane as the xDS client wants to know it.
pub(crate) fn xds(node: &Node, service: &ControlPlane) -> ambit_xds::Config {
    let mut identity = ambit_xds::Node::ztunnel(
        &node.instance_ip,
        &node.pod_name,
        &node.pod_namespace,
        &node.name,
    );
    identity.metadata.extend(node.metadata.iter().cloned());
    identity.metadata.insert("CLUSTER_ID".into(), node.cluster.to_string());
    ambit_xds::Config {
        address: service.address.clone(),
        alternative_hostname: service.alt_hostname.clone(),
        roots: match RootSource::parse(&service.root) {
            RootSource::System => ambit_xds::Roots::System,
            _ if service.root.contains("-----BEGIN") => ambit_xds::Roots::Pem(service.root.clone()),
            _ => ambit_xds::Roots::File(service.root.clone().into()),
        },
        token: match token(service) {
            None => ambit_xds::Token::None,
            Some(Token::File(path)) => ambit_xds::Token::File(path),
            Some(Token::Literal(token)) => ambit_xds::Token::Literal(token),
        },
        cluster_id: node.cluster.to_string(),
        headers: service.headers.clone(),
        node: identity,
        types: ambit_xds::ResourceType::ZTUNNEL,
    }
}

/// The DNS proxy, unless it is turned off.
pub(crate) fn dns(config: &Config, state: Reader, registry: &mut Registry) -> Option<DnsProxy> {
    let resolv_conf = || {
        let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        dns::parse_resolv_conf(&text).nameservers.into_iter().map(dns::nameserver).collect()
    };
    config.dns.enabled.then(|| {
        let settings = dns::Config {
            domain: config.node.cluster_domain.clone(),
            preferred_namespace: config.dns.preferred_namespace.clone(),
            ipv6: config.sockets.ipv6,
            nameservers: resolv_conf(),
        };
        DnsProxy::new(settings, state, registry)
    })
}

enum Token {
    File(PathBuf),
    Literal(String),
}

/// `AUTH_TOKEN` is a path if it looks like one, else the token itself.
fn token(service: &ControlPlane) -> Option<Token> {
    let text = service.token.as_ref()?;
    let is_path = text.starts_with('/') || text.starts_with("./") || Path::new(text).exists();
    Some(if is_path { Token::File(text.into()) } else { Token::Literal(text.clone()) })
}

/// Whether sockets can be marked as this mode needs it; found out before the first pod comes.
pub(crate) fn check_privileges(config: &Config) -> io::Result<()> {
    let Some(mark) = config.sockets.mark else { return Ok(()) };
    let probe = ambit_net::ListenOptions { mark: Some(mark), ..Default::default() };
    let address = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
    ambit_net::listen(address, &probe).map(drop).map_err(|error| {
        let hint = "give the process CAP_NET_ADMIN and CAP_SYS_ADMIN, or run it as root";
        io::Error::new(error.kind(), format!("cannot set SO_MARK on a socket: {error}; {hint}"))
    })
}
