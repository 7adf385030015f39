//! Bytes: one line of JSON, then everything the client sends comes back. The end of one direction ends the other.

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Connection;

/// The line comes after the client's first bytes.
pub(super) async fn client_first(stream: TcpStream, connection: Connection) -> Result<()> {
    stream.peek(&mut [0]).await?;
    server_first(stream, connection).await
}

/// The line comes at once.
pub(super) async fn server_first(mut stream: TcpStream, connection: Connection) -> Result<()> {
    let mut line = connection.seen("tcp").to_line();
    line.push('\n');
    stream.write_all(line.as_bytes()).await?;
    let mut buffer = vec![0; 64 * 1024];
    let (mut read, mut write) = stream.split();
    loop {
        let length = read.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else {
            return Ok(write.shutdown().await?);
        };
        write.write_all(bytes).await?;
    }
}
