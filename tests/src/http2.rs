//! HTTP/2 frame by frame, also those that no library would send.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// How a stream ended.
#[derive(Debug)]
pub enum End {
    /// By an answer with this status.
    Answered(u16),
    /// RST_STREAM, GOAWAY or the connection's end, by what was read of its code.
    Refused(Option<u32>),
}

/// The error code of whoever is asked for too much (RFC 9113 7).
pub const CALM: u32 = 11;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// What the last PING carries.
const LAST: [u8; 8] = [9; 8];

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What every connection begins with.
pub fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(settings());
    bytes
}

/// SETTINGS that leave everything as it is.
pub fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

/// Agrees to the peer's SETTINGS.
pub fn settings_ack() -> Vec<u8> {
    frame(SETTINGS, ACK, 0, &[])
}

/// SETTINGS of one parameter.
pub fn setting(name: u16, value: u32) -> Vec<u8> {
    let mut payload = name.to_be_bytes().to_vec();
    payload.extend(value.to_be_bytes());
    frame(SETTINGS, 0, 0, &payload)
}

/// A PING that wants an answer.
pub fn ping() -> Vec<u8> {
    frame(PING, 0, 0, &[7; 8])
}

/// A PING unlike all others.
pub fn last_ping() -> Vec<u8> {
    frame(PING, 0, 0, &LAST)
}

/// DATA of so many zeroes.
pub fn data(stream: u32, size: usize) -> Vec<u8> {
    frame(DATA, 0, stream, &vec![0; size])
}

/// More room for a stream, or for the connection, which is stream 0.
pub fn window_update(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

/// RST_STREAM with CANCEL.
pub fn reset(stream: u32) -> Vec<u8> {
    frame(RESET, 0, stream, &8_u32.to_be_bytes())
}

/// A request's head, each field as a literal that is not indexed (RFC 7541 6.2.2).
pub fn headers(stream: u32, fields: &[(&str, &str)], end: bool) -> Vec<u8> {
    let flags = END_HEADERS | if end { END_STREAM } else { 0 };
    frame(HEADERS, flags, stream, &block(fields))
}

/// A head that goes on in CONTINUATION frames.
pub fn headers_open(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM, stream, &block(fields))
}

/// A head that names one field of 4,000 bytes, and then again and again by a byte each (RFC 7541 6.1, 6.2.1).
pub fn bomb(stream: u32, fields: &[(&str, &str)], times: usize) -> Vec<u8> {
    let mut block = block(fields);
    block.push(0x40);
    string(&mut block, "x-bomb");
    string(&mut block, &"z".repeat(4000));
    block.extend(std::iter::repeat_n(0x80 | 62, times));
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// More of a head, which still goes on.
pub fn continuation(stream: u32, size: usize) -> Vec<u8> {
    let value = "z".repeat(size);
    frame(CONTINUATION, 0, stream, &block(&[("x-more", &value)]))
}

/// Reads until the stream has its answer's head, or is over.
pub async fn end_of_stream(connection: &mut (impl AsyncRead + Unpin), wanted: u32) -> End {
    while let Ok(frame) = Frame::read(connection).await {
        match frame.kind {
            HEADERS if frame.stream == wanted => return End::Answered(status(&frame.payload)),
            RESET if frame.stream == wanted => return End::Refused(frame.code(0)),
            GO_AWAY => return End::Refused(frame.code(4)),
            _ => {}
        }
    }
    End::Refused(None)
}

/// Reads until the last PING is answered: everything was taken in, and the connection goes on.
///
/// # Errors
/// It was ended before, with this code.
pub async fn survives(connection: &mut (impl AsyncRead + Unpin)) -> Result<(), End> {
    while let Ok(frame) = Frame::read(connection).await {
        match frame.kind {
            PING if frame.flags & ACK != 0 && frame.payload == LAST => return Ok(()),
            GO_AWAY => return Err(End::Refused(frame.code(4))),
            _ => {}
        }
    }
    Err(End::Refused(None))
}

/// Reads until a PING is answered: whatever was sent before it has been taken in.
///
/// # Errors
/// The connection ends before.
pub async fn ponged(connection: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    loop {
        let frame = Frame::read(connection).await?;
        match frame.kind {
            PING if frame.flags & ACK != 0 => return Ok(()),
            GO_AWAY => return Err(io::Error::other(format!("{:?}", frame.code(4)))),
            _ => {}
        }
    }
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    async fn read(connection: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut head = [0; 9];
        connection.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, rest @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        connection.read_exact(&mut payload).await?;
        Ok(Self { kind, flags, stream: u32::from_be_bytes(rest) & 0x7fff_ffff, payload })
    }

    /// The error code at this place of the payload.
    fn code(&self, at: usize) -> Option<u32> {
        self.payload.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
    }
}

/// The status is the first field, indexed (RFC 7541 Appendix A, 8 to 14), or a literal with an indexed name.
fn status(block: &[u8]) -> u16 {
    const KNOWN: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match block {
        [index @ 0x88..=0x8e, ..] => KNOWN[usize::from(index - 0x88)],
        [_, 3, digits @ ..] => {
            let text = digits.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
            text.and_then(|text| text.parse().ok()).unwrap_or(0)
        }
        // Huffman coded: "403" and the like; which one does not matter, only that it is neither of the above.
        _ => 499,
    }
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    block
}

/// A string that is not Huffman coded (RFC 7541 5.1, 5.2).
fn string(block: &mut Vec<u8>, text: &str) {
    let length = text.len();
    if length < 127 {
        block.push(length as u8);
    } else {
        block.push(127);
        let mut rest = length - 127;
        while rest >= 128 {
            block.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        block.push(rest as u8);
    }
    block.extend_from_slice(text.as_bytes());
}

/// Any frame.
///
/// # Panics
/// The payload is larger than a frame can say.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames are small").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}
