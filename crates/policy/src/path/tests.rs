//! What becomes of targets, one by one, and that no reading of a path leads past the policies.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ambit_model::{PathMatch, RequestAction, RequestOperation, RequestPolicy, RequestRule, Terms};
use ambit_model::{PolicyTarget, StringMatch};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::EncodedSlashes::{Decode, Keep};
use super::RefusedPath::*;
use super::*;
use crate::{CompiledPolicy, HeaderValues, RequestFacts, decide_request};

fn parse(target: &str) -> Result<RequestPath<'_>, RefusedPath> {
    RequestPath::parse("GET", target.as_bytes(), Decode)
}

#[test]
fn one_form() {
    let table: &[(&str, &str)] = &[
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("//", "/"),
        ("//host/a", "/host/a"),
        ("///a////b//", "/a/b/"),
        ("/a/./b", "/a/b"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/../b", "/b"),
        ("/a/b/../../c/", "/c/"),
        ("/../../a", "/a"),
        ("/..", "/"),
        ("/a/..b/.c/d..", "/a/..b/.c/d.."),
        ("/a.../....", "/a.../...."),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/%61%64min", "/admin"),
        ("/a%2fb%2Fc", "/a/b/c"),
        ("/a%2f..%2fb", "/b"),
        ("/a%5cb\\c", "/a/b/c"),
        ("\\\\a\\..\\b", "/b"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/café", "/caf%C3%A9"),
        ("/a%20b", "/a%20b"),
        ("/a%3ab%3Bc", "/a%3Ab%3Bc"),
        ("/a%2520b%25", "/a%2520b%25"),
        ("/a|b\"{c}", "/a%7Cb%22%7Bc%7D"),
        ("/a;v=1/b", "/a;v=1/b"),
        ("/A%4a", "/AJ"),
        ("/%7Euser", "/~user"),
    ];
    for (raw, path) in table {
        let parsed = parse(raw).unwrap();
        assert_eq!(parsed.path(), *path, "{raw}");
        assert_eq!(parsed.is_rewritten(), raw != path, "{raw}");
    }
}

#[test]
fn refused() {
    let table: &[(&str, RefusedPath)] = &[
        ("", Form),
        ("a/b", Form),
        ("*", Form),
        ("example.com:80", Form),
        ("http://", Form),
        ("http:///a", Form),
        ("http://user@host/a", Form),
        ("://host/a", Form),
        ("/a b", Character),
        ("/a\tb", Character),
        ("/a\0", Character),
        ("/a\r\nHost: b", Character),
        ("/a#b", Character),
        ("/a?b#c", Character),
        ("/a%00", Character),
        ("/a%0d%0Ab", Character),
        ("/a%7f", Character),
        ("/a%", Encoding),
        ("/a%2", Encoding),
        ("/a%zz", Encoding),
        ("/a%u002f", Encoding),
        ("/%c0%ae%c0%ae/b", NotUtf8),
        ("/%c0%af", NotUtf8),
        ("/%e0%80%af", NotUtf8),
        ("/ad%ffmin", NotUtf8),
        ("/%ed%a0%80", NotUtf8),
        ("/dmin/%c0%ae%2f..%2fadmin", NotUtf8),
        ("/%252e%252e/admin", EncodedTwice),
        ("/a%252fb", EncodedTwice),
        ("/a%255Cb", EncodedTwice),
        ("/%2561dmin", EncodedTwice),
        ("/%25252561dmin", EncodedTwice),
        ("/%25%36%31dmin", EncodedTwice),
        ("/a%2500", EncodedTwice),
        ("/%25ff%25FFadmin", EncodedTwice),
        ("/admin%253bx", EncodedTwice),
        ("/admin%253Fx", EncodedTwice),
        ("/a/..;/b", HiddenDots),
        ("/a/..;x=1/b", HiddenDots),
        ("/a/.;/b", HiddenDots),
        ("/a/..%3b/b", HiddenDots),
        ("/a/%2e%2e;/b", HiddenDots),
        ("/a/..;/../b", HiddenDots),
    ];
    for (raw, why) in table {
        assert_eq!(parse(raw), Err(*why), "{raw:?}");
    }
    assert_eq!(RequestPath::parse("GET", b"/\xc0\xae", Decode), Err(NotUtf8));
}

#[test]
fn targets_of_every_form() {
    let table = [
        ("GET", "/a?b=/../c?d", None, "/a", Some("b=/../c?d")),
        ("GET", "/?", None, "/", Some("")),
        ("GET", "http://shop:80/a/../b?c", Some("shop:80"), "/b", Some("c")),
        ("GET", "http://shop", Some("shop"), "/", None),
        ("GET", "http://shop?q", Some("shop"), "/", Some("q")),
        ("GET", "http://shop\\a", Some("shop"), "/a", None),
        ("GET", "HTTP://shop//a", Some("shop"), "/a", None),
        ("GET", "/http://shop/a", None, "/http:/shop/a", None),
        ("OPTIONS", "*", None, "*", None),
        ("CONNECT", "shop:80", Some("shop:80"), "", None),
        ("CONNECT", "[::1]:80", Some("[::1]:80"), "", None),
        ("CONNECT", "/chat/./x", None, "/chat/x", None),
    ];
    for (method, target, authority, path, query) in table {
        let parsed = RequestPath::parse(method, target.as_bytes(), Decode).unwrap();
        let found = (parsed.authority(), parsed.path(), parsed.query());
        assert_eq!(found, (authority, path, query), "{method} {target}");
    }
}

#[test]
fn encoded_slashes_may_be_kept() {
    let keep = |target: &'static str| {
        RequestPath::parse("GET", target.as_bytes(), Keep).map(|parsed| parsed.path().to_owned())
    };
    let table = [
        ("/projects/a%2fb/../c", Ok("/projects/c".to_owned())),
        ("/projects/a%2fb%5cc", Ok("/projects/a%2Fb%5Cc".to_owned())),
        ("/projects/a%252Fb", Ok("/projects/a%252Fb".to_owned())),
        ("/projects/..%2fadmin", Err(HiddenDots)),
        ("/projects/a%5c..;x", Err(HiddenDots)),
        ("/projects/a%5c..%3bx", Err(HiddenDots)),
        ("/projects/%252e", Err(EncodedTwice)),
        ("/a//b\\c", Ok("/a/b/c".to_owned())),
    ];
    for (raw, expected) in table {
        assert_eq!(keep(raw), expected, "{raw}");
    }
}

#[test]
fn policies_see_the_path_decoded_and_without_parameters() {
    let views = |raw| parse(raw).unwrap().views().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(views("/a/b"), ["/a/b"]);
    assert_eq!(views("/a%3Ab%20c"), ["/a:b c"]);
    assert_eq!(views("/a%25b"), ["/a%25b"]);
    assert_eq!(views("/admin;x=1/b;"), ["/admin;x=1/b;", "/admin/b"]);
    assert_eq!(views("/;x/admin"), ["/;x/admin", "/admin"]);
    assert_eq!(views("/admin%3bx"), ["/admin;x", "/admin"]);
}

#[test]
fn patterns_that_no_path_has_are_found() {
    let exact = |text: &str| PathMatch::Text(StringMatch::Exact(text.into()));
    let prefix = |text: &str| PathMatch::Text(StringMatch::Prefix(text.into()));
    let suffix = |text: &str| PathMatch::Text(StringMatch::Suffix(text.into()));
    let template = |text: &str| PathMatch::Template(text.parse().unwrap());
    let reachable = [
        exact("/a"),
        exact("*"),
        exact("/%61/é"),
        prefix("/a/."),
        prefix("/"),
        suffix(".png"),
        suffix("a"),
        template("/a/{*}/{**}"),
        PathMatch::Text(StringMatch::Presence()),
        exact("/a%20b"),
    ];
    for pattern in reachable {
        assert_eq!(unreachable_pattern(&pattern), None, "{pattern:?}");
    }
    let unreachable = [
        exact("a"),
        prefix("a/"),
        exact("/a//b"),
        exact("/a/../b"),
        exact("/a/.."),
        exact("/a?b"),
        exact("/a%2fb"),
        exact("/a\\b"),
        prefix("/a/./b"),
        suffix("/./a"),
        suffix("/.."),
        template("/a//{*}"),
        exact("/%2e%2e/a"),
    ];
    for pattern in unreachable {
        assert!(unreachable_pattern(&pattern).is_some(), "{pattern:?}");
    }
}

// === no way past the policies ===

struct NoHeaders;

impl HeaderValues for NoHeaders {
    fn each(&self, _name: &str, _see: &mut dyn FnMut(&[u8])) {}
}

fn policy(action: RequestAction, paths: [StringMatch; 2]) -> CompiledPolicy {
    let paths = Terms::any_of(paths.map(PathMatch::Text));
    let to = vec![RequestOperation { paths, ..RequestOperation::default() }];
    CompiledPolicy::new(RequestPolicy {
        name: "p".into(),
        namespace: "shop".into(),
        action,
        dry_run: false,
        targets: vec![PolicyTarget::Gateway],
        rules: vec![RequestRule { to, ..RequestRule::default() }],
    })
}

fn below(path: &str) -> [StringMatch; 2] {
    [StringMatch::Exact(path.into()), StringMatch::Prefix(format!("{path}/").into())]
}

fn allowed(path: &RequestPath<'_>, policy: &CompiledPolicy) -> bool {
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let facts = RequestFacts {
        method: "GET",
        path,
        host: None,
        headers: &NoHeaders,
        source_identity: None,
        source_ip: ip,
        remote_ip: ip,
        destination: SocketAddr::new(ip, 80),
        sni: None,
        auth: None,
    };
    decide_request(&facts, [policy]).allowed()
}

#[test]
fn the_known_ways_past_are_closed() {
    let deny = policy(RequestAction::Deny, below("/admin"));
    let ways = [
        "/admin",
        "/admin/",
        "/admin/x",
        "//admin",
        "/./admin",
        "/x/../admin",
        "/public/../admin",
        "/public/..%2fadmin",
        "/public%2f..%2fadmin",
        "/public/%2e%2e/admin",
        "/public/.%2E/admin",
        "/public\\..\\admin",
        "/public/..%5cadmin",
        "/%61dmin",
        "/%61%64%6D%69%6e/x",
        "/admin%2fx",
        "/admin;x=1",
        "/admin;/x",
        "/;x=1/admin",
        "/admin%3bx",
        "/../admin",
        "/../../admin/x",
        "//host/..//admin",
        "http://host/admin",
        "http://host//admin/",
        "http://host\\admin",
        "/admin/.",
        "/admin/..;/admin",
        "/public/..;/admin",
        "/%2e/admin",
        "/admin/../admin",
        "/%252e%252e/admin",
        "/public/%252e%252e%252fadmin",
        "/%2561dmin",
        "/admin%00",
        "/ad%00min",
        "/%c0%ae%c0%ae/admin",
        "/%c0%af/admin",
        "/ad%ffmin",
        "/admin#x",
        "/x#/../admin",
        "/admin?x",
        "/%61%2564min",
        "/.;/admin",
        "/public/%2e%2e;/admin",
        "/admin%20/../../admin",
        "/%2fadmin",
    ];
    for raw in ways {
        if let Ok(path) = parse(raw) {
            assert!(!allowed(&path, &deny), "{raw} is {}", path.path());
        }
    }
    let allow = policy(RequestAction::Allow, below("/public"));
    let ways = [
        "/admin",
        "/public/../admin",
        "/public/..%2fadmin",
        "/public%2f../admin",
        "/public;/../x",
        "/public/..\\admin",
        "/publicx",
        "/public;x/../admin",
        "/public/..;/admin",
        "/PUBLIC/x",
        "/public/%252e%252e/admin",
        "/public/../../public/../x",
        "/x;/public",
        "/;x/../public/../a",
        "/admin%3b/../x/public",
        "/public%3f/../admin",
        "/public%23/../admin",
    ];
    for raw in ways {
        if let Ok(path) = parse(raw) {
            assert!(!allowed(&path, &allow), "{raw} is {}", path.path());
        }
    }
    for raw in ["/public", "/public/a", "//public//a", "/x/../public/%61", "/public/a;v=1"] {
        assert!(allowed(&parse(raw).unwrap(), &allow), "{raw}");
    }
}

/// How one server or another makes a file of a path, written naively.
mod servers {
    pub(super) const ALL: [fn(&str) -> Option<String>; 7] =
        [nginx, clamping, windows, servlet, decode_then_cut, twice, lenient];

    fn decode(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut i = 0;
        while i < text.len() {
            let digits = text.get(i + 1..i + 3).and_then(|d| std::str::from_utf8(d).ok());
            match digits.and_then(|d| u8::from_str_radix(d, 16).ok()) {
                Some(byte) if text[i] == b'%' => {
                    out.push(byte);
                    i += 3;
                }
                _ => {
                    out.push(text[i]);
                    i += 1;
                }
            }
        }
        out
    }

    fn walk(path: &[u8], above: bool) -> Option<String> {
        let text = String::from_utf8_lossy(path).replace('\u{fffd}', "");
        let mut stack: Vec<&str> = Vec::new();
        for segment in text.split('/') {
            if segment == ".." {
                if stack.pop().is_none() && !above {
                    return None;
                }
            } else if !segment.is_empty() && segment != "." {
                stack.push(segment);
            }
        }
        Some(format!("/{}", stack.join("/")))
    }

    fn cut(path: &[u8]) -> Vec<u8> {
        let names = path.split(|b| *b == b'/').map(|s| s.split(|b| *b == b';').next().unwrap());
        names.collect::<Vec<_>>().join(&b'/')
    }

    /// Ends at what would be a query or a C string's end.
    fn until(path: &str) -> &[u8] {
        path.split(['?', '#']).next().unwrap().as_bytes()
    }

    fn nginx(path: &str) -> Option<String> {
        walk(&decode(until(path)), false)
    }

    fn clamping(path: &str) -> Option<String> {
        let bytes = decode(until(path));
        walk(bytes.split(|b| *b == 0).next().unwrap(), true)
    }

    pub(super) fn windows(path: &str) -> Option<String> {
        let bytes = decode(until(path));
        walk(&bytes.iter().map(|b| if *b == b'\\' { b'/' } else { *b }).collect::<Vec<_>>(), true)
    }

    fn servlet(path: &str) -> Option<String> {
        walk(&decode(&cut(until(path))), true)
    }

    fn decode_then_cut(path: &str) -> Option<String> {
        walk(&cut(&decode(until(path))), true)
    }

    fn twice(path: &str) -> Option<String> {
        walk(&decode(&decode(until(path))), true)
    }

    /// Takes overlong forms for what they would be, and leaves out what it cannot read.
    fn lenient(path: &str) -> Option<String> {
        let bytes = decode(until(path));
        let mut out = Vec::new();
        let mut i = 0;
        while i < bytes.len() {
            if matches!(bytes[i], 0xc0 | 0xc1) && i + 1 < bytes.len() {
                out.push((bytes[i] << 6) | (bytes[i + 1] & 0x3f));
                i += 1;
            } else if bytes[i] != 0 {
                out.push(bytes[i]);
            }
            i += 1;
        }
        walk(&out, true)
    }
}

fn nasty() -> impl Strategy<Value = String> {
    let tokens = [
        "/", "/", "/", "//", "admin", "admin", "public", "public", ".", "..", "..", "%2e",
        "%2E%2e", "%2f", "%2F", "%5c", "\\", ";", ";x=1", "%3b", "%3B", "%25", "%252e", "%2561",
        "2e", "2f", "61", "%61", "%32", "%65", "%00", "%c0%ae", "%c0", "%ff", "dmin", "a", "%",
        "?", "%3f", "%23", "é", "%c3%a9", "%20", "*", "http://h", "%0a", "%2525", "%66",
    ];
    vec(select(tokens.to_vec()), 0..12).prop_map(|parts| format!("/{}", parts.concat()))
}

fn is_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60_000))]

    #[test]
    fn no_server_is_reached_past_the_policies(raw in nasty()) {
        let deny = policy(RequestAction::Deny, below("/admin"));
        let allow = policy(RequestAction::Allow, below("/public"));
        if let Ok(path) = parse(&raw) {
            let (denies, allows) = (!allowed(&path, &deny), allowed(&path, &allow));
            let admin = |reached: Option<String>| reached.is_some_and(|p| is_below(&p, "/admin"));
            // One server reads what came as this proxy does; what others make of it, they never see.
            prop_assert!(denies || !admin(servers::windows(&raw)), "{raw} is meant for /admin");
            for server in servers::ALL {
                let admin = admin(server(path.path()));
                prop_assert!(denies || !admin, "{raw} forwarded as {} reaches /admin", path.path());
                let public = server(path.path()).is_none_or(|p| is_below(&p, "/public"));
                prop_assert!(!allows || public, "{raw} forwarded as {} leaves /public", path.path());
            }
        }
    }

    #[test]
    fn the_form_is_the_same_the_second_time(raw in nasty(), keep in any::<bool>()) {
        let slashes = if keep { Keep } else { Decode };
        if let Ok(once) = RequestPath::parse("GET", raw.as_bytes(), slashes) {
            let twice = RequestPath::parse("GET", once.path().as_bytes(), slashes);
            prop_assert_eq!(twice.as_ref().map(RequestPath::path), Ok(once.path()));
            prop_assert!(!twice.unwrap().is_rewritten());
        }
    }

    #[test]
    fn any_bytes_are_a_path_or_refused(bytes in vec(any::<u8>(), 0..60), connect in any::<bool>()) {
        let method = if connect { "CONNECT" } else { "GET" };
        for slashes in [Decode, Keep] {
            if let Ok(path) = RequestPath::parse(method, &bytes, slashes) {
                prop_assert!(path.path().is_ascii());
                prop_assert!(path.views().count() >= 1);
            }
        }
    }
}
