//! The rules that introductions to service meshes show, each in its turn put beside the shop while that runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ambit_sandbox::{Binaries, Component, Options, Sandbox, Settings, Source};
use ambit_tests::{binary, eventually, missing};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);

/// A client that the mesh does not know.
const OUTSIDER: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: outside}
---
apiVersion: v1
kind: Pod
metadata: {name: outsider, namespace: outside}
spec: {containers: [{name: c, command: [sleep, infinity]}]}
";

/// The shop in a directory that files come into and go out of.
struct Shop {
    sandbox: Sandbox,
    dir: TempDir,
}

impl Shop {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["10-namespace.yaml", "20-reviews.yaml", "30-client.yaml"] {
            fs::copy(examples().join("shop").join(name), dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("50-outsider.yaml"), OUTSIDER).unwrap();
        let mut options = Options::new(Source::Directory(dir.path().to_owned()))
            .with_mesh(Settings::from(Binaries::beside_this().unwrap()));
        let echo = binary("echo").to_str().unwrap().to_owned();
        options.images.insert("ambit.dev/echo".to_owned(), vec![echo]);
        let sandbox = Sandbox::start(options).await.unwrap();
        sandbox.ready(LIMIT).await.unwrap();
        Self { sandbox, dir }
    }

    /// Puts an example in the place of those before it.
    fn put(&self, example: &str) {
        let file = examples().join("rules").join(example);
        fs::copy(file, self.dir.path().join("40-routes.yaml")).unwrap();
    }

    /// What curl prints in a pod, whether or not it is content.
    async fn curl(&self, pod: &str, arguments: &[&str]) -> String {
        let command = [&["curl", "-s", "-m", "20"], arguments].concat();
        self.sandbox.exec(pod, &command).await.unwrap().stdout
    }

    /// How many of the answers to so many requests came from each version.
    async fn versions(&self, requests: usize, more: &[&str]) -> [usize; 2] {
        let url = format!("http://reviews.shop/?[1-{requests}]");
        let answers = self.curl("client", &[more, &[&url]].concat()).await;
        ["v1", "v2"]
            .map(|version| answers.matches(&format!("\"name\":\"reviews-{version}")).count())
    }

    /// Status and seconds of so many requests.
    async fn timed(&self, more: &[&str], url: &str) -> Vec<(u16, f64)> {
        let format = ["-o", "/dev/null", "-w", "%{http_code} %{time_total}\\n"];
        let lines = self.curl("client", &[&format[..], more, &[url]].concat()).await;
        let pair = |line: &str| {
            let (code, seconds) = line.split_once(' ')?;
            Some((code.parse().ok()?, seconds.parse().ok()?))
        };
        lines.lines().filter_map(pair).collect()
    }
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

#[tokio::test]
async fn what_introductions_show_does_what_they_say() {
    if missing(&["curl", "nft"]).is_some() {
        return;
    }
    let shop = Shop::open().await;
    for version in ["split-v1beta1.yaml", "split-v1alpha3.yaml"] {
        shop.put(version);
        ten_in_a_hundred(&shop).await;
        shop.put("canary.yaml");
        by_header(&shop, "canary: true").await;
    }
    shop.put("beta-users.yaml");
    by_header(&shop, "x-user-type: beta").await;
    shop.put("faults.yaml");
    faults(&shop).await;
    shop.put("mirror.yaml");
    mirror(&shop).await;
    shop.put("limits.yaml");
    limits(&shop).await;
    shop.put("strict.yaml");
    strict(&shop).await;
    shop.sandbox.stop(Duration::from_secs(2)).await.unwrap();
}

async fn ten_in_a_hundred(shop: &Shop) {
    eventually(|| async {
        match shop.versions(400, &[]).await {
            // Six standard deviations around forty.
            [first, second @ 4..=76] if first + second == 400 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

async fn by_header(shop: &Shop, header: &str) {
    eventually(|| async {
        let with = shop.versions(20, &["-H", header]).await;
        let without = shop.versions(20, &[]).await;
        let wrong = shop.versions(20, &["-H", &format!("{header}x")]).await;
        match (with, without, wrong) {
            ([0, 20], [20, 0], [20, 0]) => Ok(()),
            other => Err(format!("{header}: {other:?}")),
        }
    })
    .await;
}

async fn faults(shop: &Shop) {
    eventually(|| async {
        let all = shop.timed(&[], "http://reviews.shop/?[1-400]").await;
        let failed = all.iter().filter(|(code, _)| *code == 503).count();
        let late = all.iter().filter(|(_, seconds)| *seconds >= 0.1).count();
        // Six standard deviations around twenty and forty; on a busy machine others are late as well.
        match (all.len(), failed, late) {
            (400, 1..=46, 4..=200) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

async fn mirror(shop: &Shop) {
    eventually(|| async {
        match shop.versions(200, &[]).await {
            [200, 0] => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // Whatever the second version hears from now on are copies.
    let before = heard(shop).await;
    eventually(|| async {
        assert_eq!(shop.versions(200, &[]).await, [200, 0]);
        let copies = heard(shop).await - before;
        if copies > 0 { Ok(()) } else { Err("nothing is copied".to_owned()) }
    })
    .await;
}

/// The bytes that the second version has received.
async fn heard(shop: &Shop) -> u64 {
    let node = Component::Ztunnel("node-2".to_owned());
    let metrics = shop.sandbox.get(&node, 15020, "/metrics").await.unwrap().1;
    let of_second = |line: &&str| {
        line.starts_with("istio_tcp_received_bytes_total")
            && line.contains("reporter=\"destination\"")
            && line.contains("destination_workload=\"reviews-v2")
    };
    let values = metrics.lines().filter(of_second).filter_map(|line| line.rsplit_once(' '));
    values.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
}

async fn limits(shop: &Shop) {
    eventually(|| async {
        let parallel = ["--parallel", "--parallel-immediate", "--parallel-max", "40"];
        let all = shop.timed(&parallel, "http://reviews.shop/?delay=1500&n=[1-40]").await;
        let of = |status| all.iter().filter(|(code, _)| *code == status).count();
        match (of(200), of(503)) {
            (10, 30) => Ok(()),
            other => Err(format!("{other:?} of {}", all.len())),
        }
    })
    .await;
}

async fn strict(shop: &Shop) {
    let reviews = shop.sandbox.pod("reviews-v1").unwrap().ip();
    let direct = format!("http://{reviews}:8080/");
    eventually(|| async {
        let inside = shop.versions(20, &[]).await;
        let outside = shop.curl("outsider", &[&direct]).await;
        if inside.iter().sum::<usize>() == 20 && outside.is_empty() {
            Ok(())
        } else {
            Err(format!("{inside:?} from within, {outside:?} from without"))
        }
    })
    .await;
    fs::remove_file(shop.dir.path().join("40-routes.yaml")).unwrap();
    eventually(|| async {
        let outside = shop.curl("outsider", &[&direct]).await;
        if outside.contains("reviews-v1") { Ok(()) } else { Err(format!("{outside:?}")) }
    })
    .await;
}
