//! `ambit install` and `ambit uninstall`.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use crate::cluster::{Cluster, MARK};
use crate::manifests::{Settings, objects, title};
use crate::terminal::{Style, Terminal};
use crate::waypoint::GATEWAY_API;

/// What to install.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    settings: Settings,
    /// Print the objects as YAML instead of making them.
    #[arg(long)]
    dry_run: bool,
    /// How long to wait until everything runs, in seconds; 0 does not wait.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    wait: u64,
}

/// What to remove.
#[derive(Args, Debug)]
pub(crate) struct Removal {
    #[command(flatten)]
    settings: Settings,
    /// Remove the kinds of the mesh too, and with them all objects of these kinds, whoever wrote them.
    #[arg(long)]
    purge: bool,
    /// How long to wait until every node is as it was before, in seconds.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    wait: u64,
}

/// Makes or updates every object, and waits until everything runs.
///
/// # Errors
/// The cluster cannot be reached, refuses an object, or does not run it in time; the message names the object.
pub(crate) async fn install(options: Options) -> Result<()> {
    let terminal = Terminal::standard();
    let objects = objects(&options.settings)?;
    if options.dry_run {
        for object in &objects {
            terminal.line(
                Style::Plain,
                &format!("---\n{}", serde_saphyr::to_string(object)?.trim_end()),
            );
        }
        return Ok(());
    }
    let cluster = Cluster::connect().await?;
    for object in &objects {
        match cluster.was_there_before(object).await? {
            true => cluster.apply(&without_mark(object)).await?,
            false => cluster.apply(object).await?,
        }
        terminal.line(Style::Plain, &format!("{} applied", title(object)));
    }
    if !cluster.groups().await?.iter().any(|group| group == "gateway.networking.k8s.io") {
        let text = format!(
            "The cluster has no Gateways; waypoints need the CRDs of the Gateway API: {GATEWAY_API}"
        );
        terminal.line(Style::Faint, &text);
    }
    if options.wait > 0 {
        cluster.running(&objects, Duration::from_secs(options.wait)).await?;
        terminal.line(Style::Good, "Ambit runs. To bring a namespace into the mesh:");
        let label = "kubectl label namespace NAME istio.io/dataplane-mode=ambient";
        terminal.line(Style::Command, &format!("  {label}"));
    }
    Ok(())
}

/// Takes every pod out of the mesh, then removes every object. Plain traffic goes on.
///
/// # Errors
/// A node cannot be set right, or the cluster refuses something; what was not removed by then stays.
pub(crate) async fn uninstall(removal: Removal) -> Result<()> {
    let terminal = Terminal::standard();
    let objects = objects(&removal.settings)?;
    let cluster = Cluster::connect().await?;
    let namespace = &removal.settings.namespace;
    let limit = Duration::from_secs(removal.wait);
    match cluster.release_nodes(namespace, &objects, limit).await? {
        true => terminal.line(Style::Plain, "every pod is out of the mesh"),
        false => terminal.line(
            Style::Faint,
            "no agent is there to set nodes right; if there was one, `ambit install` and `ambit uninstall` do",
        ),
    }
    for object in objects.iter().rev() {
        let what = title(object);
        if object["kind"] == "CustomResourceDefinition"
            && !removal.purge
            && let Some(count) = cluster.in_use(object).await?
        {
            let text = format!("{what} stays, with {count} objects: --purge removes both");
            terminal.line(Style::Faint, &text);
            continue;
        }
        if cluster.was_there_before(object).await? {
            terminal.line(Style::Faint, &format!("{what} stays: it was there before"));
            continue;
        }
        if cluster.delete(object).await? {
            terminal.line(Style::Plain, &format!("{what} removed"));
        }
    }
    for what in cluster.delete_deployed().await? {
        terminal.line(Style::Plain, &format!("{what} removed"));
    }
    cluster.delete_roots().await?;
    // Whoever installs it again right away would be refused.
    for object in objects.iter().filter(|object| object["kind"] == "Namespace") {
        if !cluster.was_there_before(object).await? {
            cluster.gone(object, Duration::from_secs(removal.wait)).await?;
        }
    }
    Ok(())
}

/// A namespace without the mark that it is the installation's own.
fn without_mark(namespace: &Value) -> Value {
    let mut namespace = namespace.clone();
    if let Some(labels) = namespace.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(MARK);
    }
    namespace
}
