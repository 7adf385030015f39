//! The state file: read whole at start, read again when it changes, refused whole when it is bad.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ambit_model::{Endpoint, InvalidLocalState, LocalState, Service, Str};
use ambit_state::{Kind, Update};
use serde_json::Value;

/// How often the file is looked at.
const POLL: Duration = Duration::from_millis(250);
/// How long a changed file has to stay as it is before it counts: whoever writes it may empty it first.
const SETTLE: Duration = Duration::from_millis(50);
/// Largest file that is read, bytes.
const MAX_FILE: u64 = 256 << 20;

/// Why a state file cannot be used; the message names the file, the entry and the field.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalStateError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no state in YAML.
    #[error("{}: {at}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The path to the field.
        at: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file contradicts itself.
    #[error("{}: {source}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The entry.
        source: InvalidLocalState,
    },
}

/// Follows one state file.
pub(crate) struct LocalFile {
    path: PathBuf,
    content: Vec<u8>,
    applied: Names,
}

/// The keys of what a file holds.
#[derive(Default)]
struct Names {
    addresses: BTreeSet<Str>,
    policies: BTreeSet<Str>,
}

impl LocalFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// The first bad entry.
    pub(crate) fn open(path: PathBuf) -> Result<(Self, Vec<Update>), LocalStateError> {
        let content = read(&path)?;
        let mut file = Self { content, path, applied: Names::default() };
        let state = parse(&file.path, &file.content)?;
        let mut updates = file.apply(state);
        updates.extend([Update::Synced(Kind::Addresses), Update::Synced(Kind::Authorizations)]);
        Ok((file, updates))
    }

    /// Waits for the next version of the file that is good; bad ones are logged and change nothing.
    pub(crate) async fn changed(&mut self) -> Vec<Update> {
        loop {
            tokio::time::sleep(POLL).await;
            match settled(&self.path, &self.content).await {
                Ok(content) if content != self.content => self.content = content,
                _ => continue,
            }
            match parse(&self.path, &self.content) {
                Ok(state) => return self.apply(state),
                Err(error) => {
                    tracing::error!(%error, "state file refused, the last good one stays")
                }
            }
        }
    }

    fn apply(&mut self, state: LocalState) -> Vec<Update> {
        let names = Names::of(&state);
        let gone = |old: &BTreeSet<Str>, new: &BTreeSet<Str>| -> Vec<Str> {
            old.difference(new).cloned().collect()
        };
        let mut updates: Vec<Update> = gone(&self.applied.addresses, &names.addresses)
            .into_iter()
            .map(Update::RemoveAddress)
            .collect();
        updates.extend(
            state.policies.into_iter().map(|policy| Update::Authorization(Box::new(policy))),
        );
        updates
            .extend(state.services.into_iter().map(|service| Update::Service(Box::new(service))));
        updates.extend(
            state.workloads.into_iter().map(|workload| Update::Workload(Box::new(workload))),
        );
        let policies = gone(&self.applied.policies, &names.policies);
        updates.extend(policies.into_iter().map(Update::RemoveAuthorization));
        self.applied = names;
        updates
    }
}

impl Names {
    fn of(state: &LocalState) -> Self {
        let services = state.services.iter().map(|service| service.key().to_string().into());
        Self {
            addresses: state.workloads.iter().map(|w| w.uid.clone()).chain(services).collect(),
            policies: state.policies.iter().map(|policy| policy.key().0).collect(),
        }
    }
}

/// The content once nobody is writing any more.
async fn settled(path: &Path, known: &[u8]) -> Result<Vec<u8>, LocalStateError> {
    let mut content = read(path)?;
    while content != known {
        tokio::time::sleep(SETTLE).await;
        let again = read(path)?;
        if again == content {
            break;
        }
        content = again;
    }
    Ok(content)
}

fn read(path: &Path) -> Result<Vec<u8>, LocalStateError> {
    let read = || {
        let size = std::fs::metadata(path)?.len();
        if size > MAX_FILE {
            return Err(std::io::Error::other(format!("{size} bytes are more than {MAX_FILE}")));
        }
        std::fs::read(path)
    };
    read().map_err(|source| LocalStateError::Read { path: path.to_owned(), source })
}

fn parse(path: &Path, content: &[u8]) -> Result<LocalState, LocalStateError> {
    let invalid =
        |at: String, reason: String| LocalStateError::Parse { path: path.to_owned(), at, reason };
    // An empty document is an empty mesh.
    let value: Option<Value> = serde_saphyr::from_slice_with_options(content, yaml())
        .map_err(|error| invalid("YAML".into(), error.to_string()))?;
    let Some(mut value) = value else { return Ok(LocalState::default()) };
    let endpoints =
        take_endpoints(&mut value).map_err(|(at, error)| invalid(at, error.to_string()))?;
    let mut state: LocalState = serde_path_to_error::deserialize(value)
        .map_err(|error| invalid(error.path().to_string(), error.inner().to_string()))?;
    let check = |state: &mut LocalState| {
        for (index, endpoint) in endpoints {
            if let Some(service) = state.services.get(index).map(Service::key) {
                state.add_endpoint(&service, endpoint)?;
            }
        }
        state.validate()
    };
    match check(&mut state) {
        Ok(()) => Ok(state),
        Err(source) => Err(LocalStateError::Invalid { path: path.to_owned(), source }),
    }
}

/// The operator's own file may be as large as a cluster needs it; `n` and `no` are strings, as in YAML 1.2.
fn yaml() -> serde_saphyr::Options {
    let budget = serde_saphyr::budget! { max_events: 100_000_000, max_nodes: 100_000_000 };
    serde_saphyr::options! { budget: budget, with_snippet: false, strict_booleans: true }
}

/// Endpoints may stand beside a service instead of in its workloads; they come with the index of the service.
fn take_endpoints(
    value: &mut Value,
) -> Result<Vec<(usize, Endpoint)>, (String, serde_json::Error)> {
    let services = value.get_mut("services").and_then(Value::as_array_mut);
    let mut all = Vec::new();
    for (index, service) in services.into_iter().flatten().enumerate() {
        let Some(endpoints) = service.as_object_mut().and_then(|s| s.remove("endpoints")) else {
            continue;
        };
        let endpoints: BTreeMap<Str, Endpoint> = serde_json::from_value(endpoints)
            .map_err(|error| (format!("services[{index}].endpoints"), error))?;
        all.extend(endpoints.into_values().map(|endpoint| (index, endpoint)));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
workloads:
- uid: c//Pod/default/local
  name: local
  namespace: default
  workloadIps: ["127.0.0.1"]
  protocol: HBONE
  node: local
  services:
    "default/example.com":
      80: 8080
policies:
- name: deny-9999
  namespace: default
  scope: Namespace
  action: Allow
  dryRun: false
  rules: [[[{notDestinationPorts: [9999], notPrincipals: [{Presence: []}, {Prefix: x}]}]]]
services:
- name: local
  namespace: default
  hostname: example.com
  vips: ["/127.10.0.1"]
  ports: {80: 8080}
"#;

    fn parse_text(text: &str) -> Result<LocalState, LocalStateError> {
        parse(Path::new("state.yaml"), text.as_bytes())
    }

    #[test]
    fn upstreams_schema_is_read() {
        let state = parse_text(GOOD).unwrap();
        assert_eq!(state.workloads.len(), 1);
        let services = &state.workloads[0].services;
        assert_eq!(services.values().next().unwrap().get(&80), Some(&8080));
        assert_eq!(state.policies[0].rules[0][0][0].not_destination_ports, [9999]);
        assert_eq!(state.services[0].vips[0].address.to_string(), "127.10.0.1");
    }

    #[test]
    fn every_bad_entry_is_named() {
        for (from, to, named) in [
            ("127.0.0.1", "127.0.0.256", "workloads[0].workloadIps[0]"),
            ("protocol: HBONE", "protocol: HBOME", "workloads[0].protocol"),
            ("80: 8080", "80: 80800", "8080"),
            ("scope: Namespace", "scope: Everywhere", "policies[0].scope"),
            ("/127.10.0.1", "127.10.0.1", "services[0]"),
            ("uid: c//Pod/default/local", "uid: ''", "workloads[0]"),
            ("node: local", "nodes: local", "nodes"),
        ] {
            let error = parse_text(&GOOD.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains("state.yaml") && error.contains(named), "{error}");
        }
    }

    #[test]
    fn endpoints_beside_a_service_count_as_those_of_its_workloads() {
        let beside = GOOD.replace(
            "  ports: {80: 8080}\n",
            "  ports: {80: 8080}\n  endpoints: {a: {workloadUid: c//Pod/default/local, port: {80: 9090}}}\n",
        );
        let state = parse_text(&beside).unwrap();
        assert_eq!(state.workloads[0].services.values().next().unwrap().get(&80), Some(&9090));
        let error = parse_text(&beside.replace("c//Pod/default/local, ", "c//Pod/default/x, "));
        assert!(error.unwrap_err().to_string().contains("c//Pod/default/x"));
    }

    /// A file that is emptied and written again is never seen empty.
    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_being_written_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.yaml");
        std::fs::write(&path, GOOD).unwrap();
        let (mut file, _) = LocalFile::open(path.clone()).unwrap();
        let write = async {
            std::fs::write(&path, "").unwrap();
            tokio::time::sleep(POLL + SETTLE / 2).await;
            std::fs::write(&path, GOOD.replace("deny-9999", "other")).unwrap();
        };
        let (updates, ()) = tokio::join!(file.changed(), write);
        let text = format!("{updates:?}");
        assert!(text.contains("other") && !text.contains("RemoveAddress"), "{text}");
    }

    #[test]
    fn what_left_the_file_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.yaml");
        std::fs::write(&path, GOOD).unwrap();
        let (mut file, updates) = LocalFile::open(path).unwrap();
        assert_eq!(updates.len(), 5);
        let removed = file.apply(LocalState::default());
        let text = format!("{removed:?}");
        assert_eq!(removed.len(), 3, "{text}");
        assert!(text.contains("c//Pod/default/local") && text.contains("default/example.com"));
        assert!(text.contains("default/deny-9999"));
    }
}
