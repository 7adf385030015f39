//! Who a process is, and where it can be looked at.

use std::time::Duration;

use ambit_model::Str;

use crate::Env;

/// Who this process is.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// `NODE_NAME`.
    pub name: Str,
    /// `CLUSTER_ID`.
    pub cluster: Str,
    /// `CLUSTER_DOMAIN`.
    pub cluster_domain: Str,
    /// `NETWORK`.
    pub network: Str,
    /// `TRUST_DOMAIN`, of the process's own identity.
    pub trust_domain: Str,
    /// `POD_NAME`.
    pub pod_name: String,
    /// `POD_NAMESPACE`.
    pub pod_namespace: String,
    /// `SERVICE_ACCOUNT`.
    pub service_account: Str,
    /// `INSTANCE_IP`.
    pub instance_ip: String,
    /// Proxy metadata from `ISTIO_META_*`.
    pub metadata: Vec<(String, String)>,
}

/// Ports of the process's own servers.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Admin, on loopback (`ADMIN_PORT`).
    pub admin: u16,
    /// Metrics, on every address (`STATS_PORT`).
    pub stats: u16,
    /// Readiness, on every address (`READINESS_PORT`).
    pub readiness: u16,
}

// === impl Node ===

impl Node {
    /// What the environment says; defaults are those of protocol facts 9.
    pub fn from_env(env: &Env) -> Self {
        let text = |name: &str| env.text(name).unwrap_or_default();
        let or = |name: &str, default: &str| env.text(name).unwrap_or_else(|| default.into());
        let cluster = env.text("ISTIO_META_CLUSTER_ID").or_else(|| env.text("CLUSTER_ID"));
        Self {
            name: text("NODE_NAME").into(),
            cluster: cluster.unwrap_or_else(|| "Kubernetes".into()).into(),
            cluster_domain: or("CLUSTER_DOMAIN", "cluster.local").into(),
            network: text("NETWORK").into(),
            trust_domain: or("TRUST_DOMAIN", "cluster.local").into(),
            pod_name: text("POD_NAME"),
            pod_namespace: text("POD_NAMESPACE"),
            service_account: text("SERVICE_ACCOUNT").into(),
            instance_ip: or("INSTANCE_IP", "1.1.1.1"),
            metadata: env.prefixed("ISTIO_META_"),
        }
    }
}

// === impl Ports ===

impl Ports {
    /// What the environment says, else those of protocol facts 1.1.
    pub fn from_env(env: &mut Env) -> Self {
        Self {
            admin: env.parse("ADMIN_PORT", 15000),
            stats: env.parse("STATS_PORT", 15020),
            readiness: env.parse("READINESS_PORT", 15021),
        }
    }
}

/// The time that open connections get after SIGTERM (protocol facts 2.3).
pub fn drain_deadline(env: &mut Env) -> Duration {
    let grace: u64 = env.parse("TERMINATION_GRACE_PERIOD_SECONDS", 0);
    let default = match grace {
        0 => 5,
        1..=10 => grace.saturating_sub(1).max(1),
        _ => grace - 5,
    };
    env.duration("CONNECTION_TERMINATION_DEADLINE", Duration::from_secs(default))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_period_leaves_time_to_exit() {
        for (grace, seconds) in [("30", 25), ("11", 6), ("10", 9), ("2", 1), ("1", 1)] {
            let variable = ("TERMINATION_GRACE_PERIOD_SECONDS".to_owned(), grace.to_owned());
            let deadline = drain_deadline(&mut Env::from_iter([variable]));
            assert_eq!(deadline, Duration::from_secs(seconds), "{grace}");
        }
    }
}
