//! The paths that policies name, which are compared with decoded paths.

use ambit_model::{PathMatch, StringMatch};

use super::normal::decode_bytes;

/// A pattern, decoded as paths are. What does not decode to text stays as it is, and matches nothing.
pub(crate) fn decoded(text: &str) -> Option<String> {
    if text.contains('%') { String::from_utf8(decode_bytes(text)).ok() } else { None }
}

/// Why no request ever has such a path, where that is so.
pub fn unreachable_pattern(pattern: &PathMatch) -> Option<&'static str> {
    let (text, anchored, ends) = match pattern {
        PathMatch::Text(StringMatch::Presence()) => return None,
        PathMatch::Text(StringMatch::Exact(text)) if matches!(&**text, "*" | "") => return None,
        PathMatch::Text(StringMatch::Exact(text)) => (&**text, true, true),
        PathMatch::Text(StringMatch::Prefix(text)) => (&**text, true, false),
        PathMatch::Text(StringMatch::Suffix(text)) => (&**text, false, true),
        PathMatch::Template(template) => (template.as_str(), true, true),
    };
    let decoded = decoded(text);
    let text = decoded.as_deref().unwrap_or(text);
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if anchored && !text.starts_with('/') {
        Some("paths begin with a slash")
    } else if text.contains(['?', '#']) {
        Some("paths are compared without query and fragment")
    } else if text.contains(|c: char| c == '\\' || c.is_ascii_control()) || has(&["%2F", "%5C"]) {
        Some("backslashes, encoded slashes and control characters never occur in a path")
    } else if has(&["//", "/./", "/../"])
        || (ends && (text.ends_with("/.") || text.ends_with("/..")))
    {
        Some("paths are compared without repeated slashes and dot segments")
    } else {
        None
    }
}
