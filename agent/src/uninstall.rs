//! Takes out of the node everything that agents have put into it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use ambit_net::NetNs;
use anyhow::Context;
use k8s_openapi::api::core::v1;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};

use crate::capture::{Capturer, choose};
use crate::cni::log;
use crate::config::Config;
use crate::control::socket_path;
use crate::install::Installer;
use crate::kubernetes::plugin::SOCKET;
use crate::kubernetes::view::REDIRECTION;
use crate::pod::{Defaults, Pod, PodSpec};
use crate::probes::Probes;
use crate::run_dir::{LOCK, PODS, Record, RunDir};
use crate::state::LINGER;

/// Takes out the CNI plugin and what belongs to it, the rules of all captured pods, and the node's own. Pods go on
/// without the mesh. Annotations are removed as far as the API server can be asked.
///
/// # Errors
/// An agent still runs, which would put everything in again; or what cannot be taken out, after all that can.
pub async fn uninstall(config: Config) -> anyhow::Result<()> {
    let node = NetNs::current().context("reading the own network namespace: mount /proc")?;
    if !config.run_dir.join(PODS).exists() {
        tracing::info!("no agent has left anything on this node");
        return Ok(());
    }
    let run_dir = RunDir::open(&config.run_dir)?;
    let kubernetes = config.kubernetes.as_ref();
    if let Some(install) = kubernetes.and_then(|kubernetes| kubernetes.install.clone()) {
        Installer::new(install).uninstall().context("taking the CNI plugin out")?;
    }
    let left = release_all(&config, run_dir, &node).await?;
    Probes::remove(&node, Path::new(&config.run_dir))
        .map_err(|problem| anyhow::anyhow!("the node's rules for health probes: {problem}"))?;
    anyhow::ensure!(left == 0, "{left} pods are still captured: see above, then run this again");
    remove_files(&config).context("removing the agent's own files")
}

/// Takes all pods out of the mesh; returns how many could not be.
async fn release_all(config: &Config, run_dir: RunDir, node: &NetNs) -> anyhow::Result<usize> {
    let capturer = Capturer::new(choose(config.backend)?, run_dir);
    let client = match config.kubernetes {
        Some(_) => Client::try_default().await.ok(),
        None => None,
    };
    let records = capturer.remembered().context("reading the records of captured pods")?;
    let defaults = Defaults::new(config, node.clone());
    let passing = records.iter().filter(|record| pass(&capturer, record, &defaults)).count();
    if passing > 0 {
        tokio::time::sleep(LINGER).await;
    }
    let mut left = 0;
    for record in records {
        let pod = &record.pod;
        match release(&capturer, pod, |netns| record.is_of(netns.id())) {
            Ok(()) => {
                capturer.forget(&pod.uid);
                tracing::info!(uid = pod.uid, "pod let go");
            }
            Err(problem) => {
                left += 1;
                tracing::warn!(uid = pod.uid, problem, "rules cannot be taken out");
            }
        }
        if let Some(client) = &client {
            remove_annotation(client, pod).await;
        }
    }
    Ok(left)
}

/// Removes what agents keep in directories that others may use too.
fn remove_files(config: &Config) -> std::io::Result<()> {
    let run_dir = Path::new(&config.run_dir);
    let names = [SOCKET, log::NAME, log::OLD_NAME, LOCK];
    let sockets = [socket_path(run_dir), config.ztunnel_socket.clone()];
    for file in names.map(|name| run_dir.join(name)).into_iter().chain(sockets) {
        absent_is_fine(fs::remove_file(file))?;
    }
    absent_is_fine(fs::remove_dir_all(run_dir.join(PODS)))
}

fn absent_is_fine(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Lets new connections of a pod pass, while its ztunnel goes on with those that are open. Says whether there is any need
/// to wait for these; what goes wrong is left to [`release`].
fn pass(capturer: &Capturer, record: &Record, defaults: &Defaults) -> bool {
    match Pod::open(record.pod.clone(), defaults) {
        Ok((pod, netns)) if record.is_of(netns.id()) => capturer.release(&pod, &netns).is_ok(),
        _ => false,
    }
}

fn release(
    capturer: &Capturer,
    pod: &PodSpec,
    is_its: impl Fn(&NetNs) -> bool,
) -> Result<(), String> {
    match NetNs::open(&pod.netns) {
        Ok(netns) if is_its(&netns) => capturer.clear(&pod.uid, &netns),
        // With its namespace, its rules are gone.
        _ => Ok(()),
    }
}

async fn remove_annotation(client: &Client, pod: &PodSpec) {
    let api: Api<v1::Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let patch = serde_json::json!({
        "metadata": { "uid": pod.uid, "annotations": { REDIRECTION: null } },
    });
    match api.patch_status(&pod.name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        Err(error) => tracing::warn!(uid = pod.uid, %error, "the annotation cannot be removed"),
    }
}
