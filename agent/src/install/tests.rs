//! Installing into directories of the tests' own.

use tempfile::TempDir;

use super::*;

const LIST: &str = r#"{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"ptp"}]}"#;

fn node() -> (TempDir, Installer) {
    let dir = tempfile::tempdir().unwrap();
    for name in ["bin", "net", "sa"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    for (name, content) in [
        ("plugin", "program"),
        ("net/10-net.conflist", LIST),
        ("sa/token", "t1"),
        ("sa/ca.crt", "ca"),
    ] {
        fs::write(dir.path().join(name), content).unwrap();
    }
    let at = |name: &str| dir.path().join(name);
    let config = InstallConfig {
        plugin: at("plugin"),
        bin_dir: at("bin"),
        net_dir: at("net"),
        net_dir_on_node: "/etc/cni/net.d".into(),
        run_dir: "/run/agent".into(),
        service_account: at("sa"),
        api_server: "https://10.96.0.1:443".into(),
        own_list: false,
        exclude_namespaces: vec!["kube-system".into()],
        system_namespace: "istio-system".into(),
    };
    (dir, Installer::new(config))
}

fn list(dir: &TempDir) -> Value {
    let text = fs::read_to_string(dir.path().join("net/10-net.conflist")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn installed_once_repaired_and_taken_out_without_trace() {
    let (dir, installer) = node();
    let namespaces = ["shop".to_owned()];
    assert_eq!(installer.repair(&namespaces).unwrap().len(), 4);
    assert_eq!(installer.repair(&namespaces).unwrap(), Vec::<String>::new());
    let plugin = &list(&dir)["plugins"][1];
    assert_eq!(plugin["kubeconfig"], "/etc/cni/net.d/ambit-cni.kubeconfig");
    let program = dir.path().join("bin/ambit-cni");
    assert_eq!(mode_of(&program).unwrap(), 0o755);
    assert_eq!(mode_of(&dir.path().join("net/ambit-cni.kubeconfig")).unwrap(), 0o600);

    // Another plugin rewrites the list, the program is damaged, the token is a new one.
    fs::write(dir.path().join("net/10-net.conflist"), LIST).unwrap();
    fs::write(&program, "").unwrap();
    fs::write(dir.path().join("sa/token"), "t2").unwrap();
    assert_eq!(installer.repair(&namespaces).unwrap().len(), 3);
    assert_eq!(list(&dir)["plugins"][1]["type"], PLUGIN);

    for _ in 0..2 {
        installer.uninstall().unwrap();
    }
    assert_eq!(list(&dir), serde_json::from_str::<Value>(LIST).unwrap());
    assert_eq!(names(&dir.path().join("net")).unwrap(), ["10-net.conflist"]);
    assert_eq!(names(&dir.path().join("bin")).unwrap(), Vec::<String>::new());
}

#[test]
fn a_list_of_our_own_follows_the_first_and_leaves_it_alone() {
    let (dir, mut installer) = node();
    let net = dir.path().join("net");
    installer.repair(&[]).unwrap();
    installer.config.own_list = true;
    let own = || {
        let text = fs::read_to_string(net.join(OWN_LIST)).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    for (types, expected) in [(vec!["ptp"], 2), (vec!["calico", "portmap"], 3)] {
        let plugins: Vec<Value> = types.iter().map(|name| json!({"type": name})).collect();
        let theirs = json!({"cniVersion": "1.0.0", "name": "net", "plugins": plugins});
        // As the other way of installing leaves it, or as others rewrite it.
        if types.len() > 1 {
            fs::write(net.join("10-net.conflist"), theirs.to_string()).unwrap();
        }
        assert!(!installer.repair(&[]).unwrap().is_empty());
        assert_eq!(installer.repair(&[]).unwrap(), Vec::<String>::new());
        assert_eq!(list(&dir), theirs);
        let chain = own()["plugins"].as_array().unwrap().clone();
        assert_eq!((chain.len(), &chain[expected - 1]["type"]), (expected, &json!(PLUGIN)));
        assert_eq!(plugins_of(&net).unwrap().0, net.join(OWN_LIST));
    }
    installer.uninstall().unwrap();
    assert_eq!(names(&net).unwrap(), ["10-net.conflist"]);

    // Back to the other way.
    installer.repair(&[]).unwrap();
    installer.config.own_list = false;
    installer.repair(&[]).unwrap();
    assert!(!net.join(OWN_LIST).exists());
    assert_eq!(list(&dir)["plugins"][2]["type"], PLUGIN);
}

#[test]
fn each_obstacle_is_named() {
    let (dir, installer) = node();
    let path = dir.path().join("net/10-net.conflist");
    let problem = || installer.repair(&[]).unwrap_err().to_string();
    fs::write(&path, "{}").unwrap();
    assert!(problem().contains("10-net.conflist cannot be changed: it has no plugins"));
    fs::write(dir.path().join("net/05-old.conf"), "{}").unwrap();
    assert!(problem().contains("05-old.conf, is no list"), "{}", problem());
    fs::remove_file(dir.path().join("net/05-old.conf")).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(problem().contains("has no CNI configuration yet"));
    fs::remove_dir(dir.path().join("bin")).unwrap_or_else(|_| {
        fs::remove_dir_all(dir.path().join("bin")).unwrap();
    });
    assert!(problem().contains("bin/ambit-cni: No such file"), "{}", problem());
}

#[tokio::test]
async fn what_others_rewrite_is_repaired_at_once() {
    let (dir, installer) = node();
    let (sender, namespaces) = watch::channel(None);
    let installed = Gauge::default();
    let running = tokio::spawn(installer.run(namespaces, installed.clone()));
    let is_in = || list(&dir)["plugins"].as_array().unwrap().len() == 2;
    let eventually = async || {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while !is_in() {
            assert!(tokio::time::Instant::now() < deadline, "not installed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    sender.send(Some(vec!["shop".to_owned()])).unwrap();
    for _ in 0..3 {
        eventually().await;
        let new = dir.path().join("net/new");
        fs::write(&new, LIST).unwrap();
        fs::rename(&new, dir.path().join("net/10-net.conflist")).unwrap();
    }
    eventually().await;
    running.abort();
}
