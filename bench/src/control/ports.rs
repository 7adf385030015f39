//! Ports for programs that want to be told theirs.

use std::net::{Ipv4Addr, TcpListener};

/// Ports that nobody listens on. Another program might take one before ours does, which then says so.
pub(crate) fn free_ports<const N: usize>() -> std::io::Result<[u16; N]> {
    let listen = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners: Vec<TcpListener> = (0..N).map(listen).collect::<Result<_, _>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
