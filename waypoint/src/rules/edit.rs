//! Filters: what is changed about a request or its response, and what is answered instead of passing it on.

use ambit_proto::ambit as proto;
use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proto::filter::Kind;
use proto::path_edit;
use regex::bytes::Regex;

use super::matching::regex;
use super::{Invalid, TextMatch};

/// One step of an action.
#[derive(Debug)]
pub(crate) enum Filter {
    RequestHeaders(HeaderEdit),
    ResponseHeaders(HeaderEdit),
    Redirect(Redirect),
    Rewrite(Rewrite),
    DirectResponse { status: StatusCode, body: Bytes },
    Cors(Cors),
}

/// Headers to set, add and remove.
#[derive(Debug)]
pub(crate) struct HeaderEdit {
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

/// Another place to ask.
#[derive(Debug)]
pub(crate) struct Redirect {
    pub scheme: Option<Scheme>,
    pub hostname: Option<Box<str>>,
    pub port: Option<u16>,
    pub path: Option<PathEdit>,
    pub status: StatusCode,
}

/// Another name to ask by.
#[derive(Debug)]
pub(crate) struct Rewrite {
    pub hostname: Option<HeaderValue>,
    pub path: Option<PathEdit>,
}

/// Another path.
#[derive(Debug)]
pub(crate) enum PathEdit {
    Full(Box<str>),
    Prefix(Box<str>),
    Regex(Regex, Vec<Piece>),
}

/// A piece of a substitution.
#[derive(Debug)]
pub(crate) enum Piece {
    Text(Box<str>),
    Group(usize),
}

/// Who may call from a browser's page.
#[derive(Debug)]
pub(crate) struct Cors {
    pub origins: Vec<TextMatch>,
    pub methods: Vec<HeaderValue>,
    pub headers: Vec<HeaderValue>,
    pub expose: Vec<HeaderValue>,
    pub max_age: Option<HeaderValue>,
    pub credentials: bool,
    pub forward_unmatched_preflights: bool,
}

// === impl Filter ===

impl Filter {
    pub(crate) fn compile(message: proto::Filter) -> Result<Self, Invalid> {
        Ok(match message.kind.ok_or(Invalid::Missing("the kind of a filter"))? {
            Kind::RequestHeaders(edit) => Self::RequestHeaders(HeaderEdit::compile(edit)?),
            Kind::ResponseHeaders(edit) => Self::ResponseHeaders(HeaderEdit::compile(edit)?),
            Kind::Redirect(redirect) => Self::Redirect(Redirect::compile(redirect)?),
            Kind::Rewrite(rewrite) => Self::Rewrite(Rewrite::compile(rewrite)?),
            Kind::DirectResponse(direct) => {
                Self::DirectResponse { status: status(direct.status)?, body: direct.body.into() }
            }
            Kind::Cors(cors) => Self::Cors(Cors::compile(cors)?),
        })
    }
}

/// A final status.
pub(super) fn status(code: u32) -> Result<StatusCode, Invalid> {
    let code16 = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
    code16.filter(|code| (200..=599).contains(&code.as_u16())).ok_or(Invalid::Status(code))
}

fn name(text: &str) -> Result<HeaderName, Invalid> {
    HeaderName::try_from(text).map_err(|_| Invalid::HeaderName(text.to_owned()))
}

fn value(name: &str, text: &str) -> Result<HeaderValue, Invalid> {
    HeaderValue::try_from(text).map_err(|_| Invalid::HeaderValue(name.to_owned()))
}

// === impl HeaderEdit ===

impl HeaderEdit {
    fn compile(message: proto::HeaderEdit) -> Result<Self, Invalid> {
        let pairs = |headers: Vec<proto::Header>| {
            let pair = |h: proto::Header| Ok((name(&h.name)?, value(&h.name, &h.value)?));
            headers.into_iter().map(pair).collect::<Result<_, Invalid>>()
        };
        Ok(Self {
            set: pairs(message.set)?,
            add: pairs(message.add)?,
            remove: message.remove.iter().map(|n| name(n)).collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }

    /// What is set for the host, which is not among the headers of an HTTP/2 request.
    pub(crate) fn host(&self) -> Option<&HeaderValue> {
        let host = |(name, _): &&(HeaderName, HeaderValue)| name == http::header::HOST;
        self.set.iter().rev().find(host).map(|(_, value)| value)
    }
}

// === impl Redirect, Rewrite ===

impl Redirect {
    fn compile(message: proto::Redirect) -> Result<Self, Invalid> {
        let scheme = match message.scheme.as_str() {
            "" => None,
            text => {
                Some(Scheme::try_from(text).map_err(|_| Invalid::Missing("a scheme that exists"))?)
            }
        };
        let port = match message.port {
            0 => None,
            port => Some(u16::try_from(port).map_err(|_| Invalid::Port(port))?),
        };
        Ok(Self {
            scheme,
            hostname: (!message.hostname.is_empty()).then(|| message.hostname.into()),
            port,
            path: PathEdit::compile(message.path)?,
            status: status(message.status)?,
        })
    }
}

impl Rewrite {
    fn compile(message: proto::Rewrite) -> Result<Self, Invalid> {
        let hostname = match message.hostname.as_str() {
            "" => None,
            text => Some(value("host", text)?),
        };
        Ok(Self { hostname, path: PathEdit::compile(message.path)? })
    }
}

// === impl PathEdit ===

impl PathEdit {
    fn compile(message: Option<proto::PathEdit>) -> Result<Option<Self>, Invalid> {
        let Some(kind) = message.and_then(|edit| edit.kind) else { return Ok(None) };
        Ok(Some(match kind {
            path_edit::Kind::Full(text) => Self::Full(text.into()),
            path_edit::Kind::Prefix(text) => Self::Prefix(text.into()),
            path_edit::Kind::Regex(edit) => {
                let pattern = regex(&edit.pattern, &edit.pattern, false)?;
                Self::Regex(pattern, pieces(&edit.substitution))
            }
        }))
    }

    /// The new path; `matched` bytes of the old one were taken by the rule's prefix.
    pub(crate) fn apply(&self, path: &str, matched: usize) -> String {
        match self {
            Self::Full(text) => text.to_string(),
            Self::Prefix(text) => {
                let rest = path.get(matched..).unwrap_or_default();
                let joined = match (text.strip_suffix('/'), rest.starts_with('/')) {
                    (Some(head), true) => format!("{head}{rest}"),
                    (None, false) if !rest.is_empty() && !text.is_empty() => {
                        format!("{text}/{rest}")
                    }
                    _ => format!("{text}{rest}"),
                };
                if joined.starts_with('/') { joined } else { format!("/{joined}") }
            }
            Self::Regex(pattern, pieces) => {
                let replaced = pattern.replace_all(path.as_bytes(), Substitution(pieces));
                String::from_utf8_lossy(&replaced).into_owned()
            }
        }
    }
}

struct Substitution<'a>(&'a [Piece]);

impl regex::bytes::Replacer for Substitution<'_> {
    fn replace_append(&mut self, captures: &regex::bytes::Captures<'_>, to: &mut Vec<u8>) {
        for piece in self.0 {
            match piece {
                Piece::Text(text) => to.extend_from_slice(text.as_bytes()),
                Piece::Group(number) => {
                    to.extend(captures.get(*number).map_or(&b""[..], |group| group.as_bytes()));
                }
            }
        }
    }
}

/// RE2's rewrite syntax: `\0` to `\9` are groups, `\\` a backslash.
fn pieces(text: &str) -> Vec<Piece> {
    let (mut pieces, mut plain) = (Vec::new(), String::new());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some(digit)) if digit.is_ascii_digit() => {
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
                }
                pieces.push(Piece::Group(digit.to_digit(10).unwrap_or(0) as usize));
            }
            ('\\', Some('\\')) => plain.push('\\'),
            (c, Some(next)) => plain.extend([c, next]),
            (c, None) => plain.push(c),
        }
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain.into()));
    }
    pieces
}

// === impl Cors ===

impl Cors {
    fn compile(message: proto::Cors) -> Result<Self, Invalid> {
        let values = |texts: Vec<String>| {
            texts.iter().map(|text| value("of CORS", text)).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            origins: message
                .origins
                .into_iter()
                .map(TextMatch::compile)
                .collect::<Result<_, _>>()?,
            methods: values(message.methods)?,
            headers: values(message.headers)?,
            expose: values(message.expose)?,
            max_age: message.max_age.map(HeaderValue::from),
            credentials: message.credentials,
            forward_unmatched_preflights: message.forward_unmatched_preflights,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_rewritten() {
        let prefix = |text: &str| PathEdit::Prefix(text.into());
        for (edit, path, matched, expected) in [
            (prefix("/xyz"), "/foo/bar", 4, "/xyz/bar"),
            (prefix("/xyz/"), "/foo/bar", 4, "/xyz/bar"),
            (prefix("/xyz"), "/foo", 4, "/xyz"),
            (prefix("/xyz/"), "/foo/", 4, "/xyz/"),
            (prefix("/xyz"), "/foo/", 4, "/xyz/"),
            (prefix("/"), "/foo", 4, "/"),
            (prefix("/"), "/foo/bar", 4, "/bar"),
            (prefix(""), "/foo/bar", 4, "/bar"),
            (prefix(""), "/foo", 4, "/"),
            (prefix("/a"), "/x", 0, "/a/x"),
            (PathEdit::Full("/all".into()), "/foo/bar", 4, "/all"),
        ] {
            assert_eq!(edit.apply(path, matched), expected, "{edit:?} of {path}");
        }
    }

    #[test]
    fn paths_are_rewritten_by_regular_expressions() {
        let edit = |pattern: &str, substitution: &str| {
            let regex =
                proto::RegexEdit { pattern: pattern.into(), substitution: substitution.into() };
            PathEdit::compile(Some(proto::PathEdit { kind: Some(path_edit::Kind::Regex(regex)) }))
                .unwrap()
                .unwrap()
        };
        let service = edit("^/service/([^/]+)(/.*)$", r"\2/instance/\1");
        assert_eq!(service.apply("/service/foo/v1/api", 0), "/v1/api/instance/foo");
        assert_eq!(edit("one", "two").apply("/xxx/one/yyy/one/zzz", 0), "/xxx/two/yyy/two/zzz");
        assert_eq!(edit("a", r"\\$1\9").apply("/a", 0), r"/\$1");
    }

    #[test]
    fn a_header_is_set_before_others_are_added_to_it() {
        let header =
            |name: &str, value: &str| proto::Header { name: name.into(), value: value.into() };
        let edit = HeaderEdit::compile(proto::HeaderEdit {
            set: vec![header("x-a", "1")],
            add: vec![header("X-A", "2"), header("x-b", "3")],
            remove: vec!["x-c".into()],
        })
        .unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-a", "0"), ("x-b", "0"), ("x-c", "0")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        edit.apply(&mut headers);
        let all = |name: &str| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
        assert_eq!(
            (all("x-a"), all("x-b"), all("x-c")),
            (
                vec!["1".parse().unwrap(), "2".parse().unwrap()],
                vec!["0".parse().unwrap(), "3".parse().unwrap()],
                vec![]
            )
        );
        let bad = proto::HeaderEdit { set: vec![header("x y", "1")], ..Default::default() };
        assert!(HeaderEdit::compile(bad).unwrap_err().to_string().contains("x y"));
    }
}
