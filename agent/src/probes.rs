//! The kubelet's probes of captured pods, which host rules give an address that captured pods let through.
//!
//! The rules outlive the agent, so the entries do too, in a file of the run directory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ambit_net::NetNs;
use ambit_redirect::{Backend, HostProbes, apply_host, remove_host};

use crate::describe;

/// Which pods' probes are exempt, here and in the node's rules.
#[derive(Debug)]
pub(crate) struct Probes {
    node: NetNs,
    backend: Backend,
    path: PathBuf,
    wanted: Mutex<HostProbes>,
}

// === impl Probes ===

impl Probes {
    /// Takes up the entries of before. Rules go into the namespace `node` by `backend`; `kubelet_user` is who probes.
    ///
    /// Fails if the entries of before cannot be read.
    pub(crate) fn open(
        run_dir: &Path,
        node: NetNs,
        backend: Backend,
        kubelet_user: u32,
        ipv6: bool,
    ) -> io::Result<Self> {
        let path = run_dir.join("probes.json");
        let pods = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "cannot read the probes of before, beginning anew");
                BTreeMap::new()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let wanted = Mutex::new(HostProbes { pods, kubelet_user, ipv6 });
        Ok(Self { node, backend, path, wanted })
    }

    /// Exempts the probes of the pod `uid`, which has the addresses `ips` and no others. An address that another pod
    /// had is this one's now.
    pub(crate) async fn exempt(
        self: Arc<Self>,
        uid: String,
        ips: Vec<IpAddr>,
    ) -> Result<(), String> {
        self.change(move |pods| {
            pods.retain(|ip, owner| *owner != uid || ips.contains(ip));
            pods.extend(ips.into_iter().map(|ip| (ip, uid.clone())));
        })
        .await
    }

    /// Ends the exemption of the pod `uid`.
    pub(crate) async fn forget(self: Arc<Self>, uid: String) -> Result<(), String> {
        self.change(move |pods| pods.retain(|_, owner| *owner != uid)).await
    }

    /// Puts the rules in again, in case somebody has taken them out.
    pub(crate) async fn refresh(self: Arc<Self>) -> Result<(), String> {
        tokio::task::spawn_blocking(move || self.apply(&self.lock()))
            .await
            .map_err(|error| format!("internal error: {error}"))?
    }

    /// Takes everything out again. Blocks.
    pub(crate) fn remove(node: &NetNs, run_dir: &Path) -> Result<(), String> {
        remove_host(node).map_err(|error| describe(&error))?;
        match fs::remove_file(run_dir.join("probes.json")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.to_string()),
            _ => Ok(()),
        }
    }

    async fn change(
        self: Arc<Self>,
        change: impl FnOnce(&mut BTreeMap<IpAddr, String>) + Send + 'static,
    ) -> Result<(), String> {
        let work = move || {
            let mut wanted = self.lock();
            let mut changed = wanted.clone();
            change(&mut changed.pods);
            if changed.pods == wanted.pods {
                return Ok(());
            }
            self.apply(&changed)?;
            self.save(&changed)
                .map_err(|error| format!("{}: {error}: free some space", self.path.display()))?;
            *wanted = changed;
            Ok(())
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| format!("internal error: {error}"))?
    }

    fn apply(&self, wanted: &HostProbes) -> Result<(), String> {
        apply_host(&self.node, wanted, self.backend)
            .map_err(|error| format!("the node's rules for health probes: {}", describe(&error)))
    }

    fn save(&self, wanted: &HostProbes) -> io::Result<()> {
        let new = self.path.with_extension("new");
        fs::write(&new, serde_json::to_vec(&wanted.pods)?)?;
        fs::rename(&new, &self.path)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HostProbes> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn entries_follow_pods_and_survive() {
        if !nix::unistd::geteuid().is_root() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot skip in CI: needs root");
            return;
        }
        let node = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            NetNs::current().unwrap()
        });
        let node = node.join().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            Arc::new(Probes::open(dir.path(), node.clone(), Backend::Nftables, 0, true).unwrap())
        };
        let ips = |ips: &[&str]| ips.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
        let rules = || {
            let list = || std::process::Command::new("nft").args(["list", "ruleset"]).output();
            String::from_utf8(node.enter(list).unwrap().unwrap().stdout).unwrap()
        };
        let probes = open();
        probes.clone().exempt("a".into(), ips(&["10.0.0.5", "fd00::5"])).await.unwrap();
        probes.clone().exempt("b".into(), ips(&["10.0.0.6"])).await.unwrap();
        probes.clone().exempt("a".into(), ips(&["10.0.0.7"])).await.unwrap();
        assert!(rules().contains("10.0.0.6") && rules().contains("10.0.0.7"), "{}", rules());
        assert!(!rules().contains("10.0.0.5") && !rules().contains("fd00::5"));

        // Another pod has its address now, so its end changes nothing.
        probes.clone().exempt("c".into(), ips(&["10.0.0.6"])).await.unwrap();
        let probes = open();
        probes.clone().forget("b".into()).await.unwrap();
        let flush = || std::process::Command::new("nft").args(["flush", "ruleset"]).output();
        node.enter(flush).unwrap().unwrap();
        probes.refresh().await.unwrap();
        assert!(rules().contains("10.0.0.6") && rules().contains("10.0.0.7"), "{}", rules());
        Probes::remove(&node, dir.path()).unwrap();
        assert!(!rules().contains("10.0.0.6"));
    }
}
