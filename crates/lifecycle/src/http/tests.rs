use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

fn router() -> Router {
    Router::new()
        .with_index("an endpoint")
        .get("/read", "reads", ReadHandler(|_| text(http::StatusCode::OK, "read\n")))
        .post("/write", "writes", |_| async { text(http::StatusCode::OK, "written\n") })
        .any(
            "/echo",
            "shows a parameter",
            ReadHandler(|request| {
                let value = query_value(&request, "x").unwrap_or_default().into_owned();
                text(http::StatusCode::OK, value)
            }),
        )
}

/// A running server's address and its drain.
fn start() -> (SocketAddr, Drain) {
    let server = HttpServer::new("test", bind_loopback(0).unwrap(), router()).unwrap();
    let address = server.local_addrs()[0];
    let drain = Drain::default();
    server.serve(&drain);
    (address, drain)
}

/// What the server answers to these bytes until it closes.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("no end of the answer");
    String::from_utf8(answer).unwrap()
}

async fn ask(address: SocketAddr, line: &str) -> String {
    exchange(address, &format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn routes() {
    let (address, _drain) = start();
    for (line, status, body) in [
        ("GET /read", "200 OK", "read\n"),
        ("GET /read?x=y", "200 OK", "read\n"),
        ("HEAD /read", "200 OK", ""),
        ("POST /read", "405 Method Not Allowed", "invalid method\n"),
        ("POST /write", "200 OK", "written\n"),
        ("GET /write", "405 Method Not Allowed", "invalid method\n"),
        ("GET /echo?y=1&x=a%3Db+c", "200 OK", "a=b c"),
        ("DELETE /echo?x", "200 OK", ""),
        ("GET /nothing", "404 Not Found", "not found\n"),
        ("GET //read", "404 Not Found", "not found\n"),
    ] {
        let answer = ask(address, line).await;
        let (head, got) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{line}: {head}");
        assert_eq!(got, body, "{line}");
    }
    assert!(ask(address, "GET /write").await.contains("allow: POST"));
}

#[tokio::test]
async fn the_index_names_every_path() {
    let (address, _drain) = start();
    let answer = ask(address, "GET /").await;
    assert!(answer.contains("content-type: text/html"), "{answer}");
    for line in
        ["<a href=\"/read\">/read</a><td>reads", "POST<td>/write<td>writes", "shows a parameter"]
    {
        assert!(answer.contains(line), "{line}: {answer}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let (address, _drain) = start();
    let long = format!("GET /read HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(2 * MAX_HEAD_BYTES));
    assert!(exchange(address, &long).await.starts_with("HTTP/1.1 431"));
    let many = format!("GET /read HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200));
    assert!(exchange(address, &many).await.starts_with("HTTP/1.1 431"));
    assert!(exchange(address, "\x16\x03\x01 not http\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    assert!(ask(address, "GET /read").await.starts_with("HTTP/1.1 200"), "still serving");
}

#[tokio::test]
async fn a_body_is_not_waited_for() {
    let (address, _drain) = start();
    let head = "POST /write HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 15];
    timeout(DEADLINE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn draining_closes_idle_connections_and_the_listener() {
    let (address, drain) = start();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /read HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();

    let began = Instant::now();
    assert!(drain.finish((began + DEADLINE).into()).await);
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"read\n"));
    assert!(TcpStream::connect(address).await.is_err());
}

#[test]
fn a_port_in_use_is_named() {
    let taken = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = taken.local_addr().unwrap();
    let error = bind_loopback(address.port()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[test]
fn wildcard_takes_both_families() {
    let listeners = bind_wildcard(0).unwrap();
    let port = listeners[0].local_addr().unwrap().port();
    std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
}
