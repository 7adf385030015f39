//! A ztunnel's end of the connection.

use std::path::Path;

use ambit_net::PacketSocket;

use crate::message::{encode_answer, encode_hello};
use crate::{Error, Request, socket};

/// A connection to the node's agent, over which it says which pods to serve.
#[derive(Debug)]
pub struct Client {
    socket: PacketSocket,
}

impl Client {
    /// Connects to the agent's socket at `path` and says hello. Retrying with growing pauses is the caller's part
    /// (Istio's: 10 ms to 15 s).
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if nobody listens there.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let socket = PacketSocket::connect(path)
            .map_err(|source| Error::Path { path: path.to_owned(), source })?;
        socket::send(&socket, &encode_hello(), None).await?;
        Ok(Self { socket })
    }

    /// The agent's next request, which has to be answered before the next one comes. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when the agent goes away; what it sent otherwise makes no sense, and the connection should
    /// be dropped.
    pub async fn recv(&mut self) -> Result<Request, Error> {
        let packet = socket::recv(&self.socket).await?;
        Request::decode(&packet.data, packet.descriptors)
    }

    /// Answers the last request: done, or why not. A long reason is cut.
    ///
    /// # Errors
    ///
    /// If the agent is gone.
    pub async fn ack(&mut self, answer: Result<(), &str>) -> Result<(), Error> {
        socket::send(&self.socket, &encode_answer(answer), None).await
    }
}
