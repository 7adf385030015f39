//! The name that a TLS client asks for, read without ending its session.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;
use tokio_rustls::rustls::server::Acceptor;

/// The largest ClientHello that is looked at.
const LONGEST: usize = 64 << 10;
/// How long it may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Reads a ClientHello. Gives its SNI, in lower case, and all bytes that were read.
///
/// # Errors
/// The stream fails, or what comes is no ClientHello.
pub(crate) async fn read(
    io: &mut (impl AsyncRead + Unpin),
) -> io::Result<(Option<Box<str>>, Bytes)> {
    let reading = timeout(LIMIT, client_hello(io)).await;
    reading.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The same, however long it takes.
pub(crate) async fn client_hello(
    io: &mut (impl AsyncRead + Unpin),
) -> io::Result<(Option<Box<str>>, Bytes)> {
    let mut read = BytesMut::new();
    let (mut acceptor, mut fed) = (Acceptor::default(), 0);
    loop {
        if io.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut new = read.get(fed..).unwrap_or_default();
        while !new.is_empty() {
            fed += acceptor.read_tls(&mut new)?;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let name = accepted.client_hello().server_name().map(str::to_ascii_lowercase);
                return Ok((name.map(Into::into), read.freeze()));
            }
            Ok(None) if read.len() > LONGEST => {
                return Err(io::Error::other("the ClientHello is too large"));
            }
            Ok(None) => {}
            Err((error, _)) => return Err(io::Error::other(error)),
        }
    }
}
