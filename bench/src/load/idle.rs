//! Connections that are open and carry nothing, after one request that made them real end to end.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use ambit_sandbox::Room;
use anyhow::Context as _;

use super::HTTP_PORT;

/// How many are opened before signals are looked at.
const BATCH: usize = 50;
/// How long each step of opening one may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Open connections; dropping the value closes them.
#[derive(Debug, Default)]
pub(crate) struct IdleConnections {
    _open: Vec<TcpStream>,
}

// === impl IdleConnections ===

impl IdleConnections {
    /// Opens `count` connections from a client's namespace to the HTTP server at an address.
    ///
    /// # Errors
    /// One cannot be opened, or its request is not answered.
    pub(crate) async fn open(client: &Room, server: IpAddr, count: usize) -> anyhow::Result<Self> {
        let address = SocketAddr::new(server, HTTP_PORT);
        let mut open = Vec::with_capacity(count);
        while open.len() < count {
            let batch = BATCH.min(count - open.len());
            let more = client
                .run(move || (0..batch).map(|_| connect(address)).collect::<io::Result<Vec<_>>>());
            let number = open.len() + 1;
            open.extend(more.flatten().with_context(|| {
                format!("connection {number} and following to {address} cannot be opened and used")
            })?);
            tokio::task::yield_now().await;
        }
        Ok(Self { _open: open })
    }
}

/// A connection that has carried a request and its answer.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: idle\r\n\r\n")?;
    let mut answer = [0; 1024];
    match stream.read(&mut answer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(stream),
    }
}
