//! What the fuzz target of the sandbox's YAML calls; nothing else does.

use crate::manifest;

/// A file of objects, and what of it the controller is shown.
pub fn sandbox_yaml(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let manifest = manifest::read("objects.yaml", &text);
    for refusal in &manifest.refusals {
        let line = refusal.invalid.to_string();
        assert!(!line.contains(['\n', '\r', '\x1b']), "more than a line: {line:?}");
        assert!(line.len() < 8192, "a line of {} bytes", line.len());
    }
    let Some(shown) = manifest.passed_on(|_| false) else { return };
    assert!(shown.len() <= text.len() + 4, "{shown:?} of {text:?}");
    let again = manifest::read("objects.yaml", &shown);
    let passed = |manifest: &manifest::Manifest| -> Vec<String> {
        let all = manifest.documents.iter();
        let passed = all.filter(|document| manifest.shows(&document.key, |_| false));
        passed.map(|document| document.key.to_string()).collect()
    };
    assert_eq!(passed(&again), passed(&manifest), "{shown:?} of {text:?}");
    assert!(again.refusals.is_empty(), "{:?} in {shown:?} of {text:?}", again.refusals);
}
