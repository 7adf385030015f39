//! curl and nginx.

use std::collections::BTreeSet;
use std::fs;

use ambit_tests::{eventually, missing};

use super::{Scene, VIP, Way, program};

/// What one page is big enough for that it does not fit into any buffer on the way.
const BIG: usize = 24 << 20;
const PARALLEL: usize = 50;

#[tokio::test]
async fn across_nodes() {
    curl_and_nginx(Way::Tunnel).await;
}

#[tokio::test]
async fn on_one_node() {
    curl_and_nginx(Way::Local).await;
}

async fn curl_and_nginx(way: Way) {
    if missing(&["curl", "nginx"]).is_some() {
        return;
    }
    let scene = Scene::start(way).await;
    let big: Vec<u8> = (0..BIG).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect();
    let (config, errors) = (scene.write("nginx.conf", config(&scene)), scene.path("error.log"));
    fs::create_dir(scene.path("www")).expect("it can be made");
    scene.write("www/small", "hello from nginx\n");
    let file = scene.write("www/big", &big);
    let _nginx = scene.serve(8080, &[&program("nginx"), "-e", &errors, "-c", &config]).await;

    let server = scene.server();
    for host in [format!("{server}:8080"), VIP.to_owned()] {
        let page = scene.call(&["curl", "-sSf", "-m", "20", &format!("http://{host}/small")]).await;
        assert_eq!(page, "hello from nginx\n", "from {host}");
    }
    one_connection_serves_many_requests(&scene).await;
    let got = scene.path("got");
    let url = format!("http://{VIP}/big");
    scene.call(&["curl", "-sSf", "-m", "40", "-o", &got, &url]).await;
    assert!(fs::read(&got).expect("curl wrote it") == big, "the page differs");
    let url = format!("http://{VIP}/upload");
    scene.call(&["curl", "-sSf", "-m", "40", "-T", &file, &url]).await;
    assert!(
        fs::read(scene.path("www/upload")).expect("nginx wrote it") == big,
        "the upload differs"
    );
    let url = format!("http://{VIP}/small?[1-{PARALLEL}]");
    let parallel = PARALLEL.to_string();
    let command = [
        "curl",
        "-sSf",
        "-m",
        "40",
        "--parallel",
        "--parallel-immediate",
        "--parallel-max",
        &parallel,
        &url,
    ];
    let pages = scene.call(&command).await;
    assert_eq!(pages, "hello from nginx\n".repeat(PARALLEL));

    saw(&scene).await;
    scene.carried(5 + PARALLEL as u64).await;
    scene.ended().await;
}

async fn one_connection_serves_many_requests(scene: &Scene) {
    let url = format!("http://{VIP}/small");
    let missing = format!("http://{VIP}/missing");
    let format = "%{http_code} %{num_connects}\\n";
    let discard = ["-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null"];
    let curl = ["curl", "-sS", "-m", "20", "-w", format, &url, &missing, &url];
    let codes = scene.call(&[&curl[..], &discard].concat()).await;
    assert_eq!(codes, "200 1\n404 0\n200 0\n");
}

/// What nginx says of the requests: every one came from the client's own address.
async fn saw(scene: &Scene) {
    let requests = 2 + 3 + 2 + PARALLEL;
    let log = eventually(|| async {
        let log = scene.read("access.log");
        let count = log.lines().count();
        if count == requests {
            Ok(log)
        } else {
            Err(format!("{count} of {requests} requests:\n{log}"))
        }
    })
    .await;
    let addresses: BTreeSet<&str> = log.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(addresses, [&*scene.client()].into());
}

fn config(scene: &Scene) -> String {
    let dir = scene.path("");
    format!(
        "daemon off; user root; worker_processes 2; pid {dir}nginx.pid;
        events {{ worker_connections 512; }}
        http {{
            log_format seen '$remote_addr $request_uri $status';
            access_log {dir}access.log seen;
            client_body_temp_path {dir}body; proxy_temp_path {dir}proxy; fastcgi_temp_path {dir}fastcgi;
            uwsgi_temp_path {dir}uwsgi; scgi_temp_path {dir}scgi;
            server {{
                listen 8080; root {dir}www; sendfile on;
                location /upload {{ client_max_body_size 0; dav_methods PUT; }}
            }}
        }}"
    )
}
