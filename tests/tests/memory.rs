//! What open connections cost the tunnels in memory: a figure of the product, held here for a build without
//! optimisation.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use ambit_tests::{DEADLINE, Mesh, eventually, missing};
use socket2::SockRef;

const CONNECTIONS: usize = 2_000;
/// What a connection may take on each node, bytes.
const LIMIT: usize = 9_000;
/// What a node's tunnel may keep after all of them, bytes.
const LEFT: usize = 2_000_000;
const PORT: u16 = 8080;

/// The ends of connections that have carried a byte each way.
fn open(mesh: &Mesh, listener: &TcpListener, count: usize) -> Vec<TcpStream> {
    let (client, address) = (mesh.pod("client").room(), (mesh.ip("server"), PORT));
    let connect = move || {
        let streams = (0..count).map(|_| TcpStream::connect(address.clone()));
        streams.collect::<std::io::Result<Vec<_>>>()
    };
    let clients = client.run(connect).unwrap().unwrap();
    // All before the first is accepted: they arrive in any order.
    clients.iter().for_each(|mut client| client.write_all(b"?").unwrap());
    SockRef::from(listener).set_read_timeout(Some(DEADLINE)).unwrap();
    let servers = (0..count).map(|_| {
        let (mut server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(DEADLINE)).unwrap();
        server.read_exact(&mut [0]).unwrap();
        server.write_all(b"!").unwrap();
        server
    });
    let servers: Vec<_> = servers.collect();
    clients.iter().for_each(|client| client.set_read_timeout(Some(DEADLINE)).unwrap());
    clients.iter().for_each(|mut client| client.read_exact(&mut [0]).unwrap());
    clients.into_iter().chain(servers).collect()
}

/// Resident memory of a node's tunnel, bytes.
fn resident(mesh: &Mesh, node: &str) -> usize {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", mesh.pid(node))).unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_open_connection_takes_a_few_kilobytes() {
    if missing(&[]).is_some() {
        return;
    }
    ambit_net::raise_descriptor_limit().unwrap();
    let mesh = Mesh::builder()
        .pod("client", "n1")
        .pod("server", "n2")
        .env("POOL_UNUSED_RELEASE_TIMEOUT", "1s")
        .start()
        .await;
    let listen = || TcpListener::bind(("0.0.0.0", PORT));
    let listener = mesh.pod("server").room().run(listen).unwrap().unwrap();
    let _first = open(&mesh, &listener, 1);
    let before = ["n1", "n2"].map(|node| resident(&mesh, node));
    let open = (0..CONNECTIONS / 50).flat_map(|_| open(&mesh, &listener, 50));
    let open: Vec<_> = open.collect();
    for (node, before) in ["n1", "n2"].into_iter().zip(before) {
        eventually(|| async {
            let each = resident(&mesh, node).saturating_sub(before) / CONNECTIONS;
            println!("{node}: {each} bytes for each connection");
            if each <= LIMIT { Ok(()) } else { Err(format!("{each} bytes on {node}")) }
        })
        .await;
    }
    drop(open);
    for (node, before) in ["n1", "n2"].into_iter().zip(before) {
        eventually(|| async {
            let more = resident(&mesh, node).saturating_sub(before);
            println!("{node}: {more} bytes after them");
            if more <= LEFT { Ok(()) } else { Err(format!("{more} bytes on {node}")) }
        })
        .await;
    }
}
