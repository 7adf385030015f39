//! Finds the network namespace of a running pod by the cgroups of the node's processes.
//!
//! Works for cgroup v1 and v2 and for both drivers: `…/kubepods/burstable/pod<uid>/<container>` (cgroupfs) and
//! `…/kubepods-burstable-pod<uid with _ for ->.slice/cri-containerd-<container>.scope` (systemd).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ambit_net::NetNsId;

/// The processes of the node, as a `/proc` of the host's PID namespace shows them.
#[derive(Clone, Debug)]
pub(crate) struct Processes {
    proc: PathBuf,
    own_netns: NetNsId,
}

/// A pod's network namespace, held by a process of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The path by which it can be opened.
    pub(crate) path: PathBuf,
    /// Which one it is: device and inode.
    pub(crate) id: (u64, u64),
}

// === impl Processes ===

impl Processes {
    /// Reads `proc`; the namespace `own_netns`, the node's, is nobody's.
    pub(crate) fn new(proc: impl Into<PathBuf>, own_netns: NetNsId) -> Self {
        Self { proc: proc.into(), own_netns }
    }

    /// The network namespace of the oldest process of the pod whose cgroups are named `uid`.
    ///
    /// Fails if there is no process list at all; processes that end meanwhile are passed over.
    pub(crate) fn netns(&self, uid: &str) -> io::Result<Option<Found>> {
        let wanted = normal(uid);
        let mut oldest: Option<(u64, Found)> = None;
        for process in self.all()? {
            let Ok(cgroups) = fs::read_to_string(process.join("cgroup")) else { continue };
            if !cgroups.lines().any(|line| pod_uid(line).is_some_and(|uid| uid == wanted)) {
                continue;
            }
            let path = process.join("ns/net");
            let Ok(netns) = fs::metadata(&path) else { continue };
            let id = (netns.dev(), netns.ino());
            if id == (self.own_netns.dev, self.own_netns.inode) {
                continue;
            }
            let Some(started) = start_time(&process) else { continue };
            if oldest.as_ref().is_none_or(|(before, _)| started < *before) {
                oldest = Some((started, Found { path, id }));
            }
        }
        Ok(oldest.map(|(_, found)| found))
    }

    /// The user that the kubelet runs as, by the names of its programs (protocol.md 1.5); `None` if it is not found.
    pub(crate) fn kubelet_user(&self) -> io::Result<Option<u32>> {
        for process in self.all()? {
            let Ok(name) = fs::read_to_string(process.join("comm")) else { continue };
            let is_kubelet = match name.trim() {
                "kubelet" | "k3s" | "k3s-server" | "k3s-agent" => true,
                "kubelite" => fs::read(process.join("cmdline"))
                    .is_ok_and(|line| line.windows(7).any(|part| part == b"kubelet")),
                _ => false,
            };
            if is_kubelet && let Ok(metadata) = fs::metadata(&process) {
                return Ok(Some(metadata.uid()));
            }
        }
        Ok(None)
    }

    fn all(&self) -> io::Result<impl Iterator<Item = PathBuf>> {
        let is_process = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        };
        Ok(fs::read_dir(&self.proc)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(is_process))
    }
}

/// When a process was started, in ticks since boot: field 22 of its `stat`.
fn start_time(process: &Path) -> Option<u64> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

/// The UID of the pod that a line of `/proc/<pid>/cgroup` belongs to, in normal form.
fn pod_uid(line: &str) -> Option<String> {
    // hierarchy:controllers:path; container names in the path may hold colons.
    let path = line.splitn(3, ':').nth(2)?;
    path.rsplit(['/', ':']).find_map(|segment| {
        let segment = segment.strip_suffix(".slice").unwrap_or(segment);
        let uid = match segment.strip_prefix("pod") {
            Some(uid) => uid,
            None => segment.rsplit_once("-pod")?.1,
        };
        let uid = normal(uid);
        is_uid(&uid).then_some(uid)
    })
}

/// A UUID, or the hash that static pods have for one.
fn is_uid(text: &str) -> bool {
    matches!(text.len(), 32 | 36)
        && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

fn normal(uid: &str) -> String {
    uid.replace('_', "-").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0fe83b4c-1b66-4f43-8bb4-2b9f1e0e5a11";

    #[test]
    fn cgroups_of_every_kind() {
        let under = UID.replace('-', "_");
        let some = Some(UID.to_owned());
        for (line, expected) in [
            (format!("5:cpu,cpuacct:/kubepods/burstable/pod{UID}/4a1f"), some.clone()),
            (format!("1:name=systemd:/kubepods/pod{UID}/4a1f"), some.clone()),
            (format!("0::/kubepods/besteffort/pod{UID}/4a1f"), some.clone()),
            (format!("0::/../../pod{UID}/4a1f"), some.clone()),
            (
                format!(
                    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{under}.slice/cri-containerd-4a1f.scope"
                ),
                some.clone(),
            ),
            (
                format!("0::/kubepods.slice/kubepods-pod{under}.slice/crio-4a1f.scope/container"),
                some.clone(),
            ),
            (
                format!(
                    "9:memory:/system.slice/containerd.service/kubepods-besteffort-pod{under}.slice:cri-containerd:4a1f"
                ),
                some.clone(),
            ),
            (
                format!(
                    "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{under}.slice/x"
                ),
                some,
            ),
            (
                "0::/kubepods/pod5d0e1b2c3f4a5968778695a4b3c2d1e0/x".into(),
                Some("5d0e1b2c3f4a5968778695a4b3c2d1e0".into()),
            ),
            ("0::/user.slice/user-1000.slice".into(), None),
            ("0::/podman-123/x".into(), None),
            ("0::/machine.slice/libpod-4a1f.scope".into(), None),
            ("0::/".into(), None),
            ("nonsense".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(pod_uid(&line), expected, "{line}");
        }
    }

    /// A process directory; `netns` is a file that plays the namespace.
    fn process(proc: &Path, pid: u32, name: &str, uid: &str, started: u64, netns: &Path) {
        let dir = proc.join(pid.to_string());
        fs::create_dir_all(dir.join("ns")).unwrap();
        fs::write(dir.join("comm"), format!("{name}\n")).unwrap();
        fs::write(dir.join("cgroup"), format!("3:pids:/\n0::/kubepods/pod{uid}/c\n")).unwrap();
        let zeros = "0 ".repeat(17);
        fs::write(dir.join("stat"), format!("{pid} (a ) b) S 1 {zeros}{started} 0 0\n")).unwrap();
        std::os::unix::fs::symlink(netns, dir.join("ns/net")).unwrap();
    }

    #[test]
    fn the_oldest_process_off_the_nodes_network_wins() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = dir.path().join(name);
            fs::write(&path, "").unwrap();
            path
        };
        let (host, pod, nested) = (file("host"), file("pod"), file("nested"));
        let id = |path: &Path| {
            let metadata = fs::metadata(path).unwrap();
            (metadata.dev(), metadata.ino())
        };
        let own = NetNsId { dev: id(&host).0, inode: id(&host).1 };
        process(dir.path(), 7, "pause", UID, 500, &pod);
        process(dir.path(), 8, "nested", UID, 900, &nested);
        process(dir.path(), 9, "early", UID, 100, &host);
        process(dir.path(), 10, "kubelet", "0fe83b4c-1b66-4f43-8bb4-000000000000", 1, &nested);
        fs::create_dir(dir.path().join("11")).unwrap();
        let processes = Processes::new(dir.path(), own);
        let found = processes.netns(UID).unwrap().unwrap();
        assert_eq!(found, Found { path: dir.path().join("7/ns/net"), id: id(&pod) });
        assert_eq!(processes.netns("0fe83b4c-1b66-4f43-8bb4-111111111111").unwrap(), None);
        let own_user = nix::unistd::geteuid().as_raw();
        assert_eq!(processes.kubelet_user().unwrap(), Some(own_user));
    }
}
