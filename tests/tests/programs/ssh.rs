//! OpenSSH: the server speaks first.

use std::time::Duration;

use ambit_tests::{Running, missing};

use super::{Scene, Way, program};

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn across_nodes() {
    ssh(Way::Tunnel).await;
}

#[tokio::test]
async fn on_one_node() {
    ssh(Way::Local).await;
}

async fn ssh(way: Way) {
    if missing(&["ssh", "sshd", "ssh-keygen", "nc", "unshare"]).is_some() {
        return;
    }
    let scene = Scene::start(way).await;
    let _sshd = start(&scene).await;
    let (server, key) = (scene.server(), scene.path("client_key"));

    // A client that never says a word hears the greeting.
    let mut silent = scene.mesh.start("client", &["nc", &server, "22"]);
    let greeting = silent.line().await;
    assert!(greeting.starts_with("SSH-2.0-OpenSSH"), "{greeting:?}");
    drop(silent);

    let known = format!("UserKnownHostsFile={}", scene.path("known_hosts"));
    let options = [
        "-F",
        "none",
        "-o",
        &known,
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "BatchMode=yes",
        "-i",
        &key,
    ];
    let host = format!("root@{server}");
    let command = [&["ssh"], &options[..], &[&host, "echo $SSH_CONNECTION; cat"]].concat();
    let text: String = (0..200_000).map(|line| format!("line {line}\n")).collect();
    let answer = scene.mesh.run_with("client", &command, text.as_bytes(), LIMIT).await.ok();
    let (connection, echoed) = answer.split_once('\n').expect("it answers");
    assert!(connection.starts_with(&format!("{} ", scene.client())), "{connection}");
    assert!(echoed == text, "the text differs");

    let log = scene.read("sshd.log");
    let accepted = format!("Accepted publickey for root from {} port ", scene.client());
    assert!(log.contains(&accepted), "{log}");
    scene.carried(2).await;
    scene.ended().await;
}

/// sshd with keys of its own; root may log in with the client's.
async fn start(scene: &Scene) -> Running {
    for name in ["host_key", "client_key"] {
        let key = scene.path(name);
        scene.prepare(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", &key]).await;
    }
    let host_key = scene.read("host_key.pub");
    scene.write("known_hosts", format!("{} {host_key}", scene.server()));
    let (key, authorized) = (scene.path("host_key"), scene.path("client_key.pub"));
    let config = scene.write(
        "sshd_config",
        format!(
            "HostKey {key}\nAuthorizedKeysFile {authorized}\nPermitRootLogin prohibit-password\n\
             StrictModes no\nUsePAM no\nPermitUserRC no\nPidFile none\nUseDNS no\n"
        ),
    );
    // What it demands of the machine is given to it alone: a directory, and a root account that is not locked.
    let shadow = scene.write("shadow", "root:*:1::::::\n");
    let script = "mount -t tmpfs tmpfs /run && mkdir /run/sshd && mount --bind \"$1\" /etc/shadow && shift && exec \"$@\"";
    let (sshd, log) = (program("sshd"), scene.path("sshd.log"));
    let furnished = ["unshare", "--mount", "sh", "-c", script, "sh", &shadow];
    let command = [&furnished[..], &[&sshd, "-D", "-E", &log, "-f", &config]].concat();
    scene.serve(22, &command).await
}
