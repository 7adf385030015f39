//! redis-server with redis-benchmark and redis-cli.

use ambit_tests::missing;

use super::{Scene, Way};

const REQUESTS: u32 = 5_000;
const LARGE_REQUESTS: u32 = 200;
const CLIENTS: u32 = 50;

#[tokio::test]
async fn across_nodes() {
    redis(Way::Tunnel).await;
}

#[tokio::test]
async fn on_one_node() {
    redis(Way::Local).await;
}

async fn redis(way: Way) {
    if missing(&["redis-server", "redis-benchmark", "redis-cli"]).is_some() {
        return;
    }
    let scene = Scene::start(way).await;
    let dir = scene.path("");
    let options = ["--protected-mode", "no", "--bind", "*", "--save", "", "--dir", &dir];
    let _redis = scene.serve(6379, &[&["redis-server"], &options[..]].concat()).await;

    let addresses = cli(&scene, &["CLIENT", "LIST"]).await;
    let address = format!(" addr={}:", scene.client());
    assert!(addresses.contains(&address), "{addresses}");

    benchmark(&scene, REQUESTS, &["-t", "set,get,lpush"]).await;
    benchmark(&scene, LARGE_REQUESTS, &["-t", "set,get", "-d", "100000", "-P", "4"]).await;
    let statistics = cli(&scene, &["INFO", "commandstats"]).await;
    for (command, calls) in [
        ("set", REQUESTS + LARGE_REQUESTS),
        ("get", REQUESTS + LARGE_REQUESTS),
        ("lpush", REQUESTS),
    ] {
        let expected = format!("cmdstat_{command}:calls={calls},");
        assert!(statistics.contains(&expected), "not {expected}\n{statistics}");
    }
    let value = cli(&scene, &["GET", "key:__rand_int__"]).await;
    assert_eq!(value.trim_end().len(), 100_000);
    scene.carried((5 * CLIENTS + 3).into()).await;
    scene.ended().await;
}

async fn cli(scene: &Scene, command: &[&str]) -> String {
    let server = scene.server();
    scene.call(&[&["redis-cli", "-h", &server], command].concat()).await
}

async fn benchmark(scene: &Scene, requests: u32, options: &[&str]) {
    let (server, requests, clients) = (scene.server(), requests.to_string(), CLIENTS.to_string());
    let command = ["redis-benchmark", "-h", &server, "-n", &requests, "-c", &clients, "-q"];
    let command = [&command[..], options].concat();
    let finished = scene.mesh.run("client", &command).await;
    assert!(finished.status.success() && finished.stderr.is_empty(), "{finished:#?}");
}
