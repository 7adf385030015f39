//! The mesh as files, for a controller without a cluster: small meshes, and machines without an API server.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::objects::{self, Entry, PROXY_ACCOUNT, SYSTEM};
use super::shape::{Shape, node};

/// A filled directory.
pub(crate) struct Directory {
    shape: Shape,
    dir: PathBuf,
}

// === impl Directory ===

impl Directory {
    /// Fills `dir`, which is there and empty.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn fill(dir: &Path, shape: Shape) -> anyhow::Result<Self> {
        let this = Self { shape, dir: dir.to_owned() };
        fs::create_dir(this.path("objects"))?;
        let foundations = objects::foundations(shape).into_iter().flatten();
        let others: Vec<Value> =
            foundations.chain(objects::services(shape)).map(|entry| entry.object).collect();
        this.write(
            "objects/others.json",
            &json!({"kind": "List", "apiVersion": "v1", "items": others}),
        )?;
        for Entry { object, .. } in objects::pods(shape) {
            this.write_pod(&object)?;
        }
        let account = format!("{SYSTEM}/{PROXY_ACCOUNT}");
        let lines: Vec<String> = (0..shape.nodes)
            .map(|i| {
                let token = this.token(i);
                json!({"token": token, "node": node(i), "serviceAccount": account}).to_string()
            })
            .collect();
        let mut options = fs::OpenOptions::new();
        let mut file = options.create(true).write(true).mode(0o600).open(this.path("tokens"))?;
        file.write_all(lines.join("\n").as_bytes())?;
        Ok(this)
    }

    /// What tells a controller where everything is.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let path = |name: &str| self.path(name).display().to_string();
        let options = [
            ("--from-dir", path("objects")),
            ("--node-tokens", path("tokens")),
            ("--ca-dir", path("ca")),
            ("--root-cert-out", path("root-cert.pem")),
        ];
        options.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect()
    }

    /// The roots of the mesh, which the controller has written.
    ///
    /// # Errors
    /// It has not.
    pub(crate) fn roots(&self) -> anyhow::Result<String> {
        let path = self.path("root-cert.pem");
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    pub(crate) fn token(&self, node: u32) -> String {
        format!("token-of-node-{node}")
    }

    /// Gives a pod another revision.
    ///
    /// # Errors
    /// Its file cannot be written.
    pub(crate) fn change(&self, pod: u32, to: &str) -> anyhow::Result<()> {
        let mut object = objects::pod(self.shape, pod).object;
        if let Some(version) = object.pointer_mut("/metadata/labels/version") {
            *version = to.into();
        }
        self.write_pod(&object)
    }

    fn write_pod(&self, pod: &Value) -> anyhow::Result<()> {
        let name = pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        self.write(&format!("objects/{name}.json"), pod)
    }

    /// A file is there whole or not at all.
    fn write(&self, name: &str, object: &Value) -> anyhow::Result<()> {
        let (path, new) = (self.path(name), self.path("new"));
        let written = fs::write(&new, object.to_string()).and_then(|()| fs::rename(&new, &path));
        written.with_context(|| format!("cannot write {}", path.display()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}
