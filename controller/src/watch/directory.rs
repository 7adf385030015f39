//! A directory of YAML, followed: files in it and in its subdirectories, one level deep.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ambit_tls::read_bounded;

use super::inotify::{DirEvent, DirWatch};
use super::{Files, Update};

/// No file may be larger.
const MAX_FILE: usize = 64 * 1024 * 1024;
/// How often a directory is looked for that has gone.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why a directory cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It is no directory, or may not be read.
    #[error("--from-dir {}: cannot be read: {source}; name a directory of Kubernetes YAML", path.display())]
    Read {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Changes cannot be noticed.
    #[error("--from-dir {}: cannot be watched: {source}; fs.inotify.max_user_instances or max_user_watches may be too low", path.display())]
    Watch {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A followed directory.
pub struct Directory {
    root: PathBuf,
    watch: DirWatch,
    files: Files,
}

// === impl Directory ===

impl Directory {
    /// Starts to follow `root` and reads everything in it. Needs a tokio runtime; blocks on files.
    ///
    /// # Errors
    /// The directory cannot be read or watched.
    pub fn open(root: &Path) -> Result<(Self, Update), DirectoryError> {
        let root = root.to_owned();
        let failed = |source| DirectoryError::Watch { path: root.clone(), source };
        let mut watch = DirWatch::new().map_err(failed)?;
        // Watching comes first, so that nothing that happens while reading is missed.
        if std::fs::read_dir(&root).is_ok() {
            watch.add(&root).map_err(failed)?;
        }
        let mut directory = Self { root, watch, files: Files::default() };
        match directory.read_all() {
            Ok(update) => Ok((directory, update)),
            Err(source) => Err(DirectoryError::Read { path: directory.root, source }),
        }
    }

    /// Waits until something has changed, and reads it.
    pub async fn next(&mut self) -> Update {
        loop {
            if !self.watch.watches(&self.root) {
                return self.found_again().await;
            }
            let events = self.watch.next().await;
            let before = self.files.reports();
            let mut update = Update::default();
            for event in events {
                self.event(event, &mut update);
            }
            update.reports = self.files.reports();
            if !update.changes.is_empty() || update.reports != before {
                return update;
            }
        }
    }

    /// The files as they were read.
    pub fn files(&self) -> &Files {
        &self.files
    }

    fn event(&mut self, event: DirEvent, update: &mut Update) {
        match event {
            // Volumes of Kubernetes swap a hidden link to a directory under the links that are read.
            DirEvent::Written(path) | DirEvent::Appeared(path) if is_hidden_link(&path) => {
                self.reread(update);
            }
            DirEvent::Overflow => self.reread(update),
            DirEvent::Written(path) => self.read(path, update),
            DirEvent::Appeared(path) => self.appeared(path, update),
            DirEvent::Gone(path) => {
                update.changes.extend(self.files.remove(&path));
                self.remove_within(&path, update);
            }
            // Without its directory the last state stays in force.
            DirEvent::Lost(path) if path == self.root => {
                tracing::error!(path = %path.display(), "the directory is gone; its last state stays in force");
            }
            DirEvent::Lost(path) => self.remove_within(&path, update),
        }
    }

    /// A directory is read as a whole. A file is read when its writer closes it, unless nobody will: a link.
    fn appeared(&mut self, path: PathBuf, update: &mut Update) {
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { return };
        if path.is_dir() {
            self.read_directory(&path, update);
        } else if metadata.is_symlink() || metadata.len() > 0 {
            self.read(path, update);
        }
    }

    fn reread(&mut self, update: &mut Update) {
        match self.read_all() {
            Ok(all) => update.changes.extend(all.changes),
            Err(error) => {
                tracing::error!(path = %self.root.display(), %error, "cannot read the directory");
            }
        }
    }

    async fn found_again(&mut self) -> Update {
        loop {
            if self.watch.add(&self.root).is_ok()
                && let Ok(update) = self.read_all()
            {
                tracing::info!(path = %self.root.display(), "the directory is back");
                return update;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn read_all(&mut self) -> io::Result<Update> {
        let mut update = Update::default();
        let entries = list(&self.root)?;
        let gone: Vec<PathBuf> = self.files.paths().filter(|path| !path.exists()).collect();
        for path in gone {
            update.changes.extend(self.files.remove(&path));
        }
        for path in entries {
            if path.is_dir() {
                self.read_directory(&path, &mut update);
            } else {
                self.read(path, &mut update);
            }
        }
        update.reports = self.files.reports();
        Ok(update)
    }

    fn read_directory(&mut self, directory: &Path, update: &mut Update) {
        if is_hidden(directory) || directory.parent() != Some(&self.root) {
            return;
        }
        if let Err(error) = self.watch.add(directory) {
            tracing::error!(path = %directory.display(), %error, "cannot watch the directory; restart after changes in it");
        }
        match list(directory) {
            Ok(paths) => {
                paths.into_iter().filter(|p| !p.is_dir()).for_each(|p| self.read(p, update))
            }
            Err(error) => {
                tracing::error!(path = %directory.display(), %error, "cannot read the directory");
            }
        }
    }

    fn remove_within(&mut self, directory: &Path, update: &mut Update) {
        let gone: Vec<PathBuf> = self.files.within(directory).collect();
        for path in gone {
            update.changes.extend(self.files.remove(&path));
        }
    }

    fn read(&mut self, path: PathBuf, update: &mut Update) {
        if is_hidden(&path) || !is_yaml(&path) {
            return;
        }
        let content = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => read_bounded(&path, MAX_FILE),
            Ok(_) => Err(io::Error::other("not a regular file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                update.changes.extend(self.files.remove(&path));
                return;
            }
            Err(error) => Err(error),
        };
        let text = content
            .map_err(|error| format!("cannot be read: {error}"))
            .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned()));
        let changes = self.files.read(path, text.as_deref().map_err(Clone::clone));
        update.changes.extend(changes);
    }
}

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

fn is_yaml(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension
        .is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e.eq_ignore_ascii_case(known)))
}

fn is_hidden(path: &Path) -> bool {
    starts_with(path, ".")
}

fn is_hidden_link(path: &Path) -> bool {
    starts_with(path, "..")
}

fn starts_with(path: &Path, prefix: &str) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(prefix))
}
