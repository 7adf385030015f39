//! The version of HTTP that a destination is spoken to in.

use ambit_proto::ambit::Protocol;
use http::Version;

use super::head::Head;
use crate::connection::Connection;
use crate::destination::Destination;
use crate::target::Target;

/// Whether the destination is spoken to in HTTP/2.
pub(super) fn wants_http2(connection: &Connection, destination: &Destination, head: &Head) -> bool {
    let at_edge = matches!(connection.target, Target::Front { .. });
    let asked = Asked { version: head.version, grpc: head.is_grpc(), at_edge };
    let declared = is_http2(destination.protocol, asked);
    head.upgrade.is_none() && destination.settings().pool.http2.unwrap_or(declared)
}

/// How a request came in.
#[derive(Clone, Copy)]
struct Asked {
    version: Version,
    grpc: bool,
    /// Through a listener of a gateway: who asks there knows nothing of what the destination speaks.
    at_edge: bool,
}

/// As the port says. Where it says nothing, as the client speaks, which at the edge counts for gRPC alone.
fn is_http2(port: Protocol, asked: Asked) -> bool {
    match port {
        Protocol::Http2 | Protocol::Grpc => true,
        Protocol::Http1 => false,
        _ => asked.version == Version::HTTP_2 && (asked.grpc || !asked.at_edge),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_says_nothing_is_spoken_to_as_its_clients_know_it() {
        let (old, new) = (Version::HTTP_11, Version::HTTP_2);
        for (port, version, grpc, at_edge, expected) in [
            (Protocol::Http1, new, false, false, false),
            (Protocol::Http1, new, true, true, false),
            (Protocol::Http2, old, false, true, true),
            (Protocol::Grpc, old, false, false, true),
            (Protocol::Detect, old, false, false, false),
            (Protocol::Detect, new, false, false, true),
            (Protocol::Detect, new, false, true, false),
            (Protocol::Detect, new, true, true, true),
        ] {
            let asked = Asked { version, grpc, at_edge };
            assert_eq!(is_http2(port, asked), expected, "{port:?} {version:?} {grpc} {at_edge}");
        }
    }
}
