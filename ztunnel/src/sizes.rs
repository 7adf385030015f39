//! How large the tasks of connections are: thousands are open at once, and each keeps its task for its whole life.

use crate::{inbound, outbound, plaintext};

/// The size of what an async function returns, bytes.
fn size<A, F: Future>(_: impl Fn(A) -> F) -> usize {
    size_of::<F>()
}

/// Limits are a little above what was measured; what only opening a connection needs belongs in a box. With what the
/// runtime adds, tasks of 2,432 and of 3,456 bytes are the largest that the allocator gives 2,560 and 3,584.
#[test]
fn tasks_of_connections_stay_small() {
    for (task, size, limit) in [
        ("outbound", size(|(local, tcp, source)| outbound::handle(local, tcp, source)), 2_432),
        ("inbound", size(|(peer, connect)| inbound::Peer::handle(peer, connect)), 3_456),
        ("plaintext", size(|(local, tcp, source)| plaintext::handle(local, tcp, source)), 1_500),
        ("tunnel", size(|(local, tcp, peer)| inbound::serve(local, tcp, peer)), 6_400),
    ] {
        println!("{task}: {size} bytes");
        assert!(size <= limit, "the task of an {task} connection has {size} bytes");
    }
}
