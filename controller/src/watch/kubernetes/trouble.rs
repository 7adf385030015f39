//! What can go wrong between the controller and the API server, in words and as a metric.

use kube::runtime::watcher;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::watch::{Kind, Problem, Report};

/// Why a kind is not followed at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The cluster does not know the kind.
    Missing,
    /// The controller may not read it.
    Forbidden,
    /// The versions that were watched from are no longer kept: everything is listed anew.
    Expired,
    /// The API server cannot be reached, or does not answer as it should.
    Unreachable(String),
}

/// Counts errors of the Kubernetes API, by reason: `forbidden`, `missing`, `expired`, `unreachable`.
#[derive(Clone, Debug, Default)]
pub struct SourceErrors(Family<Labels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
    reason: &'static str,
}

// === impl Trouble ===

impl Trouble {
    /// Whether the first state may do without `kind`: there is none of it, or, for lack of a right, none of a kind
    /// that only adds to the mesh. Without its policies a mesh would be open, and without its pods empty.
    pub(super) fn settles(&self, kind: Kind) -> bool {
        match self {
            Self::Missing => true,
            Self::Forbidden => kind.is_dispensable(),
            Self::Expired | Self::Unreachable(_) => false,
        }
    }

    /// The value of the metric label `reason`.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Forbidden => "forbidden",
            Self::Expired => "expired",
            Self::Unreachable(_) => "unreachable",
        }
    }

    /// The line about it.
    pub(super) fn report(&self, kind: Kind) -> Report {
        let (group, plural) = (kind.group(), kind.plural());
        let (subject, message) = match self {
            Self::Missing => (
                kind.as_str(),
                format!(
                    "the cluster does not serve {}; install the CRD if such objects are to be used",
                    [plural, group].join(".").trim_end_matches('.')
                ),
            ),
            Self::Forbidden => (
                kind.as_str(),
                format!(
                    "may not be read; add to the controller's ClusterRole: apiGroups: [{group:?}], resources: [{plural:?}], verbs: [\"list\", \"watch\"]"
                ),
            ),
            Self::Expired => (kind.as_str(), "is listed anew after a long break".to_owned()),
            // The same for all kinds, so that an outage is one line.
            Self::Unreachable(why) => (
                "Kubernetes API",
                format!("{why}; what was known last stays in force until it answers"),
            ),
        };
        Report { location: None, subject: subject.to_owned(), problem: Problem::new("", message) }
    }
}

impl From<watcher::Error> for Trouble {
    fn from(error: watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => error.into(),
            watcher::Error::WatchError(status) => kube::Error::Api(status).into(),
            watcher::Error::NoResourceVersion => {
                Self::Unreachable("an answer has no resourceVersion".to_owned())
            }
        }
    }
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) => match status.code {
                403 => Self::Forbidden,
                404 => Self::Missing,
                410 => Self::Expired,
                _ => Self::Unreachable(api_error(&error)),
            },
            _ => Self::Unreachable(api_error(&error)),
        }
    }
}

/// An error of the Kubernetes API in one line, with what led to it.
pub(crate) fn api_error(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => {
            format!("{} ({} {})", status.message, status.code, status.reason)
        }
        other => ambit_telemetry::Chain(other).to_string(),
    }
}

/// An error of a watch in one line.
pub(crate) fn watch_error(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => api_error(error),
        watcher::Error::WatchError(status) => status.message.clone(),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

// === impl SourceErrors ===

impl SourceErrors {
    /// Registers the counter under the name `source_errors`.
    pub fn register(registry: &mut Registry) -> Self {
        let errors = Self::default();
        registry.register(
            "source_errors",
            "Errors while reading objects from the Kubernetes API, by kind and reason",
            errors.0.clone(),
        );
        errors
    }

    pub(super) fn count(&self, kind: Kind, trouble: &Trouble) {
        let labels = Labels { kind: kind.as_str(), reason: trouble.reason() };
        self.0.get_or_create(&labels).inc();
    }
}
