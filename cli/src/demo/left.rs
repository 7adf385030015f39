//! What a sandbox could leave behind.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// What was there before, to be compared with what is there afterwards.
pub(super) struct Traces {
    instance: String,
    copy: PathBuf,
    rules: Vec<String>,
}

/// How the names of copied objects begin.
const COPY_PREFIX: &str = "ambit-demo-";

// === impl Traces ===

impl Traces {
    /// Looks at the machine before the sandbox `instance` is made, from a copy of the objects.
    pub(super) fn before(instance: &str, copy: &Path) -> Self {
        Self { instance: instance.to_owned(), copy: copy.to_owned(), rules: rules() }
    }

    /// Checks that all is as before; `run_dir` was the sandbox's.
    pub(super) fn check(&self, run_dir: &Path) -> Result<()> {
        let prefix = format!("ambit-{}-", self.instance);
        let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let namespaces: Vec<String> = names.filter(|name| name.starts_with(&prefix)).collect();
        ensure!(namespaces.is_empty(), "namespaces are left: {namespaces:?}");
        for path in [run_dir, &self.copy] {
            ensure!(!path.exists(), "files are left: {}", path.display());
        }
        let processes = processes(&format!("AMBIT_SANDBOX={}", self.instance));
        ensure!(processes.is_empty(), "processes are left: {processes:?}");
        ensure!(rules() == self.rules, "packet or routing rules are left on the machine itself");
        Ok(())
    }
}

/// How the names of copied objects begin: with the process that made them.
pub(super) fn copy_prefix() -> String {
    format!("{COPY_PREFIX}{}-", std::process::id())
}

/// Removes copies that demonstrations left when they were killed.
pub(super) fn sweep_copies() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(COPY_PREFIX).and_then(|rest| rest.split_once('-'));
        if process.is_some_and(|(pid, _)| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// What could be ours among the machine's own packet and routing rules; nothing where they cannot be read.
fn rules() -> Vec<String> {
    let listings = [
        output("nft", &["-s", "list", "ruleset"]),
        output("ip", &["rule"]),
        output("ip", &["-6", "rule"]),
    ];
    let lines = listings.iter().flat_map(|listing| listing.lines());
    let ours =
        |line: &&str| ["ambit", "ambient", "0x111", "15001"].iter().any(|word| line.contains(word));
    lines.filter(ours).map(str::to_owned).collect()
}

fn output(program: &str, args: &[&str]) -> String {
    let output = std::process::Command::new(program).args(args).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// Processes that carry a variable.
fn processes(variable: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.bytes().all(|byte| byte.is_ascii_digit()).then_some(name)
    });
    let carries = |pid: &String| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
    };
    numbers.filter(carries).collect()
}
