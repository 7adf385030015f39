//! Notices that a file has other content than before.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use inotify::{EventStream, Inotify, WatchMask};

/// How often the file is read although nothing was announced: not every file system announces.
const RECHECK: Duration = Duration::from_secs(30);

const EVENT_BYTES: usize = 4096;

/// One file, watched through its directory: editors and Kubernetes volumes replace files instead of writing to them.
pub struct FileWatch {
    path: PathBuf,
    limit: usize,
    events: EventStream<[u8; EVENT_BYTES]>,
    last: io::Result<Vec<u8>>,
}

impl FileWatch {
    /// Starts watching `path` and reads it, at most `limit` bytes. Needs a tokio runtime.
    ///
    /// # Errors
    /// A file that cannot be read or is larger than `limit`; a directory that cannot be watched.
    pub fn open(path: &Path, limit: usize) -> io::Result<(Self, Vec<u8>)> {
        let inotify = Inotify::init()?;
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_TO
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::ONLYDIR;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        inotify.watches().add(directory, mask)?;
        let events = inotify.into_event_stream([0; EVENT_BYTES])?;
        let content = read_bounded(path, limit)?;
        let last = Ok(content.clone());
        Ok((Self { path: path.to_owned(), limit, events, last }, content))
    }

    /// Waits until the content, or the reason why it cannot be read, differs from what was returned last.
    ///
    /// # Errors
    /// The file has become unreadable or too large; it is still watched.
    pub async fn changed(&mut self) -> io::Result<Vec<u8>> {
        loop {
            // An event, an error of inotify and the timeout all mean the same: look again.
            let announced = tokio::time::timeout(RECHECK, self.events.next()).await;
            if matches!(announced, Ok(None | Some(Err(_)))) {
                tokio::time::sleep(RECHECK).await;
            }
            let now = read_bounded(&self.path, self.limit);
            let same = match (&now, &self.last) {
                (Ok(now), Ok(last)) => now == last,
                (Err(now), Err(last)) => now.kind() == last.kind(),
                _ => false,
            };
            if same {
                continue;
            }
            self.last = match &now {
                Ok(content) => Ok(content.clone()),
                Err(error) => Err(error.kind().into()),
            };
            return now;
        }
    }
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// Whatever the system says, or `FileTooLarge`.
pub fn read_bounded(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let beyond = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    std::fs::File::open(path)?.take(beyond).read_to_end(&mut content)?;
    if content.len() > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{} holds more than {limit} bytes", path.display()),
        ));
    }
    Ok(content)
}
