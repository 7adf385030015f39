//! The objects as a cluster would show them, in files for the controller.

mod objects;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::error::{Error, IoContext};

pub(crate) use objects::{Picture, PodPicture, account, files};

/// A directory of files that says what it is told, each file replaced as a whole.
#[derive(Debug)]
pub(crate) struct Publisher {
    dir: PathBuf,
    written: BTreeMap<String, String>,
    passed_on: BTreeMap<String, String>,
    /// Told when something was written.
    changed: Arc<Notify>,
}

// === impl Publisher ===

impl Publisher {
    pub(crate) fn new(dir: PathBuf) -> Result<Self, Error> {
        fs::create_dir_all(&dir).doing("create", &dir)?;
        let (written, passed_on) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { dir, written, passed_on, changed: Arc::default() })
    }

    /// Takes over what users wrote for the controller, to be written out with the rest.
    pub(crate) fn pass_on(&mut self, files: BTreeMap<String, String>) {
        self.passed_on = files;
    }

    /// Is told when something was written.
    pub(crate) fn changed(&self) -> Arc<Notify> {
        self.changed.clone()
    }

    /// Makes the directory hold exactly `files`, and what is passed on. Readers see each file in its old or its new state, nothing between.
    pub(crate) fn publish(&mut self, mut files: BTreeMap<String, String>) -> Result<(), Error> {
        files.extend(self.passed_on.clone());
        if files == self.written {
            return Ok(());
        }
        for (name, text) in &files {
            if self.written.get(name) == Some(text) {
                continue;
            }
            let path = self.dir.join(name);
            let temporary = self.dir.join(format!(".{name}.new"));
            fs::write(&temporary, text).doing("write", &temporary)?;
            fs::rename(&temporary, &path).doing("write", &path)?;
        }
        for name in self.written.keys().filter(|name| !files.contains_key(*name)) {
            let path = self.dir.join(name);
            fs::remove_file(&path).doing("remove", &path)?;
        }
        self.written = files;
        self.changed.notify_one();
        Ok(())
    }
}
