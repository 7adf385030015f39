//! Heads of requests: what is taken, and in which form.

use super::*;

fn read(target: &str, headers: &[(&str, &str)]) -> Result<Head, String> {
    let method = if target == "*" { "OPTIONS" } else { "GET" };
    let mut request = http::Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let parts = request.body(()).unwrap().into_parts().0;
    Head::read(parts, "http").map_err(|answer| answer.reason.to_string())
}

#[test]
fn the_host_is_the_targets_or_the_headers() {
    for (target, headers, authority, host) in [
        ("/a", &[("host", "web.shop:8080")][..], "web.shop:8080", "web.shop"),
        ("http://other/a", &[("host", "web.shop")], "other", "other"),
        ("/a", &[("host", "[2001:db8::1]:80")], "[2001:db8::1]:80", "[2001:db8::1]"),
        ("/a", &[("host", "[2001:db8::1]")], "[2001:db8::1]", "[2001:db8::1]"),
    ] {
        let head = read(target, headers).unwrap();
        assert_eq!((head.authority(), head.host()), (authority, host));
    }
}

#[test]
fn what_has_two_meanings_is_refused() {
    for (target, headers) in [
        ("/a", &[][..]),
        ("/a", &[("host", "a"), ("host", "a")]),
        ("/a", &[("host", "a"), ("host", "b")]),
        ("/a", &[("host", "a/b")]),
        ("/a", &[("host", "user@a")]),
        ("/a", &[("host", "a b")]),
        ("/a", &[("host", "a"), ("content-length", "3"), ("transfer-encoding", "chunked")]),
        ("/a%00b", &[("host", "a")]),
        ("/a%", &[("host", "a")]),
        ("a", &[("host", "a")]),
        ("a:80", &[("host", "a")]),
    ] {
        assert!(read(target, headers).is_err(), "{target} {headers:?}");
    }
    for (host, taken) in [("B", true), ("c", false)] {
        let request = http::Request::get("http://b/").version(Version::HTTP_2).header("host", host);
        let parts = request.body(()).unwrap().into_parts().0;
        assert_eq!(Head::read(parts, "http").is_ok(), taken, "{host}");
    }
}

#[test]
fn the_path_has_one_form() {
    for (target, path) in [
        ("/a/../b", "/b"),
        ("/a//b", "/a/b"),
        ("/a/%2e%2e/b?x=%2F", "/b?x=%2F"),
        ("/%61", "/a"),
        ("http://h", "/"),
        ("http://h#f", "/"),
        ("/a/b?c=d", "/a/b?c=d"),
        ("*", "*"),
    ] {
        let head = read(target, &[("host", "h")]).unwrap();
        assert_eq!(head.path_and_query(), path, "{target}");
        assert_eq!(head.to_parts(false).unwrap().uri.to_string(), path, "{target} is sent");
    }
}

#[test]
fn what_is_about_one_connection_stays_here() {
    let headers = [
        ("host", "a"),
        ("connection", "keep-alive, x-secret, te"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("x-secret", "1"),
        ("te", "gzip, trailers"),
        ("upgrade", "websocket"),
        ("x-kept", "1"),
    ];
    let head = read("/", &headers).unwrap();
    let mut names: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["te", "x-kept"]);
    assert_eq!(head.headers["te"], "trailers");
    assert_eq!(head.upgrade, None, "Connection does not name it");
    for (upgrade, passed) in [
        ("websocket", true),
        ("SPDY/3.1", true),
        ("h2c", false),
        ("websocket, H2C", false),
        ("HTTP/2.0", false),
        ("TLS/1.2", false),
    ] {
        let headers = [("host", "a"), ("connection", "Upgrade"), ("upgrade", upgrade)];
        assert_eq!(read("/", &headers).unwrap().upgrade.is_some(), passed, "{upgrade}");
    }
    let twice =
        [("host", "a"), ("connection", "Upgrade"), ("upgrade", "websocket"), ("upgrade", "h2c")];
    assert_eq!(read("/", &twice).unwrap().upgrade, None);
}

#[test]
fn both_versions_of_http_are_written() {
    let head = read("/a?b", &[("host", "web.shop"), ("te", "trailers")]).unwrap();
    let one = head.to_parts(false).unwrap();
    assert_eq!(
        (one.uri.to_string(), &one.headers["host"]),
        ("/a?b".to_owned(), &"web.shop".parse().unwrap())
    );
    assert_eq!(one.headers["connection"], "TE");
    let two = head.to_parts(true).unwrap();
    assert_eq!(two.uri.to_string(), "http://web.shop/a?b");
    assert!(!two.headers.contains_key("host") && !two.headers.contains_key("connection"));
}

#[test]
fn the_edge_says_who_asked() {
    let mut head =
        read("/", &[("host", "a"), ("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https")])
            .unwrap();
    head.forwarded_for(&HeaderValue::from_static("10.0.0.1"));
    assert_eq!(head.headers["x-forwarded-for"], "1.1.1.1, 10.0.0.1");
    assert_eq!(head.headers["x-forwarded-proto"], "http");
    let id = head.headers["x-request-id"].clone();
    head.forwarded_for(&HeaderValue::from_static("10.0.0.2"));
    assert_eq!(head.headers["x-forwarded-for"], "1.1.1.1, 10.0.0.1, 10.0.0.2");
    assert_eq!(head.headers["x-request-id"], id);
    assert_eq!(&request_id(0), b"00000000-0000-4000-8000-000000000000");
    assert_eq!(&request_id(u128::MAX), b"ffffffff-ffff-4fff-bfff-ffffffffffff");
    let counting = request_id(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    assert_eq!(&counting, b"01234567-89ab-4def-8123-456789abcdef");
}
