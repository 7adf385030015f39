//! Puts the CNI plugin into the node's CNI directories, and keeps it there.
//!
//! Every file is written beside its place and renamed into it. What others change is noticed by inotify, and looked
//! after from time to time as well; only what is not as it should be is written.

pub(crate) mod conflist;
pub(crate) mod kubeconfig;

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventStream, Inotify, WatchMask};
use prometheus_client::metrics::gauge::Gauge;
use serde_json::{Value, json};
use tokio::sync::watch;

use conflist::{InvalidConflist, PLUGIN};

use crate::cni::list;

/// How often everything is looked after although nothing was announced; new tokens are found so, too.
const RECHECK: Duration = Duration::from_secs(30);
/// How long after a change it is looked after: others write in several steps.
const SETTLE: Duration = Duration::from_millis(50);
/// How long after a failure it is tried again at the earliest: a failed attempt leaves marks that are announced, too.
const RETRY: Duration = Duration::from_secs(5);
/// The kubeconfig's name; its extension is none that container runtimes read.
const KUBECONFIG: &str = "ambit-cni.kubeconfig";
/// The name of the list of namespaces.
const NAMESPACES: &str = "ambit-cni.namespaces";

/// A list of our own; its name comes before others'.
const OWN_LIST: &str = "00-ambit-cni.conflist";

/// The plugins of agents whose node rules have the names of ours.
pub(crate) const PLUGINS_OF_AGENTS: [&str; 2] = [PLUGIN, "istio-cni"];

/// Where things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallConfig {
    /// The plugin's program, to be copied.
    pub plugin: PathBuf,
    /// The node's directory of CNI programs, as this process sees it.
    pub bin_dir: PathBuf,
    /// The node's directory of CNI configuration, as this process sees it.
    pub net_dir: PathBuf,
    /// The same as the container runtime sees it.
    pub net_dir_on_node: PathBuf,
    /// The agent's run directory, the same for both.
    pub run_dir: PathBuf,
    /// The agent's service account: `token` and `ca.crt`.
    pub service_account: PathBuf,
    /// The API server's address.
    pub api_server: String,
    /// Whether a list of our own, made of the node's first one, goes before it, instead of our plugin into that one:
    /// whatever rewrites it while a node starts, no pod starts without us.
    pub own_list: bool,
    /// Namespaces whose pods never wait.
    pub exclude_namespaces: Vec<String>,
    /// The mesh's own namespace, whose pods never wait either.
    pub system_namespace: String,
}

/// Why the plugin is not installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    #[error("{path}: {source}: mount it writable, or set AMBIT_INSTALL_CNI=false")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} has no CNI configuration yet: install a CNI plugin that ours can follow")]
    NoConfiguration(PathBuf),
    #[error(
        "the node's first CNI configuration, {0}, is no list: rename it to .conflist and give it \"plugins\""
    )]
    NoList(PathBuf),
    #[error("{path} cannot be changed: {source}")]
    Conflist { path: PathBuf, source: InvalidConflist },
}

/// Installs, repairs, uninstalls.
#[derive(Debug)]
pub(crate) struct Installer {
    config: InstallConfig,
}

// === impl Installer ===

impl Installer {
    /// Works on the directories of `config`.
    pub(crate) fn new(config: InstallConfig) -> Self {
        Self { config }
    }

    /// Keeps the plugin installed, for ever, from when `namespaces` are known; `installed` is 1 while it is.
    pub(crate) async fn run(
        self,
        mut namespaces: watch::Receiver<Option<Vec<String>>>,
        installed: Gauge,
    ) {
        let this = Arc::new(self);
        let mut last = None;
        loop {
            let mut pause = SETTLE;
            // Before the first look, so that nothing between the two is missed.
            let mut changes = this.watch();
            let names = namespaces.borrow_and_update().clone();
            if let Some(names) = names {
                let installer = this.clone();
                let repaired = tokio::task::spawn_blocking(move || installer.repair(&names)).await;
                let outcome = match repaired {
                    Ok(Ok(changed)) => Ok(changed),
                    Ok(Err(error)) => Err(crate::describe(&error)),
                    Err(error) => Err(format!("internal error: {error}")),
                };
                installed.set(i64::from(outcome.is_ok()));
                report(&outcome, &mut last);
                if outcome.is_err() {
                    pause = RETRY;
                }
            }
            tokio::select! {
                () = changed(&mut changes) => tokio::time::sleep(pause).await,
                more = namespaces.changed() => if more.is_err() { return },
                () = tokio::time::sleep(RECHECK) => {}
            }
        }
    }

    /// Makes everything as it should be; the names of what had to be written.
    pub(crate) fn repair(&self, namespaces: &[String]) -> Result<Vec<String>, InstallError> {
        let config = &self.config;
        let mut written = Vec::new();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| InstallError::Io { path, source }
        };
        let mut put = |path: PathBuf, content: &[u8], mode| {
            let done = replace(&path, content, mode).map_err(failed(&path))?;
            if done {
                written.push(path.display().to_string());
            }
            Ok::<_, InstallError>(())
        };
        let program = fs::read(&config.plugin).map_err(failed(&config.plugin))?;
        put(config.bin_dir.join(PLUGIN), &program, 0o755)?;
        let kubeconfig = kubeconfig::render(&config.api_server, &config.service_account)
            .map_err(failed(&config.service_account))?;
        put(config.net_dir.join(KUBECONFIG), kubeconfig.as_bytes(), 0o600)?;
        put(config.net_dir.join(NAMESPACES), list::render(namespaces).as_bytes(), 0o600)?;
        let path = first_list(&config.net_dir, |name| name != OWN_LIST)?;
        let mode = mode_of(&path).map_err(failed(&path))?;
        let text = fs::read_to_string(&path).map_err(failed(&path))?;
        let invalid = |source| InstallError::Conflist { path: path.clone(), source };
        let with_plugin = conflist::with_plugin(&text, &self.plugin()).map_err(invalid)?;
        let own_list = config.net_dir.join(OWN_LIST);
        if config.own_list {
            put(own_list, with_plugin.as_ref().unwrap_or(&text).as_bytes(), mode)?;
            if let Some(original) = conflist::without_plugin(&text).map_err(invalid)? {
                put(path.clone(), original.as_bytes(), mode)?;
            }
        } else {
            if let Some(changed) = with_plugin {
                put(path.clone(), changed.as_bytes(), mode)?;
            }
            remove_if_there(&own_list)?;
        }
        Ok(written)
    }

    /// Takes everything out again, as far as it is there. The chain comes first: it must not name what is gone.
    pub(crate) fn uninstall(&self) -> Result<(), InstallError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| InstallError::Io { path, source }
        };
        remove_if_there(&self.config.net_dir.join(OWN_LIST))?;
        for name in names(&self.config.net_dir).map_err(failed(&self.config.net_dir))? {
            let path = self.config.net_dir.join(&name);
            if !name.ends_with(".conflist") {
                continue;
            }
            let text = fs::read_to_string(&path).map_err(failed(&path))?;
            match conflist::without_plugin(&text) {
                Ok(Some(changed)) => {
                    let mode = mode_of(&path).map_err(failed(&path))?;
                    replace(&path, changed.as_bytes(), mode).map_err(failed(&path))?;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "passing over what is no CNI list");
                }
            }
        }
        let config = &self.config;
        for path in [
            config.bin_dir.join(PLUGIN),
            config.net_dir.join(KUBECONFIG),
            config.net_dir.join(NAMESPACES),
        ] {
            remove_if_there(&path)?;
        }
        Ok(())
    }

    /// What stands in the chain for us; the container runtime's view of every path.
    fn plugin(&self) -> Value {
        let config = &self.config;
        json!({
            "type": PLUGIN,
            "cni_agent_run_dir": config.run_dir,
            "kubeconfig": config.net_dir_on_node.join(KUBECONFIG),
            "last_list": config.net_dir_on_node.join(NAMESPACES),
            "exclude_namespaces": config.exclude_namespaces,
            "pod_namespace": config.system_namespace,
        })
    }

    /// Changes in both directories; `None` where they cannot be watched, which is tried again.
    fn watch(&self) -> Option<EventStream<[u8; 4096]>> {
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::ONLYDIR;
        let inotify = Inotify::init().ok()?;
        inotify.watches().add(&self.config.net_dir, mask).ok()?;
        inotify.watches().add(&self.config.bin_dir, mask).ok()?;
        inotify.into_event_stream([0; 4096]).ok()
    }
}

/// The list that the container runtime takes from `dir`, and the types of its plugins.
pub(crate) fn plugins_of(dir: &Path) -> Result<(PathBuf, Vec<String>), InstallError> {
    let path = first_list(dir, |_| true)?;
    let text = fs::read_to_string(&path)
        .map_err(|source| InstallError::Io { path: path.clone(), source })?;
    match conflist::plugins(&text) {
        Ok(plugins) => Ok((path, plugins)),
        Err(source) => Err(InstallError::Conflist { path, source }),
    }
}

/// Makes a file in `dir` and removes it.
pub(crate) fn try_writing(dir: &Path) -> Result<(), InstallError> {
    let path = dir.join(".ambit-check");
    fs::write(&path, "")
        .and_then(|()| fs::remove_file(&path))
        .map_err(|source| InstallError::Io { path: dir.to_owned(), source })
}

fn remove_if_there(path: &Path) -> Result<(), InstallError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(InstallError::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// The first list, of those whose names are `eligible`.
fn first_list(dir: &Path, eligible: impl Fn(&str) -> bool) -> Result<PathBuf, InstallError> {
    let names = names(dir).map_err(|source| InstallError::Io { path: dir.to_owned(), source })?;
    match conflist::first(names.iter().map(String::as_str).filter(|name| eligible(name))) {
        Ok(Some(name)) => Ok(dir.join(name)),
        Ok(None) => Err(InstallError::NoConfiguration(dir.to_owned())),
        Err(name) => Err(InstallError::NoList(dir.join(name))),
    }
}

async fn changed(changes: &mut Option<EventStream<[u8; 4096]>>) {
    match changes {
        Some(changes) => drop(changes.next().await),
        None => std::future::pending().await,
    }
}

fn report(outcome: &Result<Vec<String>, String>, last: &mut Option<String>) {
    match outcome {
        Ok(written) if !written.is_empty() => {
            tracing::info!(files = written.join(", "), "CNI plugin installed");
        }
        Err(problem) if last.as_ref() != Some(problem) => {
            tracing::warn!(
                problem,
                "CNI plugin is not installed: pods are captured only once they run"
            );
        }
        _ => {}
    }
    *last = outcome.as_ref().err().cloned();
}

/// Writes `content` to `path` unless that holds it already; whether it was written.
fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<bool> {
    if fs::read(path).is_ok_and(|present| present == content) && mode_of(path)? == mode {
        return Ok(false);
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or(PLUGIN);
    let new = path.with_file_name(format!(".{name}.new"));
    let write = || {
        // Readable for nobody else from the beginning: one of them is a credential.
        let mut options = OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(content)?;
        fs::set_permissions(&new, Permissions::from_mode(mode))?;
        fs::rename(&new, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&new)))?;
    Ok(true)
}

fn mode_of(path: &Path) -> io::Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o7777)
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests;
