//! Connections that are open and carry nothing, or nothing more.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use ambit_sandbox::Room;
use anyhow::Context as _;
use nix::sys::socket::{setsockopt, sockopt};

use super::HTTP_PORT;

/// How many are opened before signals are looked at.
const BATCH: usize = 50;
/// How long each step of opening one may take.
const LIMIT: Duration = Duration::from_secs(5);
/// The receive buffer of a connection that is not read, bytes: what it cannot hold waits in the proxies.
const SMALL_BUFFER: usize = 4096;

/// What a connection carries before it is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// A request and its answer, which make it real end to end.
    Small,
    /// A request whose answer does not end, and is not read.
    Endless,
}

/// Open connections; dropping the value closes them.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    pub(crate) open: Vec<TcpStream>,
}

// === impl Connections ===

impl Connections {
    /// Opens `count` connections from a client's namespace to the HTTP server at an address.
    ///
    /// # Errors
    /// One cannot be opened, or its request is not answered.
    pub(crate) async fn open(
        client: &Room,
        server: IpAddr,
        count: usize,
        request: Request,
    ) -> anyhow::Result<Self> {
        let address = SocketAddr::new(server, HTTP_PORT);
        let mut open = Vec::with_capacity(count);
        while open.len() < count {
            let batch = BATCH.min(count - open.len());
            let connect = move || (0..batch).map(|_| connect(address, request)).collect();
            let more: io::Result<io::Result<Vec<_>>> = client.run(connect);
            let number = open.len() + 1;
            open.extend(more.flatten().with_context(|| {
                format!("connection {number} and following to {address} cannot be opened and used")
            })?);
            tokio::task::yield_now().await;
        }
        Ok(Self { open })
    }
}

/// A connection that has carried its request.
fn connect(address: SocketAddr, request: Request) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    if request == Request::Endless {
        setsockopt(&stream, sockopt::RcvBuf, &SMALL_BUFFER)?;
        stream.write_all(b"GET /endless HTTP/1.1\r\nHost: idle\r\n\r\n")?;
        return Ok(stream);
    }
    stream.write_all(b"GET / HTTP/1.1\r\nHost: idle\r\n\r\n")?;
    match stream.read(&mut [0; 1024])? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(stream),
    }
}
