//! Answers that send the client elsewhere.

use ambit_telemetry::RequestFlag;
use http::{HeaderValue, StatusCode, header};

use super::answer::Answer;
use super::head::{Head, host_of};
use crate::rules::Redirect;

/// The answer that `to` asks for; `matched` bytes of the path were taken by the rule's prefix.
pub(super) fn answer(to: &Redirect, head: &Head, matched: usize) -> Answer {
    let location = location(to, head, matched);
    match HeaderValue::try_from(location) {
        Ok(location) => {
            Answer::given(to.status, bytes::Bytes::new()).with_header(header::LOCATION, location)
        }
        Err(_) => Answer::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            RequestFlag::Invalid,
            "the place to be redirected to is no URI",
        ),
    }
}

fn location(to: &Redirect, head: &Head, matched: usize) -> String {
    let scheme = to.scheme.as_ref().map_or(head.scheme, |scheme| scheme.as_str());
    let host = to.hostname.as_deref().unwrap_or_else(|| head.host());
    let own = || {
        let host = host_of(head.authority());
        head.authority().get(host.len() + 1..).and_then(|port| port.parse().ok())
    };
    // Another scheme comes with its own port, unless one is given (HTTPRequestRedirectFilter.port).
    let port = to.port.or_else(|| if to.scheme.is_some() { None } else { own() });
    let port = match (port, scheme) {
        (None, _) | (Some(80), "http") | (Some(443), "https") => String::new(),
        (Some(port), _) => format!(":{port}"),
    };
    let path = match &to.path {
        Some(edit) => edit.apply(head.path(), matched),
        None => head.path().to_owned(),
    };
    let query = match head.query() {
        "" => String::new(),
        _ if path.contains('?') => String::new(),
        query => format!("?{query}"),
    };
    format!("{scheme}://{host}{port}{path}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::PathEdit;

    fn head(authority: &str, path: &str) -> Head {
        let request =
            http::Request::builder().uri(path).header("host", authority).body(()).unwrap();
        Head::read(request.into_parts().0, "http").unwrap()
    }

    #[test]
    fn places_to_be_redirected_to() {
        let plain = || Redirect {
            scheme: None,
            hostname: None,
            port: None,
            path: None,
            status: StatusCode::FOUND,
        };
        let https = || Some(http::uri::Scheme::HTTPS);
        for (to, authority, expected) in [
            (plain(), "a.example", "http://a.example/x/y?q=1"),
            (plain(), "a.example:8080", "http://a.example:8080/x/y?q=1"),
            (plain(), "[2001:db8::1]:8080", "http://[2001:db8::1]:8080/x/y?q=1"),
            (
                Redirect { scheme: https(), ..plain() },
                "a.example:8080",
                "https://a.example/x/y?q=1",
            ),
            (Redirect { scheme: https(), port: Some(443), ..plain() }, "a", "https://a/x/y?q=1"),
            (
                Redirect { scheme: https(), port: Some(8443), ..plain() },
                "a",
                "https://a:8443/x/y?q=1",
            ),
            (Redirect { port: Some(80), ..plain() }, "a:8080", "http://a/x/y?q=1"),
            (Redirect { hostname: Some("b".into()), ..plain() }, "a:8080", "http://b:8080/x/y?q=1"),
            (
                Redirect { path: Some(PathEdit::Prefix("/z".into())), ..plain() },
                "a",
                "http://a/z/y?q=1",
            ),
            (
                Redirect { path: Some(PathEdit::Full("/f?own".into())), ..plain() },
                "a",
                "http://a/f?own",
            ),
        ] {
            assert_eq!(location(&to, &head(authority, "/x/y?q=1"), 2), expected);
        }
    }
}
