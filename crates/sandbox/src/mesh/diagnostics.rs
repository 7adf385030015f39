//! What the controller has to say about the objects it was given.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::{Notify, broadcast};
use tokio::time::{sleep, timeout};

use crate::event::Event;
use crate::http::get;
use crate::room::Room;

/// The controller's port for diagnostics, on its loopback.
const ADMIN_PORT: u16 = 15014;
/// How long to wait before each look after objects were written: the controller reads them at once, or is busy.
const LOOKS: [u64; 5] = [20, 80, 200, 700, 2000];

/// Asks the controller each time objects were written.
pub(super) struct Diagnostics {
    pub(super) fabric: Arc<Room>,
    /// Told when objects were written.
    pub(super) written: Arc<Notify>,
    pub(super) events: broadcast::Sender<Event>,
    /// The directory of the objects.
    pub(super) dir: PathBuf,
}

#[derive(Deserialize)]
struct Objects {
    #[serde(default)]
    refused: Vec<Remark>,
}

/// Something that is wrong with an object.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Remark {
    #[serde(default)]
    file: Option<PathBuf>,
    /// The line on which its document begins, from 1; 0 for the file as a whole.
    #[serde(default)]
    line: usize,
    object: String,
    #[serde(default)]
    field: String,
    reason: String,
}

// === impl Diagnostics ===

impl Diagnostics {
    /// Tells each remark when it is first made.
    pub(super) async fn run(self) {
        let mut known = BTreeSet::new();
        loop {
            for pause in LOOKS {
                sleep(Duration::from_millis(pause)).await;
                let Some(now) = self.look().await else { continue };
                for remark in now.difference(&known) {
                    let _ = self.events.send(self.event(remark));
                }
                known = now;
            }
            self.written.notified().await;
        }
    }

    async fn look(&self) -> Option<BTreeSet<Remark>> {
        let limit = Duration::from_secs(2);
        let answer =
            timeout(limit, get(&self.fabric, ADMIN_PORT, "/debug/objects")).await.ok()?.ok()?;
        let objects: Objects = serde_json::from_slice(&answer.body).ok()?;
        Some(objects.refused.into_iter().collect())
    }

    fn event(&self, remark: &Remark) -> Event {
        let file = remark.file.as_ref().and_then(|file| file.strip_prefix(&self.dir).ok());
        // What the sandbox wrote itself has a name with an underscore, which tells the user nothing.
        let file =
            file.map(|file| file.display().to_string()).filter(|file| !file.starts_with('_'));
        let origin = match file {
            Some(file) if remark.line > 0 => format!("{file}:{}: {}", remark.line, remark.object),
            Some(file) => format!("{file}: {}", remark.object),
            None => remark.object.clone(),
        };
        let reason = match remark.field.as_str() {
            "" => remark.reason.clone(),
            field => format!("{field}: {}", remark.reason),
        };
        Event::Refused { origin, reason }
    }
}
