//! Length-prefixed gRPC messages of a response body, decoded from the pieces in which they arrive.
//!
//! A response about 100,000 workloads has some 45 MB. With `tonic::Streaming`, which gathers it in one buffer, its bytes were
//! still resident when the state had long taken it in. Here each piece goes as soon as what is in it has been decoded.

use std::collections::VecDeque;

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use prost::Message as _;
use tonic::Status;
use tonic::body::Body;

use crate::wire::Response;

/// A flag (compressed or not) and the length of the message.
const PREFIX: usize = 5;
/// The longest message that is accepted, bytes.
const MAX_MESSAGE: usize = 200 * 1024 * 1024;

/// What comes on a stream.
#[derive(Debug)]
pub(crate) struct Messages {
    body: Body,
    received: Pieces,
    /// How long the message is whose prefix has been read.
    expected: Option<usize>,
}

/// Bytes in the pieces in which they came.
#[derive(Debug, Default)]
struct Pieces {
    queue: VecDeque<Bytes>,
    remaining: usize,
}

// === impl Messages ===

impl Messages {
    pub(super) fn new(body: Body) -> Self {
        Self { body, received: Pieces::default(), expected: None }
    }

    /// The next message; `None` when the stream has ended in good order.
    ///
    /// # Errors
    /// The status with which the stream ended, or what is wrong with what came.
    pub(crate) async fn next(&mut self) -> Result<Option<Response>, Status> {
        loop {
            if let Some(message) = self.received()? {
                return Ok(Some(message));
            }
            let Some(frame) = self.body.frame().await.transpose()? else {
                // As a connection that went away.
                return Err(Status::unknown("the stream ended without a status"));
            };
            match frame.into_data() {
                Ok(data) => self.received.push(data),
                Err(frame) => return ended(&frame.into_trailers().unwrap_or_default()),
            }
        }
    }

    /// The next message, if all of it is there.
    fn received(&mut self) -> Result<Option<Response>, Status> {
        if self.expected.is_none() && self.received.remaining() >= PREFIX {
            self.expected = Some(length(&mut self.received)?);
        }
        match self.expected {
            Some(length) if self.received.remaining() >= length => {
                self.expected = None;
                let message = Response::decode((&mut self.received).take(length));
                let message = message.map_err(|e| Status::internal(format!("no response: {e}")))?;
                Ok(Some(message))
            }
            _ => Ok(None),
        }
    }
}

/// Reads a prefix.
fn length(received: &mut Pieces) -> Result<usize, Status> {
    if received.get_u8() != 0 {
        return Err(Status::unimplemented("the message is compressed, which was not asked for"));
    }
    match received.get_u32() as usize {
        length if length <= MAX_MESSAGE => Ok(length),
        length => Err(Status::out_of_range(format!(
            "a message of {length} bytes; {MAX_MESSAGE} are accepted"
        ))),
    }
}

/// How a stream ended whose last headers are `trailers`.
fn ended(trailers: &http::HeaderMap) -> Result<Option<Response>, Status> {
    match Status::from_header_map(trailers) {
        Some(status) if status.code() == tonic::Code::Ok => Ok(None),
        Some(status) => Err(status),
        None => Err(Status::unknown("the stream ended without a status")),
    }
}

// === impl Pieces ===

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        self.remaining += piece.len();
        if !piece.is_empty() {
            self.queue.push_back(piece);
        }
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.queue.front().map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "{count} of {} bytes", self.remaining);
        self.remaining -= count;
        while let Some(piece) = self.queue.front_mut() {
            if count < piece.len() {
                return piece.advance(count);
            }
            count -= piece.len();
            self.queue.pop_front();
        }
    }

    /// Without copying where one piece has all of it. Copies of 100,000 resources would be allocations as small as
    /// those of the state that is made of them, which would then keep their pages.
    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        match self.queue.front() {
            Some(piece) if piece.len() >= count => {
                let bytes = piece.slice(..count);
                self.advance(count);
                bytes
            }
            _ => {
                let mut copy = BytesMut::with_capacity(count);
                copy.put(self.take(count));
                copy.freeze()
            }
        }
    }
}

#[cfg(test)]
mod tests;
