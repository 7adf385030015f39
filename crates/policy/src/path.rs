//! The one form of a request's path that policies and routes see, and that is forwarded.
//!
//! Servers read one path in several ways, and a policy is dodged where its author thought of another way than the server.
//! So what is read in one way only is brought to one form, which is also what upstream gets; and what is read in several
//! ways, and written by nobody without intent, is refused.
//!
//! | in the path | becomes |
//! |---|---|
//! | encoded unreserved character (`%61`) | itself |
//! | encoded character of any other kind, in either case | stays encoded, in upper case; policies see it decoded |
//! | character that is no part of a path (`"`, `|`, `é`) | encoded; policies see it as it is |
//! | `\`; `%2F` and `%5C`, unless [`EncodedSlashes::Keep`] | `/` |
//! | `//` | `/` |
//! | `.` and `..` as segments | resolved; above the root there is nothing |
//! | `;name=value` in a segment | stays; policies are asked twice, with it and without |
//! | `..;name=value` | refused |
//! | control characters, encoded or not; space; `#` | refused |
//! | `%` without two hexadecimal digits; bytes that are not UTF-8, overlong forms among them | refused |
//! | an encoded `%` before what would decode to something that shapes a path: slashes, `;`, `?`, `#`, unreserved and control characters, bytes outside ASCII | refused |
//!
//! Letters keep their case, and dots at the end of a name stay: servers that fold either need policies that say so.

mod normal;
mod pattern;

use std::borrow::Cow;

pub use pattern::unreachable_pattern;

pub(crate) use pattern::decoded as decoded_pattern;

/// What `%2F` and `%5C` are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncodedSlashes {
    /// Slashes, as most servers read them: Istio's `DECODE_AND_MERGE_SLASHES`.
    #[default]
    Decode,
    /// Characters of a name, for servers that take them so: Istio's `MERGE_SLASHES`. A server that does not is reached
    /// past its policies.
    Keep,
}

/// The target of a request: the path in its one form, and what stood around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath<'a> {
    authority: Option<&'a str>,
    path: Cow<'a, str>,
    query: Option<&'a str>,
    /// With every character decoded, where that differs from `path`.
    decoded: Option<String>,
    /// `decoded` as servers see it that cut parameters off segments, where there are any.
    bare: Option<String>,
}

/// Why a request cannot be judged: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RefusedPath {
    /// A target that does not fit its method.
    #[error("the request's target has none of the forms that its method allows")]
    Form,
    /// A control character, a space or a fragment.
    #[error("the path holds a control character, a space or a fragment")]
    Character,
    /// `%` without two hexadecimal digits.
    #[error("the path holds a % without two hexadecimal digits after it")]
    Encoding,
    /// Something else than UTF-8.
    #[error("the path is not UTF-8")]
    NotUtf8,
    /// An encoded `%` that hides what nobody encodes twice.
    #[error("the path holds a character that is encoded twice")]
    EncodedTwice,
    /// Dots that some servers take for a step up, and others do not.
    #[error("the path holds a dot segment with parameters or encoded slashes")]
    HiddenDots,
}

// === impl RequestPath ===

impl<'a> RequestPath<'a> {
    /// That of something that has none.
    pub(crate) fn none() -> Self {
        Self { authority: None, path: Cow::Borrowed(""), query: None, decoded: None, bare: None }
    }

    /// Reads a request's target: `/path?query`, `http://authority/path?query`, `*` of OPTIONS or `host:port` of CONNECT.
    ///
    /// # Errors
    /// The target is read in several ways, or in none; it must not be forwarded.
    pub fn parse(
        method: &str,
        target: &'a [u8],
        slashes: EncodedSlashes,
    ) -> Result<Self, RefusedPath> {
        let target = std::str::from_utf8(target).map_err(|_| RefusedPath::NotUtf8)?;
        if target.bytes().any(|b| b <= b' ' || b == 0x7f || b == b'#') {
            return Err(RefusedPath::Character);
        }
        let (authority, rest) = split_authority(method, target)?;
        let (raw, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let path = match raw {
            "" if authority.is_some() && method != "CONNECT" => Cow::Borrowed("/"),
            "" | "*" => Cow::Borrowed(raw),
            _ => normal::normalise(raw, slashes)?,
        };
        let decoded = normal::decode(&path)?;
        let bare = normal::without_parameters(decoded.as_deref().unwrap_or(&path));
        Ok(Self { authority, path, query, decoded, bare })
    }

    /// The path, to route by and to forward. Empty for `host:port` of CONNECT.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What followed the first question mark, as it came.
    pub fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// The authority of an absolute target, which takes precedence over the Host header, and the target of CONNECT.
    pub fn authority(&self) -> Option<&'a str> {
        self.authority
    }

    /// Whether the path differs from what came, so that the target has to be written anew.
    pub fn is_rewritten(&self) -> bool {
        matches!(self.path, Cow::Owned(_))
    }

    /// What policies compare: the path decoded, and where it has parameters, without those as well.
    pub(crate) fn views(&self) -> impl Iterator<Item = &str> {
        let decoded = self.decoded.as_deref().unwrap_or(&self.path);
        std::iter::once(decoded).chain(self.bare.as_deref())
    }
}

fn split_authority<'a>(
    method: &str,
    target: &'a str,
) -> Result<(Option<&'a str>, &'a str), RefusedPath> {
    if target.starts_with(['/', '\\']) || (target == "*" && method == "OPTIONS") {
        return Ok((None, target));
    }
    let (authority, rest) = match target.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => {
            rest.split_at(rest.find(['/', '\\', '?']).unwrap_or(rest.len()))
        }
        _ if method == "CONNECT" => (target, ""),
        _ => return Err(RefusedPath::Form),
    };
    if authority.is_empty() || authority.contains(['@', '\\', '/', '?']) {
        return Err(RefusedPath::Form);
    }
    Ok((Some(authority), rest))
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

// === impl RefusedPath ===

impl RefusedPath {
    /// The stable label for metrics and log fields.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Form => "target_form",
            Self::Character => "path_character",
            Self::Encoding => "path_encoding",
            Self::NotUtf8 => "path_not_utf8",
            Self::EncodedTwice => "path_encoded_twice",
            Self::HiddenDots => "path_hidden_dots",
        }
    }
}

#[cfg(test)]
mod tests;
