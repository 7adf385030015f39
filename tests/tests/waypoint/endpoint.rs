//! An HTTP/1.1 server in a pod that does exactly what a test wants of it, and remembers what it was asked.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambit_tests::eventually;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

use super::http1::{Message, PROBE, Reader};
use super::scene::Scene;

/// What to do on a request, in this order.
#[derive(Clone)]
pub(super) enum Step {
    /// These bytes, as they are.
    Send(Vec<u8>),
    /// Nothing, for so long.
    Pause(Duration),
    /// Nothing, until the test says so.
    Await(Arc<Notify>),
    /// Nothing, until there is a turn for this request.
    Turn(Arc<Semaphore>),
    /// Nothing, until the caller has gone.
    Hang,
    /// The connection ends in order.
    Close,
    /// The connection is reset.
    Reset,
}

/// The server; it ends with the value.
pub(super) struct Endpoint {
    pub(super) port: u16,
    pub(super) seen: Arc<Seen>,
    accepting: AbortHandle,
}

/// What it saw.
#[derive(Default)]
pub(super) struct Seen {
    requests: Mutex<Vec<Message>>,
    peers: Mutex<Vec<IpAddr>>,
    /// Requests whose caller left before the answer.
    pub(super) gone: AtomicUsize,
    pub(super) connections: AtomicUsize,
    /// Connections that are open now.
    pub(super) open: AtomicUsize,
}

/// An answer in full.
pub(super) fn status(code: u16) -> Vec<Step> {
    answer(code, "", "")
}

/// An answer with headers, each with its end of line, and a body.
pub(super) fn answer(code: u16, headers: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    let text = format!("HTTP/1.1 {code} So\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    vec![Step::Send(text.into_bytes())]
}

// === impl Seen ===

impl Seen {
    /// Where its connections came from.
    pub(super) fn peers(&self) -> Vec<IpAddr> {
        self.peers.lock().expect("nobody panics with it").clone()
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// Serves on a port of its own in one pod.
    pub(super) fn start(
        scene: &Scene,
        pod: &str,
        script: impl Fn(&Message) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::on(scene, pod, scene.port(), script)
    }

    /// Serves on that port.
    pub(super) fn on(
        scene: &Scene,
        pod: &str,
        port: u16,
        script: impl Fn(&Message) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let listener = scene.listen(pod, port);
        let (seen, script) = (Arc::<Seen>::default(), Arc::new(script));
        let noted = seen.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                noted.peers.lock().expect("nobody panics with it").push(peer.ip());
                let (seen, script) = (noted.clone(), script.clone());
                tokio::spawn(async move {
                    seen.connections.fetch_add(1, Relaxed);
                    seen.open.fetch_add(1, Relaxed);
                    // A caller that leaves in the middle is the caller's affair.
                    let _ = serve(stream, &seen, &*script).await;
                    seen.open.fetch_sub(1, Relaxed);
                });
            }
        });
        Self { port, seen, accepting: accepting.abort_handle() }
    }

    /// Every request so far.
    pub(super) fn requests(&self) -> Vec<Message> {
        self.seen.requests.lock().expect("nobody panics with it").clone()
    }

    pub(super) fn count(&self) -> usize {
        self.seen.requests.lock().expect("nobody panics with it").len()
    }

    /// Waits until there were so many requests.
    pub(super) async fn asked(&self, count: usize) -> Vec<Message> {
        eventually(|| async {
            let requests = self.requests();
            if requests.len() >= count { Ok(requests) } else { Err(format!("{requests:#?}")) }
        })
        .await
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    seen: &Seen,
    script: &(dyn Fn(&Message) -> Vec<Step> + Send + Sync),
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = Reader::new(&mut stream);
    while let Some(mut request) = reader.head().await? {
        if request.header("expect").is_some() {
            reader.io().write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        request.body = reader.body(&request, false).await?;
        if request.path() == PROBE {
            reader.io().write_all(b"HTTP/1.1 404 So\r\nContent-Length: 0\r\n\r\n").await?;
            continue;
        }
        let steps = script(&request);
        seen.requests.lock().expect("nobody panics with it").push(request);
        for step in steps {
            let io = &mut **reader.io();
            match step {
                Step::Send(bytes) => io.write_all(&bytes).await?,
                Step::Pause(time) => tokio::time::sleep(time).await,
                Step::Await(told) => told.notified().await,
                Step::Turn(turns) => turns.acquire().await.map_err(io::Error::other)?.forget(),
                Step::Hang => {
                    io.readable().await?;
                    seen.gone.fetch_add(1, Relaxed);
                    return Ok(());
                }
                Step::Close => return Ok(()),
                Step::Reset => return SockRef::from(&*io).set_linger(Some(Duration::ZERO)),
            }
        }
    }
    Ok(())
}
