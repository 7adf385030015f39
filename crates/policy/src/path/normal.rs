//! A path's characters, then its segments.

use std::borrow::Cow;

use super::{EncodedSlashes, RefusedPath};

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// The path in its one form. It has no control character, and begins with a slash or a backslash unless it is of an
/// absolute target.
pub(super) fn normalise(raw: &str, slashes: EncodedSlashes) -> Result<Cow<'_, str>, RefusedPath> {
    if is_normal(raw) {
        return Ok(Cow::Borrowed(raw));
    }
    let characters = characters(raw, slashes)?;
    if characters.split("%25").skip(1).any(|after| hides(after.as_bytes(), slashes)) {
        return Err(RefusedPath::EncodedTwice);
    }
    // All of it, before a step up takes out of sight what no two servers read alike.
    if decode(&characters)?.as_deref().unwrap_or(&characters).split('/').any(hides_dots) {
        return Err(RefusedPath::HiddenDots);
    }
    let path = resolve(characters.split('/').skip(1));
    Ok(if path == raw { Cow::Borrowed(raw) } else { Cow::Owned(path) })
}

/// Whether nothing has to be looked at twice, as in nearly every request.
fn is_normal(raw: &str) -> bool {
    let mut before = 0;
    raw.bytes().all(|b| {
        let begins = before == b'/' && matches!(b, b'/' | b'.');
        before = b;
        !begins && (b == b'/' || is_path_character(b))
    })
}

fn characters(raw: &str, slashes: EncodedSlashes) -> Result<String, RefusedPath> {
    let mut out = String::with_capacity(raw.len() + 16);
    let mut rest = raw.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'%' => {
                let (byte, after) = encoded(rest).ok_or(RefusedPath::Encoding)?;
                rest = after;
                match byte {
                    b'/' | b'\\' if slashes == EncodedSlashes::Decode => out.push('/'),
                    _ if is_unreserved(byte) => out.push(char::from(byte)),
                    _ if byte.is_ascii_control() => return Err(RefusedPath::Character),
                    _ => push_encoded(&mut out, byte),
                }
            }
            b'/' | b'\\' => out.push('/'),
            &byte if is_path_character(byte) => out.push(char::from(byte)),
            &byte => push_encoded(&mut out, byte),
        }
    }
    Ok(out)
}

/// Whether, with an encoded `%` in front of it, `after` would become what nobody encodes twice, however often it is
/// decoded. Its characters have been decoded once.
fn hides(mut after: &[u8], slashes: EncodedSlashes) -> bool {
    while let Some(rest) = after.strip_prefix(b"25") {
        after = rest;
    }
    let Some((byte, _)) = encoded(after) else { return false };
    match byte {
        b'/' | b'\\' => slashes == EncodedSlashes::Decode,
        b';' | b'?' | b'#' => true,
        _ => is_unreserved(byte) || byte.is_ascii_control() || !byte.is_ascii(),
    }
}

/// Whether some servers take a decoded segment, or a part of it, for a step, and others for a name.
fn hides_dots(segment: &str) -> bool {
    let mut pieces = segment.split("%2F").flat_map(|piece| piece.split("%5C"));
    !is_dots(segment) && pieces.any(|piece| is_dots(name(piece)))
}

/// The segments, which stand after a slash each, without those that say where to go.
fn resolve<'s>(segments: impl Iterator<Item = &'s str>) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut open = true;
    for segment in segments {
        open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            name => kept.push(name),
        }
    }
    let mut path = String::with_capacity(kept.iter().map(|s| s.len() + 1).sum::<usize>() + 1);
    for segment in kept {
        path.push('/');
        path.push_str(segment);
    }
    if open {
        path.push('/');
    }
    path
}

/// A normal path with every character decoded but those that would be mistaken for another: `%25`, `%2F`, `%5C`.
/// `None` where it is the same.
pub(super) fn decode(path: &str) -> Result<Option<String>, RefusedPath> {
    if !path.contains('%') {
        return Ok(None);
    }
    String::from_utf8(decode_bytes(path)).map(Some).map_err(|_| RefusedPath::NotUtf8)
}

pub(super) fn decode_bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let byte = if *first == b'%' { encoded(after) } else { None };
        match byte {
            Some((byte @ (b'%' | b'/' | b'\\'), after)) => {
                out.extend([b'%', hex(byte >> 4), hex(byte)]);
                rest = after;
            }
            Some((byte, after)) => {
                out.push(byte);
                rest = after;
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// A decoded path without the parameters of its segments; `None` where it has none.
pub(super) fn without_parameters(decoded: &str) -> Option<String> {
    decoded.contains(';').then(|| resolve(decoded.split('/').skip(1).map(name)))
}

fn name(segment: &str) -> &str {
    segment.split_once(';').map_or(segment, |(name, _)| name)
}

fn is_dots(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

/// The byte that two hexadecimal digits stand for, and what follows them.
fn encoded(after: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, rest @ ..] = after else { return None };
    let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(((digit(high)? << 4) | digit(low)?, rest))
}

fn push_encoded(out: &mut String, byte: u8) {
    out.push('%');
    out.push(char::from(hex(byte >> 4)));
    out.push(char::from(hex(byte)));
}

/// The digit of the lower four bits.
fn hex(bits: u8) -> u8 {
    HEX[usize::from(bits & 0xf)]
}

/// RFC 3986, 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986, 3.3, `pchar` without what is encoded.
fn is_path_character(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',')
        || matches!(byte, b';' | b'=' | b':' | b'@')
}
