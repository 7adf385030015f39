//! The server and the client against each other, and against programs nobody here wrote.

#![allow(clippy::unwrap_used)] // Helpers of tests are no test functions to clippy.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

const ECHO: &str = env!("CARGO_BIN_EXE_echo");

/// A running server that ends with the test.
struct Server {
    child: Child,
    listening: Value,
}

impl Server {
    fn start() -> Self {
        let arguments = [
            ["--name", "unit-1"],
            ["--http", "127.0.0.1:0"],
            ["--tls", "127.0.0.1:0"],
            ["--grpc", "127.0.0.1:0"],
            ["--tcp", "127.0.0.1:0"],
            ["--tcp-banner", "127.0.0.1:0"],
            ["--udp-dns", "127.0.0.1:0"],
            ["--dns-record", "a.example=192.0.2.1"],
            ["--dns-record", "a.example=2001:db8::1"],
            ["--dns-record", "v4.example=192.0.2.2"],
        ];
        let mut command = Command::new(ECHO);
        command.arg("serve").args(arguments.as_flattened()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, listening: serde_json::from_str(&line).unwrap() }
    }

    fn address(&self, protocol: &str) -> SocketAddr {
        self.listening["listening"][protocol][0].as_str().unwrap().parse().unwrap()
    }

    fn url(&self, scheme: &str, protocol: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.address(protocol))
    }

    /// The answers of `echo call` with these arguments.
    fn call(&self, arguments: &[&str]) -> Vec<Value> {
        let output = call(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn call(arguments: &[&str]) -> Output {
    Command::new(ECHO).arg("call").args(arguments).output().unwrap()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_protocol_tells_what_the_server_saw() {
    let server = Server::start();
    for (scheme, protocol, told, path) in [
        ("http", "http", "HTTP/1.1", "/p?q=1"),
        ("h2c", "http", "HTTP/2.0", "/p?q=1"),
        ("ws", "http", "websocket", "/p?q=1"),
        ("https", "tls", "HTTP/2.0", "/p?q=1"),
        ("grpc", "grpc", "grpc", "/ambit.echo.v1.Echo/Say"),
        ("tcp", "tcp", "tcp", ""),
        ("tcp", "tcpBanner", "tcp", ""),
    ] {
        let url = server.url(scheme, protocol, if scheme == "grpc" { "" } else { path });
        let answers =
            server.call(&[&url, "--data", "some text", "-H", "x-test: yes", "--count", "2"]);
        assert_eq!(answers.len(), 2, "{url}");
        for answer in answers {
            assert_eq!(answer["name"], "unit-1", "{url}");
            assert_eq!(answer["protocol"], told, "{url}");
            assert_eq!(answer["local"], server.address(protocol).to_string(), "{url}");
            assert!(answer["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{url}");
            if scheme != "tcp" {
                assert_eq!(answer["path"], path, "{url}");
                assert_eq!(answer["headers"]["x-test"], "yes", "{url}");
            }
        }
    }
}

#[test]
fn connections_are_kept_unless_told_otherwise() {
    let server = Server::start();
    for (scheme, protocol) in
        [("http", "http"), ("h2c", "http"), ("https", "tls"), ("grpc", "grpc")]
    {
        let url = server.url(scheme, protocol, "");
        let peers = |extra: &[&str]| {
            let answers = server.call(&[&[&url, "--count", "3"], extra].concat());
            let mut peers: Vec<_> = answers.iter().map(|a| a["peer"].to_string()).collect();
            peers.dedup();
            peers.len()
        };
        assert_eq!(peers(&[]), 1, "{url}");
        assert_eq!(peers(&["--fresh"]), 3, "{url}");
    }
}

#[test]
fn tls_tells_sni_and_alpn() {
    let server = Server::start();
    let url = server.url("tls", "tls", "/");
    let answer = &server.call(&[&url, "--sni", "shop.example"])[0];
    assert_eq!(answer["tls"]["sni"], "shop.example");
    assert_eq!(answer["tls"]["alpn"], "h2");
    assert_eq!(answer["tls"]["version"], "TLSv1_3");
    assert_eq!(server.call(&[&url])[0]["tls"]["sni"], Value::Null, "an address is no SNI");
}

#[test]
fn failures_are_told() {
    let server = Server::start();
    for (arguments, message) in [
        (vec![server.url("http", "http", "/?status=503")], "HTTP status 503"),
        (vec!["http://127.0.0.1:1".to_owned()], "connecting to 127.0.0.1:1"),
        (vec!["gopher://127.0.0.1:1".to_owned()], "no scheme of"),
        (
            vec![server.url("http", "http", "/?delay=60000"), "--timeout".into(), "1".into()],
            "no answer within 1 s",
        ),
    ] {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let output = call(&arguments);
        assert!(!output.status.success(), "{arguments:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.starts_with("error: ") && told.contains(message), "{told}");
    }
}

#[test]
fn curl_understands_it() {
    let server = Server::start();
    let seen =
        |arguments: &[&str]| -> Value { serde_json::from_str(&run("curl", arguments)).unwrap() };
    let url = server.url("http", "http", "/x");
    let answer = seen(&["-sS", "-X", "PUT", "-d", "body", "-H", "host: shop", &url]);
    assert_eq!((&answer["method"], &answer["host"]), (&"PUT".into(), &"shop".into()));
    assert_eq!((&answer["body"], &answer["bodyBytes"]), (&"body".into(), &4.into()));
    assert_eq!(seen(&["-sS", "--http2-prior-knowledge", &url])["protocol"], "HTTP/2.0");
    assert_eq!(
        seen(&["-sSk", "--http1.1", &server.url("https", "tls", "/")])["tls"]["alpn"],
        "http/1.1"
    );
    let many = run("curl", &["-sS", &server.url("http", "http", "/?bytes=100000")]);
    assert_eq!(many.len(), 100_000);
}

#[test]
fn dig_understands_it() {
    let server = Server::start();
    let port = server.address("udpDns").port().to_string();
    let dig = |name: &str, kind: &str, option: &str| {
        run("dig", &["@127.0.0.1", "-p", &port, "+tries=1", option, name, kind])
    };
    assert_eq!(dig("a.example", "A", "+short").trim(), "192.0.2.1");
    assert_eq!(dig("A.Example", "AAAA", "+short").trim(), "2001:db8::1");
    assert!(dig("v4.example", "AAAA", "+comments").contains("NOERROR"));
    assert!(dig("none.example", "A", "+comments").contains("NXDOMAIN"));
}

#[test]
fn only_a_banner_server_speaks_first_and_both_carry_half_close() {
    let server = Server::start();
    let connect = |protocol: &str| {
        let stream = TcpStream::connect(server.address(protocol)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    };
    let mut banner = BufReader::new(connect("tcpBanner"));
    let mut line = String::new();
    banner.read_line(&mut line).unwrap();
    assert!(line.contains("\"protocol\":\"tcp\""), "{line}");

    let mut silent = connect("tcp");
    silent.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(silent.read(&mut [0]).is_err(), "it spoke first");
    silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    silent.write_all(b"one").unwrap();
    silent.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    silent.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("}\none"), "{answer}");
}

#[test]
fn a_signal_ends_it_well() {
    let mut server = Server::start();
    let pid = server.child.id().to_string();
    run("kill", &["-TERM", &pid]);
    assert!(server.child.wait().unwrap().success());
}
