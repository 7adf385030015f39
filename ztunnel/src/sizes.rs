//! How large open connections are, of which there are thousands.

use crate::connections::Connection;
use crate::{inbound, outbound, plaintext, run};

/// The size of what a function returns, bytes.
fn size<A, F>(_: impl Fn(A) -> F) -> usize {
    size_of::<F>()
}

/// Limits are a little above what was measured. The allocator has sizes in steps of a quarter of a power of two.
#[test]
fn open_connections_stay_small() {
    for (what, size, limit) in [
        ("task", size(|()| run::serve(std::future::pending::<Option<run::Carry>>())), 64),
        ("plaintext", size(|(a, b, c, d)| plaintext::carry(a, b, c, d)), 768),
        ("outbound without tunnel", size(|(a, b, c, d)| outbound::carry_tcp(a, b, c, d)), 768),
        ("outbound", size(|(a, b, c, d)| outbound::carry_tunnel(a, b, c, d)), 1_280),
        ("inbound", size(|(a, b, c, d)| inbound::carry(a, b, c, d)), 1_280),
        ("known of it", size_of::<Connection>(), 432),
        ("tunnel", size(|(local, tcp, peer)| inbound::serve(local, tcp, peer)), 6_400),
    ] {
        println!("{what}: {size} bytes");
        assert!(size <= limit, "{what}: {size} bytes of an open connection");
    }
}
