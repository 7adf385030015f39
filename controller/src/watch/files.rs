//! The files of a directory as a pure state: contents in, changes of objects out.
//!
//! Rules: a file that cannot be read or is no YAML keeps the objects of its last good version. An object that cannot be
//! used keeps its own last good version from the same file, except policies, which close what they select. Of two
//! objects with the same key the one in the first file, by path, is used.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::document::{self, Subject};
use super::{Key, Object, Problem, Standing};

/// A change of an object: its new state, or that it is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The object's key.
    pub key: Key,
    /// Its state from now on; `None` where it is gone.
    pub object: Option<Object>,
}

/// What follows from new contents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// Changes of objects.
    pub changes: Vec<Change>,
    /// How objects stand whose status can say so, where that may have changed; nothing for files.
    pub standings: Vec<(Key, Standing)>,
    /// Everything that is wrong with the source's objects now.
    pub reports: Vec<Report>,
}

/// Something that is wrong with an object, or with where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Report {
    /// Where it stands; absent where the object comes from no file.
    pub location: Option<Location>,
    /// The object, as far as it is known.
    pub subject: String,
    /// What is wrong.
    pub problem: Problem,
}

/// A file and an object in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Location {
    /// The file.
    pub file: Arc<Path>,
    /// The object's position among those of the file, from 1; 0 for the file as a whole.
    #[serde(skip)]
    pub object: usize,
    /// The line on which its document begins, from 1; 0 for the file as a whole.
    pub line: usize,
}

/// The files that were read.
#[derive(Debug, Default)]
pub struct Files {
    files: BTreeMap<Arc<Path>, File>,
    /// Where each key is defined; the first place counts.
    places: BTreeMap<Key, BTreeSet<Location>>,
    effective: BTreeMap<Key, Object>,
    /// The keys that are defined more than once.
    contested: BTreeSet<Key>,
}

#[derive(Debug, Default)]
struct File {
    /// Why the file's last content could not be used.
    broken: Option<String>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    number: usize,
    line: usize,
    subject: Subject,
    object: Option<Object>,
    problems: Vec<Problem>,
}

// === impl Files ===

impl Files {
    /// Takes in what the file at `path` holds now, or why it cannot be read.
    pub fn read(&mut self, path: PathBuf, content: Result<&str, String>) -> Vec<Change> {
        let path: Arc<Path> = path.into();
        match content.and_then(document::documents) {
            Ok(documents) => {
                let known = self.files.get(&path).map(|file| &file.entries[..]).unwrap_or_default();
                let entries = documents.into_iter().map(|d| Entry::new(d, known)).collect();
                self.replace(&path, Some(File { broken: None, entries }))
            }
            Err(reason) => {
                self.files.entry(path).or_default().broken = Some(reason);
                Vec::new()
            }
        }
    }

    /// Takes in that the file at `path` is gone.
    pub fn remove(&mut self, path: &Path) -> Vec<Change> {
        self.replace(&path.into(), None)
    }

    /// The files that are known, in the directory `directory`.
    pub fn within<'a>(&'a self, directory: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
        let files = self.files.keys();
        files.filter(move |path| path.parent() == Some(directory)).map(|path| path.to_path_buf())
    }

    /// Every file that is known.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.files.keys().map(|path| path.to_path_buf())
    }

    /// Where the object of this key stands.
    pub fn location(&self, key: &Key) -> Option<&Location> {
        self.places.get(key)?.first()
    }

    /// Everything that is wrong with the files.
    pub fn reports(&self) -> Vec<Report> {
        let mut reports = Vec::new();
        for (path, file) in &self.files {
            if let Some(reason) = &file.broken {
                reports.push(broken(path, reason, file.entries.is_empty()));
            }
            for entry in file.entries.iter().filter(|entry| !entry.problems.is_empty()) {
                let subject = entry.subject.to_string();
                reports.extend(entry.problems.iter().map(|problem| Report {
                    location: Some(entry.location(path)),
                    subject: subject.clone(),
                    problem: problem.clone(),
                }));
            }
        }
        for key in &self.contested {
            let mut places = self.places.get(key).into_iter().flatten();
            let Some(first) = places.next() else { continue };
            let message = format!("already defined in {first}; this one is left out");
            reports.extend(places.map(|place| Report {
                location: Some(place.clone()),
                subject: key.to_string(),
                problem: Problem::new("metadata.name", &message),
            }));
        }
        reports.sort();
        reports
    }

    fn replace(&mut self, path: &Arc<Path>, file: Option<File>) -> Vec<Change> {
        let mut touched = BTreeSet::new();
        let old = match file {
            Some(file) => self.files.insert(path.clone(), file),
            None => self.files.remove(path),
        };
        for entry in old.iter().flat_map(|file| &file.entries) {
            if let Subject::Object(key) = &entry.subject {
                touched.insert(key.clone());
                if let Some(places) = self.places.get_mut(key) {
                    places.retain(|place| place.file != *path);
                }
            }
        }
        for entry in self.files.get(path).iter().flat_map(|file| &file.entries) {
            if let (Subject::Object(key), Some(_)) = (&entry.subject, &entry.object) {
                touched.insert(key.clone());
                let location = entry.location(path);
                self.places.entry(key.clone()).or_default().insert(location);
            }
        }
        touched.into_iter().filter_map(|key| self.settle(key)).collect()
    }

    /// Brings the effective object of `key` up to date.
    fn settle(&mut self, key: Key) -> Option<Change> {
        match self.places.get(&key).map_or(0, BTreeSet::len) {
            0 => {
                self.places.remove(&key);
                self.contested.remove(&key);
            }
            1 => {
                self.contested.remove(&key);
            }
            _ => {
                self.contested.insert(key.clone());
            }
        }
        let now = self.location(&key).and_then(|place| self.object_at(place, &key)).cloned();
        if self.effective.get(&key) == now.as_ref() {
            return None;
        }
        match &now {
            Some(object) => self.effective.insert(key.clone(), object.clone()),
            None => self.effective.remove(&key),
        };
        Some(Change { key, object: now })
    }

    fn object_at(&self, place: &Location, key: &Key) -> Option<&Object> {
        let entries = &self.files.get(&place.file)?.entries;
        let subject = Subject::Object(key.clone());
        entries
            .iter()
            .find(|e| e.number == place.object && e.subject == subject && e.object.is_some())?
            .object
            .as_ref()
    }
}

fn broken(path: &Arc<Path>, reason: &str, empty: bool) -> Report {
    let kept = if empty { "" } else { "; its last good version stays in force" };
    Report {
        location: Some(Location { file: path.clone(), object: 0, line: 0 }),
        subject: "the file".to_owned(),
        problem: Problem::new("", format!("{reason}{kept}")),
    }
}

// === impl Entry ===

impl Entry {
    fn new(document: document::Document, known: &[Self]) -> Self {
        let document::Document { number, line, subject, mut object, mut problems } = document;
        if object.is_none() && !problems.is_empty() {
            let last = known.iter().find(|e| e.subject == subject && e.object.is_some());
            if let Some(last) = last {
                object.clone_from(&last.object);
                Problem::conclude(&mut problems, "its last good version stays in force");
            }
        }
        Self { number, line, subject, object, problems }
    }

    fn location(&self, file: &Arc<Path>) -> Location {
        Location { file: file.clone(), object: self.number, line: self.line }
    }
}

// === impl Location ===

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        Ok(())
    }
}

// === impl Report ===

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        write!(f, "{}: {}", self.subject, self.problem)
    }
}

// === impl Subject ===

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(key) => fmt::Display::fmt(key, f),
            Self::Other(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests;
