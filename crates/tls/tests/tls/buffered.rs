//! The read buffer below rustls.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use ambit_tls::BufferedIo;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};

use crate::pki::{Authority, identity, tcp};

/// Counts how often it is asked.
struct Counting<S>(S, Arc<AtomicUsize>);

impl<S: AsyncRead + Unpin> AsyncRead for Counting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

#[tokio::test]
async fn many_small_reads_are_one_large_one() {
    let (mut far, near) = tokio::io::duplex(128 * 1024);
    let sent: Vec<u8> = (0..60_000_u32).map(|i| i.to_le_bytes()[0]).collect();
    far.write_all(&sent).await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let mut io = BufferedIo::new(Counting(near, Arc::clone(&asked)));
    assert!(!io.holds_block());
    let mut got = vec![0; sent.len()];
    for part in got.chunks_mut(4096) {
        io.read_exact(part).await.unwrap();
    }
    assert_eq!(got, sent);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert!(!io.holds_block(), "drained");
}

#[tokio::test]
async fn an_idle_connection_holds_no_block() {
    let root = Authority::root("cluster.local");
    let id = identity("shop", "cart");
    let (server, client) = (root.credential(&id), root.credential(&id));
    let (near, far) = tcp().await;
    let (served, dialled) = tokio::join!(
        ambit_tls::accept(&server, far),
        ambit_tls::connect(&client, std::slice::from_ref(&id), near)
    );
    let (mut served, mut dialled) = (served.unwrap(), dialled.unwrap());
    for round in 0..3 {
        let sent = vec![round; 300_000];
        let writing = async {
            dialled.write_all(&sent).await.unwrap();
            dialled.flush().await.unwrap();
        };
        let mut got = vec![0; sent.len()];
        let (_, read) = tokio::join!(writing, served.read_exact(&mut got));
        read.unwrap();
        assert_eq!(got, sent);
        // Nothing more has come: asking once finds that out and gives the block back.
        let mut byte = [0];
        let mut buf = ReadBuf::new(&mut byte);
        let idle = std::future::poll_fn(|cx| {
            Poll::Ready(Pin::new(&mut served).poll_read(cx, &mut buf).is_pending())
        });
        assert!(idle.await);
        assert!(!served.get_ref().0.holds_block());
    }
    drop(dialled);
    assert!(served.read_u8().await.is_err(), "the end arrives as well");
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_bytes(
        writes in prop::collection::vec(1_usize..90_000, 1..6),
        reads in prop::collection::vec(1_usize..100_000, 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let total: usize = writes.iter().sum();
            let sent: Vec<u8> = (0..total).map(|i| (i * 31 % 251) as u8).collect();
            let (mut far, near) = tokio::io::duplex(70_000);
            let writing = async {
                let mut rest = sent.as_slice();
                for size in &writes {
                    let (now, later) = rest.split_at(*size);
                    far.write_all(now).await.unwrap();
                    rest = later;
                }
                drop(far);
            };
            let mut io = BufferedIo::new(near);
            let reading = async {
                let mut got = Vec::new();
                for size in reads.iter().cycle() {
                    let mut part = vec![0; *size];
                    match io.read(&mut part).await.unwrap() {
                        0 => break,
                        read => got.extend_from_slice(&part[..read]),
                    }
                }
                got
            };
            let ((), got) = tokio::join!(writing, reading);
            assert_eq!(got, sent);
            assert!(!io.holds_block());
        });
    }
}
