//! The last known state, kept in a memory-backed directory: a restarted process serves before anybody answers it.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use ambit_identity::{Identities, SavedCredential};
use ambit_model::LocalState;
use ambit_state::{Kind, Reader, Snapshot, Update};
use serde::{Deserialize, Serialize};

/// Shortest time between two writes; large states, which take long to write, are written less often.
const PAUSE: Duration = Duration::from_millis(50);
/// How soon what could not be written is tried again, if nothing changes before.
const RETRY: Duration = Duration::from_secs(2);

/// What a run leaves for the next one.
#[derive(Serialize, Deserialize)]
pub(crate) struct Saved {
    pub state: LocalState,
}

#[derive(Serialize, Deserialize)]
struct SavedIdentity {
    identity: ambit_model::Identity,
    chain: String,
    key: String,
    roots: String,
}

/// The directory of the last known state.
#[derive(Clone)]
pub(crate) struct LastKnown {
    dir: PathBuf,
}

// === impl LastKnown ===

impl LastKnown {
    /// The directory, made if it is missing; only its owner may look into it.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// What the last run left, if it left anything that can be read.
    pub(crate) fn load(&self) -> Option<Saved> {
        self.read("state.json")
    }

    /// The credentials that the last run left.
    pub(crate) fn load_credentials(&self, identities: &Identities) -> usize {
        let saved: Vec<SavedIdentity> = self.read("credentials.json").unwrap_or_default();
        let saved = saved.into_iter().map(|SavedIdentity { identity, chain, key, roots }| {
            SavedCredential { identity, chain, key, roots }
        });
        identities.import(saved.collect(), SystemTime::now())
    }

    /// Writes the state and the credentials whenever they have changed, for ever.
    pub(crate) async fn keep(self, state: Reader, identities: Identities) {
        let (mut versions, mut generations) = (state.changed(), identities.changes());
        let mut failing = false;
        loop {
            tokio::select! {
                Ok(()) = versions.changed() => {}
                Ok(()) = generations.changed() => {}
                () = tokio::time::sleep(RETRY), if failing => {}
                else => return,
            }
            // What is incomplete must not replace what was complete.
            if !state.snapshot().synced() {
                continue;
            }
            let started = Instant::now();
            let (this, snapshot, credentials) =
                (self.clone(), state.snapshot(), identities.export());
            let write = move || this.write(&snapshot, credentials);
            let written = tokio::task::spawn_blocking(write).await;
            self.say(&written.unwrap_or_else(|error| Err(io::Error::other(error))), &mut failing);
            tokio::time::sleep(PAUSE.max(started.elapsed() * 4)).await;
        }
    }

    /// Says when writing begins to fail, and when it works again.
    fn say(&self, written: &io::Result<()>, failing: &mut bool) {
        let dir = self.dir.display();
        match written {
            Ok(()) if *failing => tracing::info!(%dir, "the last known state is kept again"),
            Err(error) if !*failing => {
                tracing::warn!(%dir, %error, "cannot keep the last known state, what was kept before stays; trying again every {RETRY:?}");
            }
            _ => {}
        }
        *failing = written.is_err();
    }

    fn write(&self, snapshot: &Snapshot, credentials: Vec<SavedCredential>) -> io::Result<()> {
        self.replace("state.json", &Saved { state: document(snapshot) })?;
        let credentials: Vec<_> = credentials
            .into_iter()
            .map(|SavedCredential { identity, chain, key, roots, .. }| SavedIdentity {
                identity,
                chain,
                key,
                roots,
            })
            .collect();
        self.replace("credentials.json", &credentials)
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.dir.join(name);
        let content = match fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read the last known state");
                return None;
            }
        };
        serde_json::from_slice(&content)
            .inspect_err(|error| {
                tracing::warn!(path = %path.display(), %error, "the last known state is damaged, starting without");
            })
            .ok()
    }

    /// Replaces a file as a whole; a crash leaves the old one.
    fn replace(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let temporary = self.dir.join(format!(".{name}.{}", std::process::id()));
        write(&temporary, value)
            .and_then(|()| fs::rename(&temporary, self.dir.join(name)))
            .inspect_err(|_| {
                // It may hold the last bytes that there were. Where it cannot be removed, it is not there.
                let _ = fs::remove_file(&temporary);
            })
    }
}

/// Writes a file that only its owner may read.
fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut writer = io::BufWriter::new(file);
    serde_json::to_writer(&mut writer, value)?;
    writer.flush()
}

/// Everything that a snapshot holds.
pub(crate) fn document(snapshot: &Snapshot) -> LocalState {
    LocalState {
        workloads: snapshot.workloads().collect(),
        services: snapshot.services().map(|service| (**service).clone()).collect(),
        policies: snapshot.policies().map(|policy| (**policy).clone()).collect(),
    }
}

impl Saved {
    /// The updates that bring a state to what was saved, both types complete.
    pub(crate) fn updates(&self) -> Vec<Update> {
        let LocalState { workloads, policies, services } = self.state.clone();
        let mut updates: Vec<Update> = Vec::with_capacity(workloads.len() + services.len() + 2);
        updates.extend(policies.into_iter().map(|policy| Update::Authorization(Box::new(policy))));
        updates.extend(services.into_iter().map(|service| Update::Service(Box::new(service))));
        updates.extend(workloads.into_iter().map(|workload| Update::Workload(Box::new(workload))));
        updates.extend([Update::Synced(Kind::Addresses), Update::Synced(Kind::Authorizations)]);
        updates
    }
}
