//! What the fuzz target of the controller's YAML calls; nothing else does.

use std::path::PathBuf;

use crate::watch::Files;

/// A file of objects: read, read again, and removed.
pub fn controller_yaml(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let path = PathBuf::from("objects.yaml");
    let mut files = Files::default();
    let came = files.read(path.clone(), Ok(&text));
    for report in files.reports() {
        let line = report.to_string();
        assert!(!line.contains(['\n', '\r', '\x1b']), "more than a line: {line:?}");
        assert!(line.len() < 8192, "a line of {} bytes", line.len());
    }
    assert_eq!(files.read(path.clone(), Ok(&text)), [], "the same file is no change");
    let gone = files.remove(&path);
    assert!(gone.iter().all(|change| change.object.is_none()), "{gone:?}");
    assert_eq!(gone.len(), came.len(), "what came goes");
    assert!(files.reports().is_empty());
}
