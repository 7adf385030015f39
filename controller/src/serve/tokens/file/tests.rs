//! Table tests of the file of tokens.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use super::*;
use crate::serve::tokens::bearer;

const GOOD: &str =
    r#"{"token": "secret-of-a", "node": "a", "serviceAccount": "istio-system/ztunnel"}"#;

fn write(path: &Path, mode: u32, content: &str) {
    let temporary = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let file = options.create(true).truncate(true).write(true).mode(mode).open(&temporary);
    file.unwrap().write_all(content.as_bytes()).unwrap();
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::rename(temporary, path).unwrap();
}

fn node(tokens: &FileTokens, value: &str) -> Option<String> {
    let mut headers = http::HeaderMap::new();
    headers.insert(http::header::AUTHORIZATION, value.parse().unwrap());
    tokens.find(bearer(&headers)?).map(|caller| caller.node.to_string())
}

#[test]
fn each_line_is_a_token() {
    let other = GOOD.replace("secret-of-a", "secret-of-b").replace("\"a\"", "\"b\"");
    let tokens = parse(format!("{GOOD}\n\n{other}\n").as_bytes()).unwrap();
    assert_eq!(tokens.len(), 2);
    let a = &tokens["secret-of-a"];
    assert_eq!((&*a.node, &*a.namespace, &*a.service_account), ("a", "istio-system", "ztunnel"));
    assert!(a.impersonates);
}

#[test]
fn who_is_no_node_proxy_has_no_node() {
    let line = r#"{"token": "secret-of-w", "serviceAccount": "shop/waypoint"}"#;
    let caller = &parse(line.as_bytes()).unwrap()["secret-of-w"];
    assert_eq!((&*caller.node, &*caller.service_account), ("", "waypoint"));
    assert!(!caller.impersonates);
}

#[test]
fn bad_lines_are_named_and_never_quoted() {
    let table = [
        ("token-in-plain-text".to_owned(), "expected {"),
        (GOOD.replace("node", "knot"), "expected {"),
        (GOOD.replace("istio-system/ztunnel", "ztunnel"), "serviceAccount"),
        (GOOD.replace("istio-system/ztunnel", "/ztunnel"), "serviceAccount"),
        (GOOD.replace("secret-of-a", "short"), "shorter than 8"),
        (GOOD.replace("secret-of-a", "secret of a"), "has spaces"),
        (GOOD.replace("\"a\"", "\"\""), "node is empty"),
        (GOOD.to_owned(), "given to somebody else already"),
    ];
    for (line, expected) in table {
        let (number, reason) = parse(format!("{GOOD}\n{line}").as_bytes()).unwrap_err();
        assert_eq!(number, 2);
        assert!(reason.contains(expected), "{line}: {reason}");
        assert!(!reason.contains("secret-of") && !reason.contains("plain-text"), "{reason}");
    }
}

#[tokio::test]
async fn only_bearers_of_a_token_are_somebody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    write(&path, 0o600, GOOD);
    let tokens = FileTokens::follow(&path).unwrap();
    let a = Some("a".to_owned());
    assert_eq!(node(&tokens, "Bearer secret-of-a"), a);
    assert_eq!(node(&tokens, "bearer secret-of-a"), a);
    for value in ["secret-of-a", "Basic secret-of-a", "Bearer secret-of-b", "Bearer ", "Bearer"] {
        assert_eq!(node(&tokens, value), None, "{value}");
    }
    assert_eq!(bearer(&http::HeaderMap::new()), None);
}

#[tokio::test]
async fn files_that_cannot_be_used_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    let error = || FileTokens::follow(&path).unwrap_err().to_string();
    assert!(error().contains("cannot be read"), "{}", error());
    write(&path, 0o644, GOOD);
    assert!(error().contains("mode 644 lets others read it; run chmod 600"), "{}", error());
    write(&path, 0o600, "nonsense");
    assert!(error().contains("line 1: expected"), "{}", error());
}

#[tokio::test]
async fn a_new_content_counts_as_soon_as_it_is_good() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    write(&path, 0o600, GOOD);
    let tokens = FileTokens::follow(&path).unwrap();
    write(&path, 0o600, "nonsense");
    write(&path, 0o644, &GOOD.replace("secret-of-a", "open-to-others"));
    let new = GOOD.replace("secret-of-a", "new-secret");
    write(&path, 0o600, &new);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while node(&tokens, "Bearer new-secret").is_none() {
        assert!(tokio::time::Instant::now() < deadline, "not reloaded");
        tokio::task::yield_now().await;
    }
    assert_eq!(node(&tokens, "Bearer secret-of-a"), None, "revoked");
    assert_eq!(node(&tokens, "Bearer open-to-others"), None);
}
