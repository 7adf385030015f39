//! `ambit waypoint`: the waypoints of a cluster, made, listed, explained and removed.

mod api;
mod gateway;
mod options;
mod verdict;

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use comfy_table::{Table, TableStyle};
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::terminal::{Style, Terminal};
pub(crate) use api::GATEWAY_API;
use api::Waypoints;
use gateway::{Plan, Waypoint};
pub(crate) use options::Options;
use options::{Apply, Command, Delete, Scope, Status};
use verdict::Verdict;

/// How often a waypoint is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Does what is asked for.
///
/// # Errors
/// What is missing and the next step.
pub(crate) async fn run(options: Options) -> Result<()> {
    let terminal = Terminal::standard();
    if let Command::Generate(shape) = &options.command {
        let text = serde_saphyr::to_string(&shape.plan().object())?;
        terminal.line(Style::Plain, text.trim_end());
        return Ok(());
    }
    let waypoints = Waypoints::new(Cluster::connect().await?);
    match options.command {
        Command::Generate(_) => Ok(()),
        Command::Apply(apply) => apply.run(&waypoints, terminal).await,
        Command::List(scope) => list(&waypoints, &scope, terminal).await,
        Command::Status(status) => status.run(&waypoints, terminal).await,
        Command::Delete(delete) => delete.run(&waypoints, terminal).await,
    }
}

async fn list(waypoints: &Waypoints, scope: &Scope, terminal: Terminal) -> Result<()> {
    let found = waypoints.list(scope.namespace()).await?;
    if found.is_empty() {
        terminal.line(Style::Plain, &format!("no waypoints {}", scope.place()));
        return Ok(());
    }
    terminal.line(Style::Plain, &table(&found));
    Ok(())
}

/// The waypoints in columns.
fn table(waypoints: &[Waypoint]) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table.set_header(["NAMESPACE", "NAME", "FOR", "PROGRAMMED", "PODS READY"]);
    for waypoint in waypoints {
        table.add_row([
            waypoint.namespace.clone(),
            waypoint.name.clone(),
            waypoint.traffic.clone(),
            waypoint.programmed().to_owned(),
            waypoint.pods_ready(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

// === impl Apply ===

impl Apply {
    async fn run(&self, waypoints: &Waypoints, terminal: Terminal) -> Result<()> {
        let plan = self.shape.plan();
        let Plan { name, namespace, .. } = &plan;
        let labels = match self.enroll {
            true => Some(waypoints.namespace_labels(namespace).await?),
            false => None,
        };
        // Nothing is made before it is known that all of it can be.
        let other = labels.as_ref().and_then(|labels| labels.get(gateway::USE));
        if let Some(other) = other.filter(|other| *other != name && !self.overwrite) {
            bail!(
                "namespace {namespace} uses the waypoint {other} already: --overwrite has it use {name}"
            );
        }
        waypoints.apply(&plan, self.overwrite).await?;
        terminal.line(Style::Plain, &format!("waypoint {namespace}/{name} applied"));
        if let Some(labels) = labels {
            waypoints.enroll(namespace, name).await?;
            let text = format!("namespace {namespace} uses it (label {}={name})", gateway::USE);
            terminal.line(Style::Plain, &text);
            if labels.get(gateway::MODE).is_none_or(|mode| mode != "ambient") {
                let text = format!(
                    "but its pods are not in the mesh: kubectl label namespace {namespace} {}=ambient",
                    gateway::MODE
                );
                terminal.line(Style::Bad, &text);
            }
        }
        match self.wait {
            true => self.programmed(waypoints, &plan, terminal).await,
            false => Ok(()),
        }
    }

    async fn programmed(
        &self,
        waypoints: &Waypoints,
        plan: &Plan,
        terminal: Terminal,
    ) -> Result<()> {
        let limit = Duration::from_secs(self.timeout);
        let deadline = Instant::now() + limit;
        loop {
            let waypoint = waypoints.one(&plan.namespace, &plan.name).await?;
            let verdict = verdict::verdict(&waypoint);
            if verdict == Verdict::Works {
                let text = format!("waypoint {}/{} is programmed", plan.namespace, plan.name);
                terminal.line(Style::Good, &text);
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "waypoint {}/{} is not programmed after {limit:?}: {verdict}",
                plan.namespace,
                plan.name
            );
            sleep(LOOK).await;
        }
    }
}

// === impl Status ===

impl Status {
    async fn run(&self, waypoints: &Waypoints, terminal: Terminal) -> Result<()> {
        let found = match &self.name {
            Some(name) => {
                let namespace = self.scope.namespace();
                let namespace = namespace.unwrap_or("default");
                vec![waypoints.one(namespace, name).await?]
            }
            None => waypoints.list(self.scope.namespace()).await?,
        };
        if found.is_empty() {
            terminal.line(Style::Plain, &format!("no waypoints {}", self.scope.place()));
        }
        let mut broken = 0;
        for waypoint in &found {
            let verdict = verdict::verdict(waypoint);
            let (sign, style) = match verdict {
                Verdict::Works => ("✓", Style::Good),
                _ => ("✗", Style::Bad),
            };
            broken += usize::from(verdict != Verdict::Works);
            let Waypoint { namespace, name, .. } = waypoint;
            terminal.line(style, &format!("{sign} {namespace}/{name}: {verdict}"));
        }
        ensure!(broken == 0, "{broken} of {} waypoints do not work yet", found.len());
        Ok(())
    }
}

// === impl Delete ===

impl Delete {
    async fn run(&self, waypoints: &Waypoints, terminal: Terminal) -> Result<()> {
        let namespace = &self.namespace;
        let names = match self.all {
            true => {
                let all = waypoints.list(Some(namespace)).await?;
                all.into_iter().map(|waypoint| waypoint.name).collect()
            }
            false => self.names.clone(),
        };
        if names.is_empty() {
            terminal.line(Style::Plain, &format!("no waypoints in namespace {namespace}"));
        }
        for name in &names {
            // What is a Gateway of another class is none of this command's.
            waypoints.one(namespace, name).await?;
            waypoints.delete(namespace, name).await?;
            terminal.line(Style::Plain, &format!("waypoint {namespace}/{name} deleted"));
        }
        let labels = waypoints.namespace_labels(namespace).await?;
        if let Some(used) = labels.get(gateway::USE).filter(|used| names.contains(used)) {
            let text = format!(
                "namespace {namespace} still asks for {used}: kubectl label namespace {namespace} {}-",
                gateway::USE
            );
            terminal.line(Style::Bad, &text);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
