//! The root of the mesh is replaced while traffic runs: no request fails.

use std::process::{Output, Stdio};

use tokio::process::Command;
use tokio::sync::watch;

use super::alone;
use super::kubectl::{done, exec};
use super::shop::{AMBIENT, Client, Shop};

/// Requests, each with a connection of its own, until somebody makes a file.
const LOOP: &str = "until [ -e /tmp/stop ]; do curl -sS -m 5 -o /dev/null http://web/ && echo good || echo bad; done";

async fn rotate(arguments: &[&str]) -> Output {
    let program = std::env::current_exe().unwrap().with_file_name("../ambit");
    let mut command = Command::new(program);
    command.args(["ca", "rotate"]).args(arguments).kill_on_drop(true);
    command.output().await.unwrap()
}

/// The roots that are published.
async fn roots() -> String {
    let path = r"jsonpath={.data.root-cert\.pem}";
    done(&format!("get configmap istio-ca-root-cert -n rotate -o {path}")).await
}

/// One pod after the other, each with a tunnel of its own, asks the server once; how many did.
async fn newcomers(shop: &Shop, mut ended: watch::Receiver<bool>) -> u32 {
    let mut count = 0;
    while !*ended.borrow_and_update() {
        count += 1;
        let name = format!("newcomer-{count}");
        shop.client(Client { name: &name, node: "node1", labels: "" }).await;
        done(&format!("wait --for=condition=Ready pod/{name} --timeout=60s -n rotate")).await;
        shop.expect(&name, "web", true).await;
        done(&format!("delete pod/{name} -n rotate --wait=false")).await;
    }
    count
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn the_root_is_replaced_without_a_failed_request() {
    let _cluster = alone().await;
    let shop = Shop::open("rotate", AMBIENT).await;
    shop.expect("client", "web", true).await;
    let first = roots().await;
    assert_eq!(first.matches("BEGIN").count(), 1, "{first}");
    let traffic = Command::new("kubectl")
        .args(["exec", "-n", "rotate", "client", "--", "sh", "-c", LOOP])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();

    // Interrupted after the first step, and taken back.
    let interrupted = rotate(&["--wait", "0"]).await;
    assert!(!interrupted.status.success(), "{interrupted:?}");
    let status = rotate(&["--status"]).await;
    assert!(String::from_utf8_lossy(&status.stdout).contains("the old one signs"), "{status:?}");
    let aborted = rotate(&["--abort"]).await;
    assert!(aborted.status.success(), "{aborted:?}");
    assert_eq!(roots().await.trim(), first.trim());

    // Interrupted, taken up again, and finished.
    let interrupted = rotate(&["--wait", "0"]).await;
    assert!(!interrupted.status.success(), "{interrupted:?}");
    let (end, ended) = watch::channel(false);
    let rotation = async {
        let rotated = rotate(&[]).await;
        end.send_replace(true);
        rotated
    };
    let (rotated, newcomers) = tokio::join!(rotation, newcomers(&shop, ended));
    assert!(rotated.status.success(), "{rotated:?}");
    let last = roots().await;
    assert_eq!(last.matches("BEGIN").count(), 1, "{last}");
    assert_ne!(last.trim(), first.trim());
    assert!(newcomers > 2, "{newcomers} pods with tunnels of their own met the rotation");

    exec("rotate", "client", &["touch", "/tmp/stop"]).await.unwrap();
    let said = traffic.wait_with_output().await.unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let count = |word| said.lines().filter(|line| *line == word).count();
    assert_eq!(count("bad"), 0);
    assert!(count("good") > 100, "{} requests met the rotation", count("good"));
    shop.close().await;
}
