//! What a sandbox could leave behind.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// What was there before, to be compared with what is there afterwards.
pub(super) struct Traces {
    instance: String,
    rules: Vec<u8>,
    links: Vec<u8>,
}

// === impl Traces ===

impl Traces {
    /// Looks at the machine before the sandbox `instance` is made.
    pub(super) fn before(instance: &str) -> Self {
        Self { instance: instance.to_owned(), rules: rules(), links: links() }
    }

    /// Checks that all is as before.
    pub(super) fn check(&self) -> Result<()> {
        let namespaces = names(Path::new("/run/netns"), &format!("ambit-{}-", self.instance));
        ensure!(namespaces.is_empty(), "namespaces are left: {namespaces:?}");
        let dir = Path::new("/run/ambit").join(&self.instance);
        ensure!(!dir.exists(), "files are left: {}", dir.display());
        let copies = names(&std::env::temp_dir(), "ambit-demo-");
        ensure!(copies.is_empty(), "files are left: {copies:?}");
        let processes = processes(&format!("AMBIT_SANDBOX={}", self.instance));
        ensure!(processes.is_empty(), "processes are left: {processes:?}");
        ensure!(rules() == self.rules, "the machine's own packet rules have changed");
        ensure!(links() == self.links, "the machine's own network interfaces have changed");
        Ok(())
    }
}

/// The machine's own packet rules, without counters; nothing where they cannot be read.
fn rules() -> Vec<u8> {
    output("nft", &["-s", "list", "ruleset"])
}

/// The machine's own interfaces and routing rules.
fn links() -> Vec<u8> {
    [output("ip", &["-br", "link"]), output("ip", &["rule"]), output("ip", &["-6", "rule"])]
        .concat()
}

fn output(program: &str, args: &[&str]) -> Vec<u8> {
    std::process::Command::new(program)
        .args(args)
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default()
}

/// Entries of a directory that begin so.
fn names(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    ours.map(|entry| entry.path()).collect()
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
