//! What happens in directories, in batches.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask};

const BUFFER: usize = 16 * 1024;
/// How many events are looked at in one go.
const BATCH: usize = 256;

/// Watched directories.
pub(crate) struct DirWatch {
    events: futures_util::stream::ReadyChunks<EventStream<[u8; BUFFER]>>,
    directories: HashMap<WatchDescriptor, PathBuf>,
}

/// Something happened in a watched directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DirEvent {
    /// The file has been written or moved here, and is complete.
    Written(PathBuf),
    /// Something has appeared: a file that is still empty, a link, a directory.
    Appeared(PathBuf),
    /// The file or directory is gone.
    Gone(PathBuf),
    /// The watched directory itself is gone.
    Lost(PathBuf),
    /// Events were lost.
    Overflow,
}

// === impl DirWatch ===

impl DirWatch {
    /// Watches nothing yet. Needs a tokio runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let events = Inotify::init()?.into_event_stream([0; BUFFER])?.ready_chunks(BATCH);
        Ok(Self { events, directories: HashMap::new() })
    }

    /// Watches `directory`; harmless where it is watched already.
    pub(crate) fn add(&mut self, directory: &Path) -> io::Result<()> {
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        let descriptor = self.events.get_ref().watches().add(directory, mask)?;
        self.directories.insert(descriptor, directory.to_owned());
        Ok(())
    }

    /// Whether `directory` is watched.
    pub(crate) fn watches(&self, directory: &Path) -> bool {
        self.directories.values().any(|watched| watched == directory)
    }

    /// Waits for events and takes those that are there.
    pub(crate) async fn next(&mut self) -> Vec<DirEvent> {
        let Some(batch) = self.events.next().await else { return vec![DirEvent::Overflow] };
        batch
            .into_iter()
            .filter_map(|event| match event {
                Ok(event) => self.event(&event.wd, event.mask, event.name),
                Err(_) => Some(DirEvent::Overflow),
            })
            .collect()
    }

    fn event(
        &mut self,
        descriptor: &WatchDescriptor,
        mask: EventMask,
        name: Option<OsString>,
    ) -> Option<DirEvent> {
        if mask.contains(EventMask::Q_OVERFLOW) {
            return Some(DirEvent::Overflow);
        }
        if mask.intersects(EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::IGNORED) {
            return self.directories.remove(descriptor).map(DirEvent::Lost);
        }
        let path = self.directories.get(descriptor)?.join(name?);
        Some(if mask.intersects(EventMask::DELETE | EventMask::MOVED_FROM) {
            DirEvent::Gone(path)
        } else if mask.contains(EventMask::ISDIR) || mask.contains(EventMask::CREATE) {
            DirEvent::Appeared(path)
        } else {
            DirEvent::Written(path)
        })
    }
}
