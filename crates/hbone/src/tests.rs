//! Both ends of the protocol against each other, and against a bare h2 peer where only that can misbehave.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ambit_net::{Counters, Side};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(10);

fn target() -> &'static Authority {
    static TARGET: std::sync::LazyLock<Authority> =
        std::sync::LazyLock::new(|| "10.0.0.1:80".parse().unwrap());
    &TARGET
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("it should not take that long")
}

/// A client on one end of a pipe, and the server on the other.
async fn pair(config: &Config) -> (Client, Server<DuplexStream>) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (client, server) =
        tokio::join!(Client::handshake(near, config), Server::handshake(far, config));
    (client.unwrap(), server.unwrap())
}

/// Serves every CONNECT with `handle` until the connection ends.
fn serve<F>(mut server: Server<DuplexStream>, handle: impl Fn(Connect) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        while let Some(Ok(connect)) = server.next().await {
            tokio::spawn(handle(connect));
        }
    });
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

async fn connect(client: &Client) -> Result<(Stream, Response), Error> {
    let slot = client.reserve().expect("there is room");
    slot.connect(target(), ConnectHeaders::default()).await
}

/// Client application, tunnel, server application: the two ends of TCP, and how each relay ended.
struct Tunnel {
    client_app: TcpStream,
    server_app: TcpStream,
    client_relay: tokio::task::JoinHandle<Result<(), Error>>,
    server_relay: tokio::task::JoinHandle<Result<(), Error>>,
    counters: Arc<Counters>,
}

async fn tunnel() -> Tunnel {
    let (client, mut server) = pair(&Config::default()).await;
    let (client_app, client_tcp) = tcp_pair().await;
    let (server_app, server_tcp) = tcp_pair().await;
    let (accepted, accept) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let connect = server.next().await.unwrap().unwrap();
        accepted.send(connect.accept(None).unwrap()).ok();
        while server.next().await.is_some() {}
    });
    let (stream, _) = soon(connect(&client)).await.unwrap();
    let inbound = accept.await.unwrap();
    let counters = Arc::new(Counters::default());
    let seen = counters.clone();
    Tunnel {
        client_app,
        server_app,
        client_relay: tokio::spawn(async move { relay(stream, client_tcp, &seen, Side::A).await }),
        server_relay: tokio::spawn(async move {
            relay(inbound, server_tcp, &Counters::default(), Side::B).await
        }),
        counters,
    }
}

fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[tokio::test]
async fn headers_arrive_and_baggage_comes_back() {
    let (client, server) = pair(&Config::default()).await;
    serve(server, |connect| async move {
        assert!(connect.is_connect());
        assert_eq!(connect.authority(), Ok(target().clone()));
        assert_eq!(Forwarded::host(connect.headers()).as_deref(), Some("svc.example"));
        assert_eq!(connect.headers()["traceparent"], "00-1-2-00");
        connect.accept(Some("service.name=server".parse().unwrap())).unwrap();
    });
    let source: SocketAddr = "10.0.0.9:1234".parse().unwrap();
    let headers = ConnectHeaders {
        baggage: Some("service.name=client".parse().unwrap()),
        forwarded: Forwarded { source, host: Some("svc.example".into()) }.to_header(),
        traceparent: Some("00-1-2-00".parse().unwrap()),
        network: None,
    };
    let slot = client.reserve().unwrap();
    let (_stream, response) = soon(slot.connect(target(), headers)).await.unwrap();
    assert_eq!(
        Baggage::from_headers(&response.headers).unwrap().service.as_deref(),
        Some("server")
    );
}

#[tokio::test]
async fn refusals_are_statuses() {
    for (refusal, status) in [
        (Refusal::BadRequest, StatusCode::BAD_REQUEST),
        (Refusal::Denied, StatusCode::UNAUTHORIZED),
        (Refusal::Unavailable, StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let (client, server) = pair(&Config::default()).await;
        serve(server, move |connect| async move { connect.refuse(refusal) });
        let refused = soon(connect(&client)).await.err().unwrap();
        assert!(matches!(refused, Error::Status(s) if s == status), "{refused}");
    }
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_direction_ends_alone() {
    let Tunnel { mut client_app, mut server_app, client_relay, server_relay, counters } =
        tunnel().await;
    client_app.write_all(b"question").await.unwrap();
    client_app.shutdown().await.unwrap();
    let mut question = String::new();
    soon(server_app.read_to_string(&mut question)).await.unwrap();
    assert_eq!(question, "question");
    // The other direction is still open, for as long as the server likes.
    server_app.write_all(b"the answer").await.unwrap();
    drop(server_app);
    let mut answer = String::new();
    soon(client_app.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "the answer");
    soon(client_relay).await.unwrap().unwrap();
    soon(server_relay).await.unwrap().unwrap();
    assert_eq!((counters.a_to_b(), counters.b_to_a()), (8, 10));
}

#[tokio::test]
async fn a_server_may_speak_first() {
    let Tunnel { mut client_app, mut server_app, .. } = tunnel().await;
    server_app.write_all(b"220 welcome").await.unwrap();
    let mut banner = [0; 11];
    soon(client_app.read_exact(&mut banner)).await.unwrap();
    assert_eq!(&banner, b"220 welcome");
}

#[tokio::test]
async fn a_reset_of_either_application_reaches_the_other() {
    let Tunnel { client_app, mut server_app, client_relay, server_relay, .. } = tunnel().await;
    reset(client_app);
    let error = soon(server_app.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(matches!(soon(client_relay).await.unwrap(), Err(Error::Tcp(_))));
    assert!(matches!(soon(server_relay).await.unwrap(), Err(Error::Reset(_))));

    let Tunnel { mut client_app, server_app, .. } = tunnel().await;
    reset(server_app);
    let error = soon(client_app.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_answer_to_a_question_that_is_not_over_arrives_whole() {
    const ANSWER: usize = 100_000;
    let (client, server) = pair(&Config::default()).await;
    // The end and the reset follow the last bytes at once, as from a server of HTTP that closes.
    serve(server, |connect| async move {
        let mut io = connect.accept(None).unwrap().into_io();
        io.read_u8().await.unwrap();
        io.write_all(&[b'a'; ANSWER]).await.unwrap();
        io.shutdown().await.unwrap();
    });
    for _ in 0..20 {
        let (stream, _) = soon(connect(&client)).await.unwrap();
        let (mut app, tcp) = tcp_pair().await;
        app.write_all(b"question").await.unwrap();
        let mut answer = Vec::new();
        let counters = Counters::default();
        let (read, relayed) = tokio::join!(
            soon(app.read_to_end(&mut answer)),
            soon(relay(stream, tcp, &counters, Side::A))
        );
        assert_eq!((read.unwrap(), counters.b_to_a()), (ANSWER, ANSWER as u64));
        relayed.unwrap();

        let (stream, _) = soon(connect(&client)).await.unwrap();
        let mut io = stream.into_io();
        io.write_all(b"question").await.unwrap();
        let mut answer = Vec::new();
        assert_eq!(soon(io.read_to_end(&mut answer)).await.unwrap(), ANSWER);
    }
}

#[tokio::test]
async fn a_relay_that_is_dropped_resets_both_ends() {
    let Tunnel { mut client_app, mut server_app, server_relay, .. } = tunnel().await;
    client_app.write_all(b"x").await.unwrap();
    assert_eq!(soon(server_app.read_u8()).await.unwrap(), b'x');
    server_relay.abort();
    for app in [&mut server_app, &mut client_app] {
        let error = soon(app.read_u8()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_relay_keeps_its_place_on_the_connection_until_it_ends() {
    let config = Config { client_max_streams: 1, ..Config::default() };
    let (client, server) = pair(&config).await;
    serve(server, |connect| async { drop(connect.accept(None)) });
    let (stream, _) = soon(connect(&client)).await.unwrap();
    let (_app, tcp) = tcp_pair().await;
    let counters = Counters::default();
    let running = relay(stream, tcp, &counters, Side::A);
    assert!(client.reserve().is_none(), "its place was given away");
    drop(running);
    assert!(client.reserve().is_some());
}

#[tokio::test]
async fn a_reset_after_a_half_close_is_noticed_by_a_silent_server() {
    let Tunnel { mut client_app, mut server_app, .. } = tunnel().await;
    client_app.shutdown().await.unwrap();
    let mut rest = Vec::new();
    soon(server_app.read_to_end(&mut rest)).await.unwrap();
    reset(client_app);
    // The server says nothing; its next words meet a reset connection.
    let error = soon(async {
        loop {
            if let Err(error) = server_app.write_all(b"too late").await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(ambit_net::is_reset(&error), "{error}");
}

#[tokio::test]
async fn much_data_arrives_whole() {
    let Tunnel { mut client_app, mut server_app, counters, .. } = tunnel().await;
    let block: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let expected = block.clone();
    let send = async move {
        for _ in 0..64 {
            client_app.write_all(&block).await.unwrap();
        }
        client_app.shutdown().await.unwrap();
        client_app
    };
    let receive = async {
        let mut buffer = vec![0; 1 << 20];
        for _ in 0..64 {
            server_app.read_exact(&mut buffer).await.unwrap();
            assert!(buffer == expected);
        }
        assert_eq!(server_app.read(&mut buffer).await.unwrap(), 0);
    };
    timeout(6 * SOON, async { tokio::join!(send, receive) }).await.unwrap();
    assert_eq!(counters.a_to_b(), 64 << 20);
}

#[tokio::test]
async fn a_stalled_stream_does_not_stall_the_others() {
    let (client, server) = pair(&Config::default()).await;
    serve(server, |connect| async move {
        let stream = connect.accept(None).unwrap();
        let mut io = stream.into_io();
        // The first byte says whether the rest is ever read.
        match io.read_u8().await.unwrap() {
            b'r' => {
                tokio::io::copy(&mut io, &mut tokio::io::sink()).await.unwrap();
                io.write_all(b"done").await.unwrap();
                io.shutdown().await.unwrap();
            }
            _ => std::future::pending().await,
        }
    });
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let mut io = soon(connect(&client)).await.unwrap().0.into_io();
        io.write_all(b"s").await.unwrap();
        stalled.push(tokio::spawn(async move {
            // Fills the stream's window and then waits for ever.
            let _ = io.write_all(&vec![0; 8 << 20]).await;
        }));
    }
    let mut io = soon(connect(&client)).await.unwrap().0.into_io();
    let moved = async {
        io.write_all(b"r").await.unwrap();
        io.write_all(&vec![0; 16 << 20]).await.unwrap();
        io.shutdown().await.unwrap();
        let mut answer = String::new();
        io.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert_eq!(timeout(6 * SOON, moved).await.unwrap(), "done");
    assert!(stalled.iter().all(|task| !task.is_finished()));
}

#[tokio::test]
async fn an_unparsable_authority_is_a_protocol_error_and_a_senseless_one_is_seen() {
    let (near, far) = tokio::io::duplex(1 << 20);
    let handshake = tokio::spawn(async move { h2::client::handshake(near).await.unwrap() });
    let mut server = Server::handshake(far, &Config::default()).await.unwrap();
    let (send, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    tokio::spawn(async move {
        while let Some(Ok(connect)) = server.next().await {
            assert!(connect.authority().is_err());
            connect.refuse(Refusal::BadRequest);
        }
    });
    let request = Request::builder().method(Method::CONNECT).uri("no-port").body(()).unwrap();
    let mut send = send.ready().await.unwrap();
    let (response, _) = send.send_request(request, true).unwrap();
    assert_eq!(soon(response).await.unwrap().status(), StatusCode::BAD_REQUEST);
}

// === the pool ===

type TestPool = Pool<&'static str, Error>;

/// Dials servers that accept everything, and counts them.
fn dialer(
    dials: Arc<AtomicUsize>,
    config: Config,
) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = Result<Client, Error>> + Send>> {
    move || {
        dials.fetch_add(1, Ordering::SeqCst);
        let config = config.clone();
        Box::pin(async move {
            let (client, server) = pair(&config).await;
            serve(server, |connect| async move {
                let mut io = connect.accept(None).unwrap().into_io();
                let _ = io.read_u8().await;
            });
            Ok(client)
        })
    }
}

#[tokio::test]
async fn concurrent_first_connections_share_one_handshake() {
    let dials = Arc::new(AtomicUsize::new(0));
    let pool = TestPool::new(Config::default());
    let dial = dialer(dials.clone(), Config::default());
    let opened = futures_util::future::join_all(
        (0..50).map(|_| pool.connect(&"key", &dial, target(), ConnectHeaders::default())),
    );
    let streams = soon(opened).await;
    assert!(streams.iter().all(Result::is_ok));
    assert_eq!(dials.load(Ordering::SeqCst), 1);
    assert_eq!(pool.len(), 1);
}

#[tokio::test]
async fn a_full_connection_gets_a_sister() {
    let dials = Arc::new(AtomicUsize::new(0));
    let config = Config { client_max_streams: 3, ..Config::default() };
    let pool = TestPool::new(config.clone());
    let dial = dialer(dials.clone(), config);
    let mut streams = Vec::new();
    for _ in 0..7 {
        let opened = pool.connect(&"key", &dial, target(), ConnectHeaders::default());
        streams.push(soon(opened).await.unwrap());
    }
    assert_eq!(dials.load(Ordering::SeqCst), 3);
    drop(streams);
    let opened = pool.connect(&"key", &dial, target(), ConnectHeaders::default());
    soon(opened).await.unwrap();
    assert_eq!(dials.load(Ordering::SeqCst), 3, "places are given back");
}

#[tokio::test]
async fn a_peer_never_gets_more_streams_than_it_takes_not_even_at_first() {
    let dials = Arc::new(AtomicUsize::new(0));
    let config = Config { server_max_streams: 3, ..Config::default() };
    let pool = TestPool::new(config.clone());
    let dial = dialer(dials.clone(), config);
    let opened = futures_util::future::join_all(
        (0..7).map(|_| pool.connect(&"key", &dial, target(), ConnectHeaders::default())),
    );
    assert!(soon(opened).await.iter().all(Result::is_ok));
    assert_eq!(dials.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_failed_handshake_fails_everybody_who_waited_and_nobody_else() {
    let pool = TestPool::new(Config::default());
    let (release, gate) = tokio::sync::watch::channel(false);
    let failing = || {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.unwrap();
            Err::<Client, _>(Error::PingTimeout)
        }
    };
    let waiting = futures_util::future::join_all(
        (0..5).map(|_| pool.connect(&"key", failing, target(), ConnectHeaders::default())),
    );
    let (results, ()) = soon(async {
        tokio::join!(waiting, async {
            release.send_replace(true);
        })
    })
    .await;
    for result in results {
        assert!(matches!(result, Err(PoolError::Dial(_))));
    }
    assert!(pool.is_empty());
    let dial = dialer(Arc::default(), Config::default());
    assert!(soon(pool.connect(&"key", dial, target(), ConnectHeaders::default())).await.is_ok());
}

#[tokio::test]
async fn a_connection_that_goes_away_is_replaced_and_its_streams_live_on() {
    let pool = TestPool::new(Config::default());
    let (go_away, gone) = tokio::sync::watch::channel(false);
    let dials = Arc::new(AtomicUsize::new(0));
    let dial = || {
        dials.fetch_add(1, Ordering::SeqCst);
        let mut gone = gone.clone();
        gone.mark_unchanged();
        async move {
            let (client, mut server) = pair(&Config::default()).await;
            tokio::spawn(async move {
                let mut announced = false;
                loop {
                    tokio::select! {
                        connect = server.next() => match connect {
                            Some(Ok(connect)) => {
                                let mut io = connect.accept(None).unwrap().into_io();
                                tokio::spawn(async move {
                                    let mut byte = [0; 1];
                                    while io.read_exact(&mut byte).await.is_ok() {
                                        io.write_all(&byte).await.unwrap();
                                    }
                                });
                            }
                            _ => return,
                        },
                        _ = gone.changed(), if !announced => {
                            announced = true;
                            server.graceful_shutdown();
                        }
                    }
                }
            });
            Ok(client)
        }
    };
    let opened = pool.connect(&"key", dial, target(), ConnectHeaders::default());
    let mut first = soon(opened).await.unwrap().0.into_io();
    go_away.send_replace(true);
    soon(async {
        while dials.load(Ordering::SeqCst) < 2 {
            let opened = pool.connect(&"key", dial, target(), ConnectHeaders::default());
            opened.await.expect("a GOAWAY never fails a new connection");
        }
    })
    .await;
    first.write_all(b"x").await.unwrap();
    assert_eq!(soon(first.read_u8()).await.unwrap(), b'x');
}

#[tokio::test]
async fn a_peer_that_sends_every_connection_away_is_given_up() {
    let pool = TestPool::new(Config::default());
    let dials = Arc::new(AtomicUsize::new(0));
    let dial = || {
        dials.fetch_add(1, Ordering::SeqCst);
        async {
            let (client, mut server) = pair(&Config::default()).await;
            server.abrupt_shutdown();
            while server.next().await.is_some() {}
            client.retired().await;
            Ok(client)
        }
    };
    let opened = soon(pool.connect(&"key", dial, target(), ConnectHeaders::default())).await;
    assert!(matches!(opened, Err(PoolError::Tunnel(Error::Closed))));
    assert_eq!(dials.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_released() {
    let config = Config { idle_timeout: Duration::from_secs(300), ..Config::default() };
    let pool = TestPool::new(config.clone());
    let dial = dialer(Arc::default(), config);
    let opened = pool.connect(&"key", dial, target(), ConnectHeaders::default());
    let stream = opened.await.unwrap();
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(pool.len(), 1, "it is in use");
    drop(stream);
    tokio::time::sleep(Duration::from_secs(299)).await;
    assert_eq!(pool.len(), 1, "it may be used again");
    tokio::time::sleep(Duration::from_secs(302)).await;
    assert_eq!(pool.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dead_peer_is_found_by_ping() {
    // The far end takes the handshake and then never answers again.
    let (near, far) = tokio::io::duplex(1 << 20);
    let client = Client::handshake(near, &Config::default()).await.unwrap();
    let keep_open = far;
    client.ended().await;
    assert!(client.is_retired());
    drop(keep_open);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_is_given_up() {
    let (client, server) = pair(&Config::default()).await;
    let (sent, mut asked) = tokio::sync::mpsc::channel(1);
    serve(server, move |connect| {
        let sent = sent.clone();
        async move {
            sent.send(connect).await.unwrap();
        }
    });
    let began = tokio::time::Instant::now();
    assert!(matches!(connect(&client).await, Err(Error::NoAnswer)));
    assert_eq!(began.elapsed(), Config::default().answer_timeout);
    // Nobody waits for it any longer; the connection goes on.
    if let Ok(late) = asked.recv().await.unwrap().accept(None) {
        late.into_io().read_u8().await.unwrap_err();
    }
    assert!(client.reserve().is_some());
}

#[tokio::test]
async fn aborting_a_client_ends_its_streams() {
    let (client, server) = pair(&Config::default()).await;
    serve(server, |connect| async move {
        let _stream = connect.accept(None).unwrap();
        std::future::pending::<()>().await;
    });
    let mut io = soon(connect(&client)).await.unwrap().0.into_io();
    client.abort();
    assert!(soon(io.read_u8()).await.is_err());
    soon(client.ended()).await;
    assert!(client.reserve().is_none());
}

#[tokio::test]
async fn data_sent_before_the_answer_is_delivered() {
    let (near, far) = tokio::io::duplex(1 << 20);
    let handshake = tokio::spawn(async move { h2::client::handshake(near).await.unwrap() });
    let mut server = Server::handshake(far, &Config::default()).await.unwrap();
    let (send, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().method(Method::CONNECT).uri("10.0.0.1:80").body(()).unwrap();
    let (_response, mut body) = send.ready().await.unwrap().send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"early"), true).unwrap();
    let connect = soon(server.next()).await.unwrap().unwrap();
    let mut io = connect.accept(None).unwrap().into_io();
    tokio::spawn(async move { while server.next().await.is_some() {} });
    let mut early = String::new();
    soon(io.read_to_string(&mut early)).await.unwrap();
    assert_eq!(early, "early");
}
