//! What two readers understand in two ways.
//!
//! From published attacks: Linhart et al., "HTTP Request Smuggling", 2005; Kettle, "HTTP Desync Attacks", 2019, and
//! "HTTP/2: The Sequel is Always Worse", 2021; h2c smuggling, 2020.

/// What may become of what is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// No endpoint hears of it, and the connection is not used any more.
    Refused,
    /// These requests arrive, as `METHOD path body`, in a form that cannot be misread.
    Arrives(&'static [&'static str]),
}

use Fate::{Arrives, Refused};

/// Bytes on a connection of HTTP/1.1, and what becomes of them.
pub(super) const SMUGGLED: &[(&str, &str, Fate)] = &[
    (
        "CL.TE is chunked, and the last of its connection",
        "POST /cl.te HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
        Arrives(&["POST /cl.te "]),
    ),
    (
        "TE.CL is chunked, and the last of its connection",
        "POST /te.cl HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n\
         1f\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
        Arrives(&["POST /te.cl GET /evil HTTP/1.1\r\nHost: x\r\n\r\n"]),
    ),
    (
        "TE.TE, two lines",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
        Refused,
    ),
    (
        "TE with another coding at the end",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
        Refused,
    ),
    (
        "TE misspelt",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
        Refused,
    ),
    (
        "TE in quotes",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
        Refused,
    ),
    (
        "TE after a vertical tab",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
        Refused,
    ),
    (
        "TE with a space before the colon",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
        Refused,
    ),
    (
        "TE in a folded line",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
        Refused,
    ),
    (
        "TE behind a folded header",
        "POST / HTTP/1.1\r\nHost: x\r\nX: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE behind a carriage return",
        "POST / HTTP/1.1\r\nHost: x\r\nX: y\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
        Refused,
    ),
    (
        "TE in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
        Refused,
    ),
    (
        "two lengths that differ",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 38\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\nX: xxxx\r\n\r\n",
        Refused,
    ),
    (
        "two lengths in one line",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 38\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\nX: xxxx\r\n\r\n",
        Refused,
    ),
    (
        "a negative length",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
        Refused,
    ),
    (
        "a length with a sign",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\nbody",
        Refused,
    ),
    (
        "a length in hexadecimal",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x4\r\n\r\nbody",
        Refused,
    ),
    (
        "a length beyond all numbers",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551620\r\n\r\nbody",
        Refused,
    ),
    (
        "a chunk beyond all numbers",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000004\r\nbody\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk's size with a sign",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n+4\r\nbody\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk's size with a prefix",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x4\r\nbody\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk longer than it says",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbodyXX\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk's line ended by a line feed alone",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\nbody\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "chunk extensions are dropped",
        "POST /ext HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4;a=\"b\";c\r\nbody\r\n0;d\r\n\r\n",
        Arrives(&["POST /ext body"]),
    ),
    (
        "a line feed in a chunk extension",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4;\nbody\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a trailer that is framing stays out of the head",
        "POST /trailer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nContent-Length: 9\r\n\r\n",
        Arrives(&["POST /trailer body"]),
    ),
    ("a space before the colon", "GET / HTTP/1.1\r\nHost : x\r\n\r\n", Refused),
    ("a header without a name", "GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n", Refused),
    ("a header without a colon", "GET / HTTP/1.1\r\nHost: x\r\nevil\r\n\r\n", Refused),
    (
        "a name that is no token",
        "GET / HTTP/1.1\r\nHost: x\r\nContent\x00-Length: 4\r\n\r\n",
        Refused,
    ),
    ("a zero byte in a value", "GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", Refused),
    ("a carriage return in a value", "GET / HTTP/1.1\r\nHost: x\r\nX: a\rEvil: b\r\n\r\n", Refused),
    ("a space before the first header", "GET / HTTP/1.1\r\n Host: x\r\nHost: y\r\n\r\n", Refused),
    ("two hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", Refused),
    ("no host", "GET / HTTP/1.1\r\nX: y\r\n\r\n", Refused),
    ("a host with a path", "GET / HTTP/1.1\r\nHost: x/evil?\r\n\r\n", Refused),
    ("a host with a user", "GET / HTTP/1.1\r\nHost: x@y\r\n\r\n", Refused),
    (
        "an absolute target goes before the header",
        "GET http://inner/abs HTTP/1.1\r\nHost: outer\r\n\r\n",
        Arrives(&["GET /abs "]),
    ),
    ("a target with a space", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", Refused),
    ("a target without a slash", "GET evil HTTP/1.1\r\nHost: x\r\n\r\n", Refused),
    (
        "a fragment is no part of the target",
        "GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n",
        Arrives(&["GET /a "]),
    ),
    (
        "a fragment behind a host is no target",
        "GET http://x#f HTTP/1.1\r\nHost: x\r\n\r\n",
        Arrives(&["GET / "]),
    ),
    ("an unknown version", "GET / HTTP/1.2\r\nHost: x\r\n\r\n", Refused),
    ("a version with a tail", "GET / HTTP/1.1x\r\nHost: x\r\n\r\n", Refused),
    (
        "lines that end in line feeds alone are one request",
        "GET /lf HTTP/1.1\nHost: x\n\nGET /lf2 HTTP/1.1\r\nHost: x\r\n\r\n",
        Arrives(&["GET /lf ", "GET /lf2 "]),
    ),
    ("CONNECT", "CONNECT inner:80 HTTP/1.1\r\nHost: inner:80\r\n\r\n", Refused),
    (
        "a body of GET is part of it",
        "GET /body HTTP/1.1\r\nHost: x\r\nContent-Length: 31\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
        Arrives(&["GET /body GET /evil HTTP/1.1\r\nHost: x\r\n\r\n"]),
    ),
    (
        "what Connection names does not arrive",
        "GET /named HTTP/1.1\r\nHost: x\r\nConnection: X-Secret\r\nX-Secret: evil\r\n\r\n",
        Arrives(&["GET /named "]),
    ),
    (
        "Connection cannot take the length away",
        "POST /kept HTTP/1.1\r\nHost: x\r\nConnection: Content-Length\r\nContent-Length: 4\r\n\r\nbody",
        Arrives(&["POST /kept body"]),
    ),
    (
        "an upgrade to HTTP/2 is not passed on",
        "GET /h2c HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
        Arrives(&["GET /h2c "]),
    ),
];

/// A request of HTTP/2: its name here, what it lacks of the fields that every request has, what it has besides, and what
/// becomes of it.
pub(super) type Deviation =
    (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)], Fate);

pub(super) const FIELDS: &[Deviation] = &[
    ("a plain request", &[":path"], &[(":path", "/plain")], Arrives(&["GET /plain "])),
    ("connection", &[], &[("connection", "close")], Refused),
    (
        "transfer-encoding",
        &[":method"],
        &[(":method", "POST"), ("transfer-encoding", "chunked")],
        Refused,
    ),
    ("te beyond trailers", &[], &[("te", "chunked")], Refused),
    ("an upper-case name", &[], &[("X-Upper", "1")], Refused),
    ("line ends in a value", &[], &[("x", "a\r\nTransfer-Encoding: chunked")], Refused),
    ("a line feed in a value", &[], &[("x", "a\nevil: b")], Refused),
    ("a zero byte in a value", &[], &[("x", "a\0b")], Refused),
    ("line ends in a name", &[], &[("x: y\r\nevil", "1")], Refused),
    ("a colon in a name", &[], &[("evil: x", "1")], Refused),
    ("a space in a name", &[], &[("transfer-encoding ", "chunked")], Refused),
    ("an empty name", &[], &[("", "1")], Refused),
    ("a path without a slash", &[":path"], &[(":path", "evil")], Refused),
    ("an empty path", &[":path"], &[(":path", "")], Refused),
    (
        "a path with a line",
        &[":path"],
        &[(":path", "/ HTTP/1.1\r\nHost: y\r\n\r\nGET /evil")],
        Refused,
    ),
    ("a path with a space", &[":path"], &[(":path", "/a b")], Refused),
    ("a method with a line", &[":method"], &[(":method", "GET /evil HTTP/1.1\r\nX: ")], Refused),
    ("a method with a space", &[":method"], &[(":method", "GET /evil")], Refused),
    ("two authorities", &[], &[(":authority", "y")], Refused),
    ("two paths", &[], &[(":path", "/evil")], Refused),
    ("two methods", &[], &[(":method", "POST")], Refused),
    (
        "no method",
        &[],
        &[
            (":authority", "x"),
            (":scheme", "http"),
            (":method", "GET"),
            (":path", "/"),
            (":authority", "x"),
            (":method", "GET"),
            (":path", "/"),
            (":scheme", "http"),
            ("x", "1"),
            (":authority", "x"),
        ],
        Refused,
    ),
    ("an unknown pseudo-header", &[], &[(":evil", "1")], Refused),
    ("a response's pseudo-header", &[], &[(":status", "200")], Refused),
    ("an authority that differs from host", &[], &[("host", "y")], Refused),
    ("two hosts", &[":authority"], &[("host", "x"), ("host", "y")], Refused),
    ("an authority with a user", &[":authority"], &[(":authority", "u@x")], Refused),
    ("an authority with a path", &[":authority"], &[(":authority", "x/evil")], Refused),
    (
        "a length without a body",
        &[":method"],
        &[(":method", "POST"), ("content-length", "30")],
        Refused,
    ),
    (
        "two lengths",
        &[":method"],
        &[(":method", "POST"), ("content-length", "0"), ("content-length", "4")],
        Refused,
    ),
    ("no path", &[":path"], &[], Refused),
    ("no scheme", &[":scheme"], &[], Refused),
    (
        "a pseudo-header after a header",
        &[":authority"],
        &[("x", "1"), (":authority", "x")],
        Refused,
    ),
    (
        "CONNECT",
        &[":method", ":path", ":scheme", ":authority"],
        &[(":method", "CONNECT"), (":authority", "inner:80")],
        Refused,
    ),
];
