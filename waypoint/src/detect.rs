//! Which protocol a connection speaks, by its first bytes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    Tls,
    /// Nothing that is looked into.
    Opaque,
}

/// The beginning of every HTTP/2 connection (RFC 9113 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest method that is waited for.
const METHOD: usize = 32;

/// What `bytes`, the first of a connection, tell; `None` if more are needed.
pub(crate) fn detect(bytes: &[u8]) -> Option<Protocol> {
    match bytes {
        [] => return None,
        // A TLS record of a handshake, with the major version that all of them have.
        [0x16, 0x03, ..] => return Some(Protocol::Tls),
        [0x16] => return None,
        _ => {}
    }
    let preface = PREFACE.iter().zip(bytes).take_while(|(a, b)| a == b).count();
    if preface == PREFACE.len() {
        return Some(Protocol::Http2);
    }
    // "PRI" is no method that is in use.
    if preface == bytes.len() {
        return None;
    }
    let method = bytes.iter().take_while(|byte| is_token(**byte)).count();
    match bytes.get(method) {
        // However the bytes are cut, what they tell is the same.
        Some(b' ') if (1..=METHOD).contains(&method) => match bytes.get(method + 1) {
            None => None,
            Some(b'/' | b'*') => Some(Protocol::Http1),
            // Absolute and authority form begin with a letter or a digit.
            Some(byte) if byte.is_ascii_alphanumeric() || *byte == b'[' => has_version(bytes),
            Some(_) => Some(Protocol::Opaque),
        },
        Some(_) => Some(Protocol::Opaque),
        None if method > METHOD => Some(Protocol::Opaque),
        None => None,
    }
}

/// A line that begins like a request in a rarer form is one if it ends in the version.
fn has_version(bytes: &[u8]) -> Option<Protocol> {
    const LONGEST: usize = 2048;
    match bytes.iter().take(LONGEST + 1).position(|byte| *byte == b'\n') {
        Some(end) => {
            let line = bytes.get(..end).unwrap_or_default();
            let is_http = line.trim_ascii_end().ends_with(b" HTTP/1.1")
                || line.trim_ascii_end().ends_with(b" HTTP/1.0");
            Some(if is_http { Protocol::Http1 } else { Protocol::Opaque })
        }
        None if bytes.len() > LONGEST => Some(Protocol::Opaque),
        None => None,
    }
}

/// RFC 9110 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Reads until the protocol is known, the peer ends, or `limit` is over: a server may be the one to speak first.
/// Gives what was read with the answer.
///
/// # Errors
/// The stream fails.
pub(crate) async fn sniff(
    io: &mut (impl AsyncRead + Unpin),
    limit: Duration,
) -> std::io::Result<(Protocol, Bytes)> {
    let mut read = BytesMut::new();
    let sniffing = async {
        loop {
            if let Some(protocol) = detect(&read) {
                return std::io::Result::Ok(protocol);
            }
            if io.read_buf(&mut read).await? == 0 {
                return Ok(Protocol::Opaque);
            }
        }
    };
    let protocol = timeout(limit, sniffing).await.unwrap_or(Ok(Protocol::Opaque))?;
    Ok((protocol, read.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn protocols_by_their_first_bytes() {
        use Protocol::{Http1, Http2, Opaque, Tls};
        for (bytes, protocol) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(Http1)),
            (b"OPTIONS * HTTP/1.1\r\n", Some(Http1)),
            (b"BREW /pot HTCPCP/1.0\r\n", Some(Http1)),
            (b"GET http://a/ HTTP/1.1\r\n", Some(Http1)),
            (b"CONNECT a:1 HTTP/1.1\r\n", Some(Http1)),
            (b"GET", None),
            (b"GET ", None),
            (b"P", None),
            (b"POST /", Some(Http1)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Some(Http2)),
            (b"\x16\x03\x01\x02", Some(Tls)),
            (b"\x16", None),
            (b"\x16\x02", Some(Opaque)),
            // Redis, PostgreSQL, SMTP, SSH.
            (b"*1\r\n$4\r\nPING\r\n", Some(Opaque)),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Some(Opaque)),
            (b"EHLO mail.example\r\n", Some(Opaque)),
            (b"SSH-2.0-OpenSSH_9.6\r\n", Some(Opaque)),
            (b"SET key value\r\n", Some(Opaque)),
            (b"\r\n", Some(Opaque)),
        ] {
            assert_eq!(detect(bytes), protocol, "{:?}", bytes.escape_ascii().to_string());
        }
    }

    proptest! {
        #[test]
        fn what_was_decided_stays_so(bytes in "[A-Z]{0,40}[ a-z]{0,9}", more: Vec<u8>) {
            let bytes = bytes.into_bytes();
            if let Some(protocol) = detect(&bytes) {
                prop_assert_eq!(detect(&[bytes, more].concat()), Some(protocol));
            }
        }

        #[test]
        fn an_answer_comes_within_bounds(bytes in proptest::collection::vec(any::<u8>(), 4096)) {
            prop_assert!(detect(&bytes).is_some());
        }
    }
}
