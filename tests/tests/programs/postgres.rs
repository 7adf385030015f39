//! PostgreSQL with pgbench and psql.

use std::fs::OpenOptions;
use std::io::Write;

use ambit_tests::{Running, eventually, missing};

use super::{Scene, Way, program};

const ACCOUNTS: u32 = 100_000;

#[tokio::test]
async fn across_nodes() {
    postgres(Way::Tunnel).await;
}

#[tokio::test]
async fn on_one_node() {
    postgres(Way::Local).await;
}

async fn postgres(way: Way) {
    if missing(&["initdb", "postgres", "pg_isready", "pgbench", "psql", "setpriv", "unshare"])
        .is_some()
    {
        return;
    }
    let scene = Scene::start(way).await;
    let _server = start(&scene).await;
    assert_eq!(ask(&scene, "select inet_client_addr()").await, scene.client());

    // The client makes the rows and sends them by COPY.
    pgbench(&scene, &["--initialize", "--init-steps=dtgp", "--quiet"]).await;
    assert_eq!(ask(&scene, "select count(*) from pgbench_accounts").await, ACCOUNTS.to_string());
    let report = pgbench(&scene, &["--client=8", "--jobs=2", "--transactions=25"]).await;
    assert!(report.contains("actually processed: 200/200"), "{report}");
    let consistent = "select count(*), sum(delta) = (select sum(abalance) from pgbench_accounts) from pgbench_history";
    assert_eq!(ask(&scene, consistent).await, "200|t");
    // A connection for each transaction.
    let report =
        pgbench(&scene, &["--client=4", "--transactions=10", "--connect", "--select-only"]).await;
    assert!(report.contains("actually processed: 40/40"), "{report}");
    let all = ask(&scene, "select aid from pgbench_accounts order by aid").await;
    assert!(all.lines().eq((1..=ACCOUNTS).map(|aid| aid.to_string())), "rows differ");
    scene.carried(8 + 40).await;
    scene.ended().await;
}

/// A new database on port 5432, which anybody may use.
async fn start(scene: &Scene) -> Running {
    let data = scene.path("data");
    let as_postgres =
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=KILL"];
    scene.prepare(&["install", "-d", "-o", "postgres", "-m", "700", &data]).await;
    let initdb = program("initdb");
    let initialize =
        [&*initdb, "-D", &data, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
    scene.prepare(&[&as_postgres, &initialize[..]].concat()).await;
    let access = OpenOptions::new().append(true).open(format!("{data}/pg_hba.conf"));
    writeln!(access.expect("initdb made it"), "host all all all trust").expect("it can be written");
    // What it keeps in System V shared memory goes with its IPC namespace.
    let postgres = program("postgres");
    let server = [&*postgres, "-D", &data, "-c", "listen_addresses=*", "-c", "fsync=off"];
    let no_files_elsewhere =
        ["-c", "unix_socket_directories=", "-c", "dynamic_shared_memory_type=mmap"];
    let command = [&["unshare", "--ipc"], &as_postgres[..], &server, &no_files_elsewhere].concat();
    let server = scene.serve(5432, &command).await;
    eventually(|| async {
        let ready = scene.mesh.run("server", &["pg_isready", "-h", "127.0.0.1"]).await;
        if ready.status.success() { Ok(()) } else { Err(ready.stdout) }
    })
    .await;
    server
}

async fn ask(scene: &Scene, query: &str) -> String {
    let server = scene.server();
    let options = ["-h", &server, "-U", "postgres", "-X", "-A", "-t", "-c", query];
    scene.call(&[&["psql"], &options[..]].concat()).await.trim_end().to_owned()
}

async fn pgbench(scene: &Scene, options: &[&str]) -> String {
    let server = scene.server();
    let command = ["pgbench", "-h", &server, "-U", "postgres"];
    let command = [&command[..], options, &["postgres"]].concat();
    scene.call(&command).await
}
