//! Certificates as fast as the control plane signs them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_identity::{CaClient, CaClientConfig, CertificateSource as _, TokenSource};
use ambit_model::Identity;
use ambit_tls::RootSource;
use futures_util::future::try_join_all;

use super::shape::Shape;
use super::subject::Subject;

/// Node proxies that ask, each over a connection of its own.
const PROXIES: u32 = 8;
/// Requests of one proxy under way.
const AT_ONCE: u32 = 4;

/// Asks for certificates of the nodes' pods for so long. Returns how many there were.
///
/// # Errors
/// One is refused.
pub(crate) async fn ask(
    shape: Shape,
    subject: &Subject,
    (roots, tokens): (&str, &[String]),
    duration: Duration,
) -> anyhow::Result<u64> {
    let (address, name) = subject.authority();
    let until = Instant::now() + duration;
    let mut askers = Vec::new();
    for (node, token) in (0..PROXIES.min(shape.nodes)).zip(tokens) {
        let client = Arc::new(CaClient::new(CaClientConfig {
            address: address.clone(),
            root: RootSource::Pem(roots.to_owned()),
            alt_hostname: Some(name.clone()),
            token: TokenSource::Literal(token.clone()),
            cluster_id: "Kubernetes".to_owned(),
            headers: Vec::new(),
            ttl: Duration::from_secs(24 * 3600),
            impersonate: true,
            timeout: Duration::from_secs(10),
        })?);
        for _ in 0..AT_ONCE {
            askers.push(ask_in_turn(shape, node, client.clone(), until));
        }
    }
    Ok(try_join_all(askers).await?.into_iter().sum())
}

async fn ask_in_turn(
    shape: Shape,
    node: u32,
    client: Arc<CaClient>,
    until: Instant,
) -> anyhow::Result<u64> {
    let pods = (0..shape.pods).filter(|pod| shape.node_of(*pod) == node);
    let identities: Vec<Identity> = pods
        .map(|pod| Identity {
            trust_domain: "cluster.local".into(),
            namespace: shape.pod(pod).namespace.into(),
            service_account: shape.account_of(pod).into(),
        })
        .collect();
    let mut count = 0;
    for identity in identities.iter().cycle() {
        if Instant::now() >= until {
            break;
        }
        client.fetch(identity).await?;
        count += 1;
    }
    Ok(count)
}
