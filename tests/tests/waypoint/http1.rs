//! HTTP/1.1 by hand: what is sent is what is written, and what comes is told as it came.

use std::io;

use ambit_tests::DEADLINE;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A path that no endpoint counts.
pub(super) const PROBE: &str = "/.probe";

/// The head of a message, and its body without its framing.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    /// The request line or status line.
    pub(super) start: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// The status of a response.
    pub(super) status: u16,
}

/// Bytes that were read, and those that are left over.
pub(super) struct Reader<IO> {
    io: IO,
    buffer: Vec<u8>,
}

// === impl Message ===

impl Message {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.as_str())
    }

    pub(super) fn count(&self, name: &str) -> usize {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count()
    }

    pub(super) fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    pub(super) fn path(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

// === impl Reader ===

impl<IO: AsyncRead + Unpin> Reader<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self { io, buffer: Vec::new() }
    }

    pub(super) fn io(&mut self) -> &mut IO {
        &mut self.io
    }

    /// The next head; none at the end.
    pub(super) async fn head(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return parse(&head).map(Some);
            }
            if !self.more().await? {
                return if self.buffer.is_empty() { Ok(None) } else { Err(cut_off()) };
            }
        }
    }

    /// The body that `head` announces; to the end of the stream where it announces none and `to_end` is given.
    pub(super) async fn body(&mut self, head: &Message, to_end: bool) -> io::Result<Vec<u8>> {
        if head.header("transfer-encoding").is_some_and(|t| t.eq_ignore_ascii_case("chunked")) {
            return self.chunks().await;
        }
        match head.header("content-length").map(str::parse::<usize>) {
            Some(Ok(length)) => self.exactly(length).await,
            Some(Err(error)) => Err(io::Error::other(error)),
            None if to_end => {
                while self.more().await? {}
                Ok(std::mem::take(&mut self.buffer))
            }
            None => Ok(Vec::new()),
        }
    }

    /// The response to a request of that method, interim responses passed over.
    pub(super) async fn response(&mut self, method: &str) -> io::Result<Message> {
        loop {
            let mut head = self.head().await?.ok_or_else(cut_off)?;
            let status = head.start.split(' ').nth(1).and_then(|status| status.parse().ok());
            head.status = status.ok_or_else(|| io::Error::other(head.start.clone()))?;
            if head.status == 100 {
                continue;
            }
            let bare = method == "HEAD" || [101, 204, 304].contains(&head.status);
            head.body = if bare { Vec::new() } else { self.body(&head, true).await? };
            return Ok(head);
        }
    }

    /// One line of what is not framed, without its end.
    pub(super) async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\n") {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if !self.more().await? {
                return Err(cut_off());
            }
        }
    }

    pub(super) async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.more().await? {
                return Err(cut_off());
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16);
            let size = size.map_err(io::Error::other)?;
            body.extend(self.exactly(size).await?);
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(body);
            }
            self.line().await?;
        }
    }

    async fn more(&mut self) -> io::Result<bool> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "nothing comes any more");
        let read = timeout(DEADLINE, self.io.read_buf(&mut self.buffer)).await;
        Ok(read.map_err(|_| late())?? > 0)
    }
}

/// Asks for a path and reads the answer, on a connection that stays open.
pub(super) async fn ask(stream: &mut TcpStream, path: &str) -> io::Result<Message> {
    send(stream, &format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n")).await
}

/// Sends a request as it is written and reads one answer.
pub(super) async fn send(stream: &mut TcpStream, request: impl AsRef<[u8]>) -> io::Result<Message> {
    let request = request.as_ref();
    stream.write_all(request).await?;
    let method = request.split(|byte| *byte == b' ').next().unwrap_or_default();
    Reader::new(stream).response(&String::from_utf8_lossy(method)).await
}

fn parse(head: &[u8]) -> io::Result<Message> {
    let text = std::str::from_utf8(head).map_err(io::Error::other)?;
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) =
            line.split_once(':').ok_or_else(|| io::Error::other(line.to_owned()))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    Ok(Message { start, headers, ..Message::default() })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended in the middle")
}
