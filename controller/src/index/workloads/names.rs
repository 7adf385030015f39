//! The names under which telemetry knows a workload.

use ambit_model::Str;

use super::Meta;

/// The application's name: the first label that has one, or else the owner's name.
pub(super) fn canonical(meta: &Meta, owner: &Str) -> Str {
    first(meta, ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"])
        .unwrap_or_else(|| owner.clone())
}

/// The application's version.
pub(super) fn revision(meta: &Meta) -> Str {
    first(meta, ["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"])
        .unwrap_or_else(|| "latest".into())
}

fn first(meta: &Meta, labels: [&str; 3]) -> Option<Str> {
    labels.into_iter().find_map(|label| meta.label(label)).cloned()
}
