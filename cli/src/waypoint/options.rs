//! What can be asked of `ambit waypoint`.

use clap::{Args, Subcommand, ValueEnum};

use super::gateway::Plan;

/// Waypoints.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a waypoint, or make it as it should be.
    Apply(Apply),
    /// Print the waypoint's Gateway as YAML, for a repository.
    Generate(Shape),
    /// List waypoints.
    List(Scope),
    /// Say of waypoints whether they work, and if not, why and what to do.
    Status(Status),
    /// Remove waypoints, and with them what was deployed for them.
    Delete(Delete),
}

#[derive(Args, Debug)]
pub(super) struct Shape {
    /// Name of the waypoint.
    #[arg(long, default_value = "waypoint")]
    pub(super) name: String,
    /// Its namespace.
    #[arg(long, short, default_value = "default")]
    pub(super) namespace: String,
    /// What traffic it is for [default: service].
    #[arg(long = "for", value_name = "TRAFFIC")]
    pub(super) traffic: Option<Traffic>,
    /// Its GatewayClass.
    #[arg(long, default_value = "istio-waypoint", value_parser = ["istio-waypoint", "ambit-waypoint"])]
    pub(super) class: String,
}

#[derive(Args, Debug)]
pub(super) struct Apply {
    #[command(flatten)]
    pub(super) shape: Shape,
    /// Have the whole namespace use it: the label istio.io/use-waypoint.
    #[arg(long = "enroll-namespace", visible_alias = "enroll")]
    pub(super) enroll: bool,
    /// Take over fields that somebody else has set, and the label of a namespace that uses another waypoint.
    #[arg(long)]
    pub(super) overwrite: bool,
    /// Wait until it is programmed.
    #[arg(long, short)]
    pub(super) wait: bool,
    /// How long to wait, in seconds.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    pub(super) timeout: u64,
}

#[derive(Args, Debug)]
pub(super) struct Scope {
    /// Their namespace.
    #[arg(long, short, default_value = "default")]
    pub(super) namespace: String,
    /// Those of all namespaces.
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    pub(super) all_namespaces: bool,
}

#[derive(Args, Debug)]
pub(super) struct Status {
    /// The waypoint; all of them where none is named.
    pub(super) name: Option<String>,
    #[command(flatten)]
    pub(super) scope: Scope,
}

#[derive(Args, Debug)]
pub(super) struct Delete {
    /// The waypoints.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(super) names: Vec<String>,
    /// Every waypoint of the namespace.
    #[arg(long)]
    pub(super) all: bool,
    /// Their namespace.
    #[arg(long, short, default_value = "default")]
    pub(super) namespace: String,
}

/// What traffic a waypoint is for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Traffic {
    /// To services.
    Service,
    /// To workloads' own addresses.
    Workload,
    /// Both.
    All,
    /// Neither.
    None,
}

// === impl Scope ===

impl Scope {
    pub(super) fn namespace(&self) -> Option<&str> {
        (!self.all_namespaces).then_some(&*self.namespace)
    }

    pub(super) fn place(&self) -> String {
        match self.namespace() {
            Some(namespace) => format!("in namespace {namespace}"),
            None => "in any namespace".to_owned(),
        }
    }
}

// === impl Shape ===

impl Shape {
    pub(super) fn plan(&self) -> Plan {
        let traffic = self.traffic.and_then(|traffic| traffic.to_possible_value());
        Plan {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            traffic: traffic.map(|traffic| traffic.get_name().to_owned()),
            class: self.class.clone(),
        }
    }
}
