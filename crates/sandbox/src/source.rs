//! A directory of YAML, followed while it is edited.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventMask, Inotify, WatchMask};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::error::{Error, IoContext};
use crate::keeper::Command;
use crate::manifest::{self, Changes, FILE_LIMIT, Invalid, Manifest, Refusal};

/// Files whose names end so are read.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];
/// An editor writes a file in several steps: look when nothing has happened for so long.
const QUIET: Duration = Duration::from_millis(30);
/// Files may be written all the time: look after so long in any case.
const PATIENCE: Duration = Duration::from_millis(300);

/// A directory and what was last read from it.
#[derive(Debug)]
pub(crate) struct Source {
    dir: PathBuf,
    texts: BTreeMap<String, Result<String, String>>,
}

// === impl Source ===

impl Source {
    /// Reads the directory for the first time.
    ///
    /// # Errors
    /// It cannot be read, or has no file that could be.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Changes), Error> {
        let mut source = Self { dir: dir.to_owned(), texts: BTreeMap::new() };
        let changes = source.look()?;
        Ok((source, changes))
    }

    /// Follows the directory until nobody wants to know any more.
    pub(crate) async fn follow(mut self, keeper: mpsc::WeakSender<Command>) {
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::CREATE;
        let watch = Inotify::init().and_then(|inotify| {
            inotify.watches().add(&self.dir, mask)?;
            inotify.into_event_stream(vec![0; 4096])
        });
        let mut events = match watch {
            Ok(events) => events,
            Err(error) => {
                tracing::error!(dir = %self.dir.display(), %error, "cannot watch: edits have no effect until a restart");
                return;
            }
        };
        while let Some(Ok(event)) = events.next().await {
            // A file that was only created is looked at when it is closed.
            if event.mask.contains(EventMask::CREATE) {
                continue;
            }
            let patience = Instant::now() + PATIENCE;
            let mut quiet = Instant::now() + QUIET;
            loop {
                tokio::select! {
                    Some(Ok(_)) = events.next() => quiet = Instant::now() + QUIET,
                    () = sleep_until(quiet.min(patience)) => break,
                }
            }
            match self.look() {
                Ok(changes) if changes.is_empty() => {}
                Ok(changes) => {
                    let Some(keeper) = keeper.upgrade() else { return };
                    if keeper.send(Command::Files(changes)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(error = error.line(), "what was last read stays in force")
                }
            }
        }
    }

    /// The files that have changed since the last look.
    fn look(&mut self) -> Result<Changes, Error> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&self.dir).doing("read", &self.dir)? {
            let entry = entry.doing("read", &self.dir)?;
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let extension = path.extension().and_then(|extension| extension.to_str());
            let wanted = extension.is_some_and(|extension| EXTENSIONS.contains(&extension));
            if wanted && !name.starts_with('.') && path.is_file() {
                found.insert(name, read(&path));
            }
        }
        let gone: Vec<String> =
            self.texts.keys().filter(|name| !found.contains_key(*name)).cloned().collect();
        let mut changes: Vec<_> = gone.into_iter().map(|name| (name, None)).collect();
        for (name, text) in &found {
            if self.texts.get(name) != Some(text) {
                changes.push((name.clone(), Some(parse(name, text))));
            }
        }
        self.texts = found;
        Ok(changes)
    }
}

fn read(path: &Path) -> Result<String, String> {
    let size = fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?.len();
    if size > FILE_LIMIT {
        return Err(format!("is larger than {} MiB", FILE_LIMIT >> 20));
    }
    let bytes = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

fn parse(name: &str, text: &Result<String, String>) -> Manifest {
    match text {
        Ok(text) => manifest::read(name, text),
        Err(problem) => {
            let invalid = Invalid { origin: name.to_owned(), problem: problem.clone() };
            Manifest::refused(Refusal { key: None, invalid })
        }
    }
}
