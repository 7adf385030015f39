//! Packets with descriptors attached, over Unix sockets that keep message boundaries.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, RecvMsg, UnixAddr, recvmsg, sendmsg,
};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::unix::AsyncFd;

/// The most descriptors that Linux attaches to one packet (`SCM_MAX_FD`).
const MOST_DESCRIPTORS: usize = 253;

/// A packet as it came in. Descriptors that nobody takes out are closed with it.
#[derive(Debug)]
pub struct ReceivedPacket {
    /// Bytes written to the buffer; 0 if the peer has closed.
    pub length: usize,
    /// The descriptors attached.
    pub descriptors: Vec<OwnedFd>,
    /// Whether bytes or descriptors are missing: the buffer was too small, or the process had no descriptor left.
    pub truncated: bool,
}

/// A Unix socket of type `SOCK_SEQPACKET`: each packet arrives whole, with its descriptors.
#[derive(Debug)]
pub struct PacketSocket(AsyncFd<Socket>);

// === impl PacketSocket ===

impl PacketSocket {
    /// A connection to the socket at `path`.
    ///
    /// # Errors
    ///
    /// Whatever `connect` reports; `WouldBlock` if too many connections wait to be accepted there.
    pub fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)?;
        Self::watch(socket)
    }

    /// Listens at `path`, which must not exist yet; up to `backlog` connections may wait to be accepted.
    ///
    /// # Errors
    ///
    /// Whatever `bind` reports; `InvalidInput` if the path has more than 107 bytes.
    pub fn listen(path: impl AsRef<Path>, backlog: i32) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        socket.listen(backlog)?;
        Self::watch(socket)
    }

    /// The next connection to a listening socket. Cancel safe.
    ///
    /// # Errors
    ///
    /// Whatever `accept` reports.
    pub async fn accept(&self) -> io::Result<Self> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(accepted) = ready.try_io(|socket| socket.get_ref().accept()) {
                let (socket, _) = accepted?;
                socket.set_nonblocking(true)?;
                return Self::watch(socket);
            }
        }
    }

    /// Sends `data` as one packet, with `descriptor` attached. Cancel safe: it is sent whole or not at all.
    ///
    /// # Errors
    ///
    /// `EPIPE` or `ECONNRESET` if the peer is gone.
    pub async fn send(&self, data: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        loop {
            let mut ready = self.0.writable().await?;
            if let Ok(sent) = ready.try_io(|socket| send(socket.get_ref(), data, descriptor)) {
                return sent;
            }
        }
    }

    /// Receives one packet into `buffer`, with every descriptor attached to it. Cancel safe.
    ///
    /// # Errors
    ///
    /// `ECONNRESET` if the peer went away with packets of ours unread.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<ReceivedPacket> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(received) = ready.try_io(|socket| recv(socket.get_ref(), buffer)) {
                return received;
            }
        }
    }

    #[allow(unsafe_code)]
    fn watch(socket: Socket) -> io::Result<Self> {
        // SAFETY: the socket owns its descriptor, and nothing replaces or closes it before it is dropped.
        let watched = unsafe { AsyncFd::register(socket) };
        Ok(Self(watched.map_err(|error| error.into_parts().1)?))
    }
}

fn send(socket: &Socket, data: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let descriptors = descriptor.map(|fd| [fd.as_raw_fd()]);
    let rights = descriptors.as_ref().map(|fds| [ControlMessage::ScmRights(fds)]);
    sendmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &[IoSlice::new(data)],
        rights.as_ref().map_or(&[], |rights| rights.as_slice()),
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

fn recv(socket: &Socket, buffer: &mut [u8]) -> io::Result<ReceivedPacket> {
    let mut control = nix::cmsg_space!([RawFd; MOST_DESCRIPTORS]);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received: RecvMsg<'_, '_, UnixAddr> =
        recvmsg(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)?;
    Ok(ReceivedPacket {
        length: received.bytes,
        descriptors: descriptors(&received),
        truncated: received.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC),
    })
}

#[allow(unsafe_code)]
fn descriptors(received: &RecvMsg<'_, '_, UnixAddr>) -> Vec<OwnedFd> {
    let Ok(messages) = received.cmsgs() else {
        return Vec::new();
    };
    messages
        .filter_map(|message| match message {
            ControlMessageOwned::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        // SAFETY: the kernel has just installed each of these for us, and nobody else knows of them.
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    fn pair() -> (PacketSocket, PacketSocket) {
        let (a, b) = Socket::pair(Domain::UNIX, Type::SEQPACKET.nonblocking(), None).unwrap();
        (PacketSocket::watch(a).unwrap(), PacketSocket::watch(b).unwrap())
    }

    fn inode(fd: impl AsFd) -> u64 {
        nix::sys::stat::fstat(fd).unwrap().st_ino
    }

    #[tokio::test]
    async fn a_descriptor_arrives_with_its_packet() {
        let (a, b) = pair();
        let file = File::open("/proc/self/ns/net").unwrap();
        a.send(b"with", Some(file.as_fd())).await.unwrap();
        a.send(b"without", None).await.unwrap();
        let mut buffer = [0; 16];
        let with = b.recv(&mut buffer).await.unwrap();
        assert_eq!((with.length, with.descriptors.len(), with.truncated), (4, 1, false));
        assert_eq!(inode(&with.descriptors[0]), inode(&file));
        let without = b.recv(&mut buffer).await.unwrap();
        assert_eq!((without.length, without.descriptors.len()), (7, 0));
        drop(a);
        assert_eq!(b.recv(&mut buffer).await.unwrap().length, 0);
        assert!(crate::is_reset(&b.send(b"x", None).await.unwrap_err()));
    }

    #[tokio::test]
    async fn a_packet_larger_than_the_buffer_says_so() {
        let (a, b) = pair();
        a.send(&[7; 17], None).await.unwrap();
        assert!(b.recv(&mut [0; 16]).await.unwrap().truncated);
    }

    #[tokio::test]
    async fn every_stray_descriptor_is_taken_over() {
        let (a, b) = pair();
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let fds = [writer.as_raw_fd(); MOST_DESCRIPTORS];
        sendmsg::<UnixAddr>(
            a.0.as_raw_fd(),
            &[IoSlice::new(b"x")],
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        drop(writer);
        let received = b.recv(&mut [0; 16]).await.unwrap();
        assert_eq!((received.descriptors.len(), received.truncated), (MOST_DESCRIPTORS, false));
        drop(received);
        // With every copy of its writing end closed, the pipe is at its end.
        assert_eq!(nix::unistd::read(&reader, &mut [0]).unwrap(), 0);
    }
}
