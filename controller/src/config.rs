//! Settings: the command line, read and checked in one place.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::index::Settings;

/// Watches a directory of Kubernetes objects and serves workloads, policies and certificates to node proxies.
#[derive(Clone, Debug, Parser)]
#[command(name = "controller", version)]
pub struct Args {
    /// Directory of Kubernetes YAML (*.yaml, *.yml, *.json; subdirectories one level deep).
    #[arg(long, value_name = "DIR")]
    from_dir: PathBuf,
    /// Address of xDS and of the certificate service.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:15012")]
    listen: SocketAddr,
    /// Port of metrics, readiness and diagnostics on the loopback; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 15014)]
    admin_port: u16,
    /// File with one line for each node: {"token": "…", "node": "…", "serviceAccount": "namespace/name"}; mode 0600.
    #[arg(long, value_name = "FILE")]
    node_tokens: PathBuf,
    /// Directory of the certificate authority: root-cert.pem, ca-cert.pem, ca-key.pem; made where empty.
    #[arg(long, value_name = "DIR")]
    ca_dir: PathBuf,
    /// File to write the root certificates to, for the proxies.
    #[arg(long, value_name = "FILE")]
    root_cert_out: Option<PathBuf>,
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
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    log: String,
    /// Format of the log: plain or json.
    #[arg(long, env = "LOG_FORMAT", default_value = "plain", value_parser = ["plain", "json"])]
    log_format: String,
}

/// What the controller needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory of objects.
    pub from_dir: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The port of metrics, readiness and diagnostics.
    pub admin_port: u16,
    /// The file of tokens.
    pub node_tokens: PathBuf,
    /// The directory of the certificate authority.
    pub ca_dir: PathBuf,
    /// Where to write its roots.
    pub root_cert_out: Option<PathBuf>,
    /// Whether to do without TLS.
    pub plaintext: bool,
    /// Names and addresses in the server's certificate.
    pub server_names: Vec<String>,
    /// The lifetime of certificates for those who ask for none.
    pub leaf_ttl: Duration,
    /// What the index has to know.
    pub index: Settings,
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
        let label = is_domain(namespace) && !namespace.contains('.');
        check(label, format!("--root-namespace {namespace:?} is not a namespace's name"));
        let cluster = &args.cluster_id;
        let plain = !cluster.is_empty() && !cluster.contains('/');
        check(plain, format!("--cluster-id {cluster:?} must not be empty or have a slash in it"));
        check(!args.leaf_ttl.is_zero(), "--leaf-ttl must be longer than nothing".to_owned());
        let loopback = !args.plaintext || args.listen.ip().is_loopback();
        check(
            loopback,
            format!(
                "--plaintext: {} is not an address of the loopback; use TLS there",
                args.listen
            ),
        );
        if !wrong.is_empty() {
            return Err(InvalidConfig(wrong));
        }
        Ok(Self {
            server_names: server_names(&args),
            from_dir: args.from_dir,
            listen: args.listen,
            admin_port: args.admin_port,
            node_tokens: args.node_tokens,
            ca_dir: args.ca_dir,
            root_cert_out: args.root_cert_out,
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

/// The names that proxies know the control plane by, the address that is listened on, and what was asked for.
fn server_names(args: &Args) -> Vec<String> {
    let (namespace, domain) = (&args.root_namespace, &args.cluster_domain);
    let mut names = vec![
        "localhost".to_owned(),
        format!("istiod.{namespace}.svc"),
        format!("istiod.{namespace}.svc.{domain}"),
    ];
    let ip = args.listen.ip();
    if ip.is_unspecified() || ip.is_loopback() {
        names.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
    }
    if !ip.is_unspecified() && !names.contains(&ip.to_string()) {
        names.push(ip.to_string());
    }
    names.extend(args.server_name.iter().cloned());
    names
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
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
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Result<Config, String> {
        let needed = ["controller", "--from-dir", "d", "--node-tokens", "t", "--ca-dir", "c"];
        let args = Args::try_parse_from(needed.iter().chain(options));
        args.map_err(|e| e.to_string())?.try_into().map_err(|e: InvalidConfig| e.to_string())
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let error =
            parse(&["--trust-domain", "a/b", "--cluster-id", "", "--root-namespace", "a.b"])
                .unwrap_err();
        for option in ["--trust-domain", "--cluster-id", "--root-namespace"] {
            assert!(error.contains(option), "{error}");
        }
    }

    #[test]
    fn plaintext_stays_on_the_loopback() {
        assert!(parse(&["--plaintext"]).is_ok());
        assert!(parse(&["--plaintext", "--listen", "[::1]:1"]).is_ok());
        for address in ["0.0.0.0:15012", "10.0.0.1:15012", "[::]:15012"] {
            let error = parse(&["--plaintext", "--listen", address]).unwrap_err();
            assert!(error.contains(address), "{error}");
        }
    }

    #[test]
    fn the_server_is_certified_for_what_it_is_called() {
        let names = parse(&["--listen", "10.1.2.3:15012", "--server-name", "x.example"])
            .map(|config| config.server_names)
            .unwrap();
        for name in ["localhost", "istiod.istio-system.svc", "10.1.2.3", "x.example"] {
            assert!(names.iter().any(|n| n == name), "{names:?}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("30s", 30), ("15m", 900), ("24h", 86_400), ("7d", 604_800)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "h", "10", "-1s", "1.5h", "99999999999999999999d", "1 h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
