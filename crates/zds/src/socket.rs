//! Packets of the protocol's size, with failures in its terms.

use std::os::fd::{BorrowedFd, OwnedFd};

use ambit_net::{PacketSocket, is_reset};

use crate::{Error, MAX_PACKET};

/// A packet, at most [`MAX_PACKET`] long, and its descriptors.
pub(crate) struct Packet {
    pub(crate) data: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// Sends one packet. Cancel safe.
pub(crate) async fn send(
    socket: &PacketSocket,
    data: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> Result<(), Error> {
    match socket.send(data, descriptor).await {
        Err(error) if is_reset(&error) => Err(Error::Closed),
        sent => Ok(sent?),
    }
}

/// The next packet. Cancel safe.
pub(crate) async fn recv(socket: &PacketSocket) -> Result<Packet, Error> {
    let mut data = vec![0; MAX_PACKET];
    let received = match socket.recv(&mut data).await {
        Err(error) if is_reset(&error) => return Err(Error::Closed),
        received => received?,
    };
    match received.length {
        _ if received.truncated => Err(Error::Truncated),
        0 => Err(Error::Closed),
        length => {
            data.truncate(length);
            Ok(Packet { data, descriptors: received.descriptors })
        }
    }
}
