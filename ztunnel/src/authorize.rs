//! Policy for inbound connections: asked when they open, and again whenever an answer may have changed.

use ambit_model::{Identity, Workload};
use ambit_policy::{Decision, Facts, decide};
use ambit_state::Snapshot;

use crate::connections::Connection;
use crate::context::Context;
use crate::pod::{Pod, PodInfo};

/// A connection that policy denies; the text names the policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Denied(String);

/// The policies that allowed a connection, by their version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed(u64);

/// Asks the policies of `pod` about a connection to it. Once it is listed, [`Allowed::confirm`].
///
/// The pod's workload is looked up again: an older one may refer to policies that are no more, and not to those that are
/// new.
///
/// # Errors
/// They deny it, or they have not all arrived, or the pod is gone from the state.
pub(crate) fn authorize(
    context: &Context,
    snapshot: &Snapshot,
    pod: &Pod,
    facts: &Facts<'_>,
) -> Result<Allowed, Denied> {
    let PodInfo { name, namespace, .. } = &pod.info;
    let Some(workload) = pod.known(snapshot) else {
        return Err(Denied(format!("workload {namespace}/{name} is not known any more")));
    };
    let decision = decision(context, snapshot, &workload, facts);
    context.metrics.policy.count(decision.reason);
    report(context, &decision, facts);
    match decision.allowed() {
        true => Ok(Allowed(snapshot.policies_version())),
        false => Err(Denied(decision.to_string())),
    }
}

fn decision<'a>(
    context: &Context,
    snapshot: &'a Snapshot,
    workload: &'a Workload,
    facts: &Facts<'_>,
) -> Decision<'a> {
    if !snapshot.synced() {
        return Decision::not_synced();
    }
    let candidates = snapshot.policies_for(workload, facts.source_identity, facts.source_ip);
    decide(facts, candidates, context.config.unknown_policy)
}

fn report(context: &Context, decision: &Decision<'_>, facts: &Facts<'_>) {
    for dry_run in &decision.dry_run {
        let (policy, action) = (dry_run.policy, dry_run.action);
        tracing::info!(target: "rbac", %policy, ?action, source = %facts.source_ip,
            destination = %facts.destination, "dry-run policy matches");
    }
    for name in &decision.skipped {
        tracing::warn!(target: "rbac", policy = name, "skipping unknown policy");
    }
    let source = facts.source_identity.map(Identity::to_string);
    if context.config.log_policy_decisions {
        tracing::info!(target: "rbac", source = %facts.source_ip, identity = source,
            destination = %facts.destination, %decision, "policy decision");
    } else {
        tracing::debug!(target: "rbac", source = %facts.source_ip, identity = source,
            destination = %facts.destination, %decision, "policy decision");
    }
}

impl Allowed {
    /// Asks again where policies have changed since: a recheck in between cannot have seen a connection that was still
    /// being made.
    pub(crate) fn confirm(self, context: &Context, pod: &Pod, connection: &Connection) {
        let snapshot = context.state.snapshot();
        if snapshot.policies_version() != self.0 {
            recheck(context, &snapshot, pod, [connection]);
        }
    }
}

/// Ends those of some inbound connections of `pod` that policy denies by now.
fn recheck<'c>(
    context: &Context,
    snapshot: &Snapshot,
    pod: &Pod,
    connections: impl IntoIterator<Item = &'c Connection>,
) {
    // A pod that is gone from the state keeps what it has: its connections were allowed by the last that was known.
    let Some(workload) = pod.known(snapshot) else { return };
    for connection in connections {
        let Some(facts) = connection.flow.facts() else { continue };
        let decision = decision(context, snapshot, &workload, &facts);
        if !decision.allowed() {
            context.metrics.policy.count(decision.reason);
            tracing::info!(target: "rbac", source = %facts.source_ip, destination = %facts.destination,
                %decision, "closing a connection that policy denies now");
            connection.kill();
        }
    }
}

/// Follows the state and rechecks every pod when policy changes.
pub(crate) async fn recheck_on_change(context: std::sync::Arc<Context>) {
    let mut changed = context.state.policies_changed();
    while changed.changed().await.is_ok() {
        changed.mark_unchanged();
        let snapshot = context.state.snapshot();
        for pod in context.pods.all() {
            let open = pod.connections.snapshot();
            recheck(&context, &snapshot, &pod, open.iter().map(|connection| &**connection));
        }
    }
}
