//! TCP to and from `Bytes`, for streams of the tunnel.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;

use bytes::{Buf, Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::tcp::{drain_hint, send, send_last};

/// The most that one read returns, and the size of a thread's block.
const BLOCK: usize = 256 * 1024;
/// A block with less room than this is replaced before it is read into.
const LEAST_ROOM: usize = 128 * 1024;
/// Reads below this size are copied out of the block.
const SMALL: usize = 16 * 1024;

thread_local! {
    /// Where this thread reads into. Empty between reads: only its spare capacity is used.
    static READ_BLOCK: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// Drops the calling thread's block; its next read makes another.
pub(crate) fn release() {
    READ_BLOCK.take();
}

/// What the peer sent next, up to 256 KiB in one piece; empty at the end of its stream.
///
/// Reads go into a buffer of the thread, borrowed only while the socket is readable, so waiting connections hold
/// none. A large read is a slice of that buffer; one under 16 KiB is copied, so that a few bytes which nobody collects
/// do not hold a whole block. Cancel safe. Only one task may wait on a stream at a time.
///
/// # Errors
///
/// What the socket reports; [`is_reset`](crate::is_reset) tells a reset.
pub async fn read_chunk(stream: &TcpStream) -> io::Result<Bytes> {
    loop {
        poll_fn(|cx| stream.poll_read_ready(cx)).await?;
        match READ_BLOCK.with_borrow_mut(|block| read_into(stream, block)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

/// Sends all of `data`. Only one task may write to a stream at a time; a cancelled call may have sent a part.
///
/// # Errors
///
/// What the socket reports; [`is_reset`](crate::is_reset) tells that the peer is gone.
pub async fn write_all_bytes(stream: &TcpStream, data: Bytes) -> io::Result<()> {
    write_bytes(stream, data, false).await
}

/// The same, and then, of the last bytes, that nothing more will come: in one packet, if `data` fits into one.
///
/// # Errors
///
/// As for [`write_all_bytes`].
pub async fn write_bytes(stream: &TcpStream, mut data: Bytes, is_last: bool) -> io::Result<()> {
    let send = if is_last { send_last } else { send };
    loop {
        match send(stream, &data) {
            Ok(sent) => data.advance(sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if data.is_empty() {
            break;
        }
        poll_fn(|cx| stream.poll_write_ready(cx)).await?;
    }
    match is_last.then(|| SockRef::from(stream).shutdown(Shutdown::Write)) {
        // Gone already; if that was an error, reading tells.
        Some(Err(error)) if error.kind() != io::ErrorKind::NotConnected => Err(error),
        _ => Ok(()),
    }
}

fn read_into(stream: &TcpStream, block: &mut BytesMut) -> io::Result<Bytes> {
    let socket = SockRef::from(stream);
    fill(block, |room| drain_hint(stream, Interest::READABLE, room.len(), || socket.recv(room)))
}

/// What `recv` writes into the block's room, as a chunk; it returns how many bytes from the start it has initialised.
#[allow(unsafe_code)]
fn fill(
    block: &mut BytesMut,
    recv: impl FnOnce(&mut [MaybeUninit<u8>]) -> io::Result<usize>,
) -> io::Result<Bytes> {
    block.clear();
    if block.capacity() < LEAST_ROOM {
        block.reserve(BLOCK);
    }
    let spare = block.spare_capacity_mut();
    let most = spare.len().min(BLOCK);
    let read = match spare.get_mut(..most) {
        Some(room) => recv(room)?.min(most),
        None => 0,
    };
    // SAFETY: `recv` has initialised the first `read` bytes of the spare capacity, and the block was empty.
    unsafe { block.set_len(read) };
    Ok(if read < SMALL { Bytes::copy_from_slice(block) } else { block.split().freeze() })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::testing::pair;

    #[test]
    fn without_a_kernel_chunks_of_one_block_keep_their_bytes() {
        let mut block = BytesMut::new();
        let mut kept = Vec::new();
        for (i, size) in
            [1, SMALL - 1, SMALL, 100_000, BLOCK, 0, 40_000, 120_000, 5].into_iter().enumerate()
        {
            let bytes = vec![i as u8; size];
            let chunk = fill(&mut block, |room| {
                assert!((LEAST_ROOM..=BLOCK).contains(&room.len()));
                let size = size.min(room.len());
                room[..size].write_copy_of_slice(&bytes[..size]);
                Ok(size)
            });
            kept.push((chunk.unwrap(), bytes));
            assert!(fill(&mut block, |_| Err(io::ErrorKind::WouldBlock.into())).is_err());
        }
        for (chunk, bytes) in kept {
            assert!(bytes.starts_with(&chunk));
        }
    }

    #[tokio::test]
    async fn a_small_read_holds_no_more_than_it_says() {
        let (mut client, server) = pair().await;
        client.write_all(b"x").await.unwrap();
        let chunk = read_chunk(&server).await.unwrap();
        assert_eq!(chunk, "x");
        let owned = chunk.try_into_mut().unwrap();
        assert!(owned.capacity() < SMALL, "{}", owned.capacity());
    }

    #[tokio::test]
    async fn large_reads_come_in_one_piece_and_keep_their_bytes() {
        let (mut client, server) = pair().await;
        socket2::SockRef::from(&server).set_recv_buffer_size(4 << 20).unwrap();
        let sent: Vec<u8> =
            (0..8_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            client.write_all(&sent).await.unwrap();
        });
        // All chunks are kept to the end: none may be overwritten by a later read.
        let mut chunks = Vec::new();
        loop {
            let chunk = read_chunk(&server).await.unwrap();
            if chunk.is_empty() {
                break;
            }
            assert!(chunk.len() <= BLOCK);
            chunks.push(chunk);
        }
        writer.await.unwrap();
        assert!(chunks.iter().any(|chunk| chunk.len() > 64 * 1024));
        assert!(chunks.concat() == expected);
    }

    #[tokio::test]
    async fn the_end_stays_the_end() {
        let (mut client, server) = pair().await;
        client.write_all(b"last").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_chunk(&server).await.unwrap(), "last");
        for _ in 0..2 {
            assert!(read_chunk(&server).await.unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn a_reset_is_an_error_for_both() {
        let (client, server) = pair().await;
        crate::reset(client);
        assert!(crate::is_reset(&read_chunk(&server).await.unwrap_err()));
        let error = write_all_bytes(&server, Bytes::from_static(b"x")).await.unwrap_err();
        assert!(crate::is_reset(&error), "{error}");
    }

    #[tokio::test]
    async fn writing_waits_for_a_slow_reader() {
        let (mut client, server) = pair().await;
        let sent = Bytes::from((0..20_000_000_u32).map(|i| i as u8).collect::<Vec<_>>());
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            write_all_bytes(&server, sent).await.unwrap();
        });
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        writer.await.unwrap();
        assert!(received == expected);
    }
}
