//! Settings: the command line, read and checked in one place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Parser};

use crate::index::Settings;

mod cluster;
mod names;

use cluster::MeshNames;
pub use cluster::{ClusterArgs, ClusterSource};
use names::{is_domain, is_label, server_names};

/// Watches Kubernetes objects, in a directory or a cluster, and serves workloads, policies and certificates to node proxies.
#[derive(Clone, Debug, Parser)]
#[command(name = "controller", version)]
#[command(group(ArgGroup::new("source").required(true).args(["from_dir", "kubernetes"])))]
pub struct Args {
    /// Directory of Kubernetes YAML (*.yaml, *.yml, *.json; subdirectories one level deep).
    #[arg(long, value_name = "DIR", requires = "node_tokens", requires = "ca_dir")]
    from_dir: Option<PathBuf>,
    /// Follow the objects of a cluster instead: that of the pod it runs in, or else that of KUBECONFIG.
    #[arg(long)]
    kubernetes: bool,
    /// Address of xDS and of the certificate service [default: 127.0.0.1:15012, with --kubernetes [::]:15012].
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Port of metrics, readiness and diagnostics on the loopback; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 15014)]
    admin_port: u16,
    /// File with one line for each node: {"token": "…", "node": "…", "serviceAccount": "namespace/name"}, and one
    /// without a node for each waypoint; mode 0600.
    #[arg(long, value_name = "FILE", conflicts_with = "kubernetes")]
    node_tokens: Option<PathBuf>,
    /// Directory of the certificate authority: root-cert.pem, ca-cert.pem, ca-key.pem; made where empty.
    #[arg(long, value_name = "DIR", conflicts_with = "kubernetes")]
    ca_dir: Option<PathBuf>,
    /// File to write the root certificates to, for the proxies.
    #[arg(long, value_name = "FILE", conflicts_with = "kubernetes")]
    root_cert_out: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Serve without TLS; on the loopback only.
    #[arg(long)]
    plaintext: bool,
    /// Further name or address of the server's certificate.
    #[arg(long, value_name = "NAME")]
    server_name: Vec<String>,
    /// Trust domain of every identity.
    #[arg(long, default_value = "cluster.local")]
    trust_domain: String,
    /// Id of the cluster, part of every workload's uid.
    #[arg(long, default_value = "Kubernetes")]
    cluster_id: String,
    /// DNS domain of the cluster.
    #[arg(long, default_value = "cluster.local")]
    cluster_domain: String,
    /// Namespace whose policies apply to the whole mesh.
    #[arg(long, default_value = "istio-system")]
    root_namespace: String,
    /// Lifetime of certificates for those who ask for none: a number with s, m, h or d.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    leaf_ttl: Duration,
    /// Distribute policies with the annotation istio.io/dry-run too.
    #[arg(long)]
    dry_run_policies: bool,
    /// Levels of the log, in the syntax of RUST_LOG.
    #[arg(long, env = "RUST_LOG", default_value = "info,kube_runtime=error,kube_client=off")]
    log: String,
    /// Format of the log: plain or json.
    #[arg(long, env = "LOG_FORMAT", default_value = "plain", value_parser = ["plain", "json"])]
    log_format: String,
}

/// What the controller needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where objects, tokens and the certificate authority come from.
    pub source: Source,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The port of metrics, readiness and diagnostics.
    pub admin_port: u16,
    /// Whether to do without TLS.
    pub plaintext: bool,
    /// Names and addresses in the server's certificate.
    pub server_names: Vec<String>,
    /// The lifetime of certificates for those who ask for none.
    pub leaf_ttl: Duration,
    /// What the index has to know.
    pub index: Settings,
}

/// Where objects, tokens and the certificate authority come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Files.
    Files(FileSource),
    /// A cluster.
    Cluster(Box<ClusterSource>),
}

/// The files of a controller without a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSource {
    /// The directory of objects.
    pub from_dir: PathBuf,
    /// The file of tokens.
    pub node_tokens: PathBuf,
    /// The directory of the certificate authority.
    pub ca_dir: PathBuf,
    /// Where to write its roots.
    pub root_cert_out: Option<PathBuf>,
}

/// Settings that cannot be right, all of them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct InvalidConfig(pub Vec<String>);

// === impl Args ===

impl Args {
    /// Levels of the log.
    pub fn log_filter(&self) -> &str {
        &self.log
    }

    /// Whether the log is JSON.
    pub fn log_json(&self) -> bool {
        self.log_format == "json"
    }
}

// === impl Config ===

impl TryFrom<Args> for Config {
    type Error = InvalidConfig;

    fn try_from(args: Args) -> Result<Self, InvalidConfig> {
        let mut wrong = Vec::new();
        let listen = args.listen.unwrap_or_else(|| default_address(args.kubernetes));
        let mut check = |ok: bool, message: String| {
            if !ok {
                wrong.push(message);
            }
        };
        for (option, value) in
            [("--trust-domain", &args.trust_domain), ("--cluster-domain", &args.cluster_domain)]
        {
            check(is_domain(value), format!("{option} {value:?} is not a DNS name"));
        }
        let namespace = &args.root_namespace;
        check(
            is_label(namespace),
            format!("--root-namespace {namespace:?} is not a namespace's name"),
        );
        let own = args.cluster.namespace(namespace);
        check(is_label(own), format!("--namespace {own:?} is not a namespace's name"));
        let cluster = &args.cluster_id;
        let plain = !cluster.is_empty() && !cluster.contains('/');
        check(plain, format!("--cluster-id {cluster:?} must not be empty or have a slash in it"));
        check(!args.leaf_ttl.is_zero(), "--leaf-ttl must be longer than nothing".to_owned());
        let loopback = !args.plaintext || listen.ip().is_loopback();
        check(
            loopback,
            format!("--plaintext: {listen} is not an address of the loopback; use TLS there"),
        );
        if !wrong.is_empty() {
            return Err(InvalidConfig(wrong));
        }
        Ok(Self {
            server_names: server_names(&args, listen),
            source: source(&args),
            listen,
            admin_port: args.admin_port,
            plaintext: args.plaintext,
            leaf_ttl: args.leaf_ttl,
            index: Settings {
                cluster_id: args.cluster_id.into(),
                cluster_domain: args.cluster_domain.into(),
                trust_domain: args.trust_domain.into(),
                root_namespace: args.root_namespace.into(),
                dry_run_policies: args.dry_run_policies,
            },
        })
    }
}

fn default_address(cluster: bool) -> SocketAddr {
    let ip = if cluster { Ipv6Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv4Addr::LOCALHOST) };
    SocketAddr::new(ip, 15012)
}

/// Clap has made sure that either all of the files are named or none.
fn source(args: &Args) -> Source {
    match (&args.from_dir, &args.node_tokens, &args.ca_dir) {
        (Some(from_dir), Some(node_tokens), Some(ca_dir)) => Source::Files(FileSource {
            from_dir: from_dir.clone(),
            node_tokens: node_tokens.clone(),
            ca_dir: ca_dir.clone(),
            root_cert_out: args.root_cert_out.clone(),
        }),
        _ => {
            let names = MeshNames {
                cluster_id: &args.cluster_id,
                cluster_domain: &args.cluster_domain,
                trust_domain: &args.trust_domain,
            };
            Source::Cluster(Box::new(args.cluster.source(&args.root_namespace, names)))
        }
    }
}

/// A number with a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("{text:?} is not a time such as 30s, 15m, 24h or 7d");
    let unit = text.chars().last().ok_or_else(invalid)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(invalid()),
    };
    let number: u64 = text.trim_end_matches(unit).parse().map_err(|_| invalid())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(invalid)
}

#[cfg(test)]
mod tests;
