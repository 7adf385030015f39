//! A node whose clock is wrong, and right again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ambit_sandbox::{Component, Sandbox, Settings};
use ambit_tests::{eventually, missing};

use crate::whole;

/// Where Debian keeps what tells a program another time.
fn library() -> String {
    format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH)
}

/// A tunnel of `node-2` that lives by the clock in a file, all others by the machine's.
fn settings(dir: &Path) -> (Settings, PathBuf) {
    let (clock, choose) = (dir.join("clock"), dir.join("ztunnel"));
    let mut settings = whole::settings();
    let script = format!(
        "#!/bin/sh\n\
         if [ \"$NODE_NAME\" = node-2 ]; then\n\
         export LD_PRELOAD={} FAKETIME_TIMESTAMP_FILE={} FAKETIME_NO_CACHE=1 \
         FAKETIME_DONT_FAKE_MONOTONIC=1\n\
         fi\n\
         exec {} proxy ztunnel\n",
        library(),
        clock.display(),
        settings.binaries.ztunnel.display()
    );
    fs::write(&choose, script).unwrap();
    fs::set_permissions(&choose, fs::Permissions::from_mode(0o755)).unwrap();
    settings.binaries.ztunnel = choose;
    // What is open stays open; every call is to need certificates.
    // Nobody gets by with a certificate of before.
    settings.ztunnel_env.insert("SECRET_TTL".into(), "4s".into());
    settings.ztunnel_env.insert("POOL_UNUSED_RELEASE_TIMEOUT".into(), "100ms".into());
    (settings, clock)
}

async fn says(sandbox: &Sandbox, node: &str, text: &str) {
    let tunnel = Component::Ztunnel(node.to_owned());
    eventually(|| async {
        let log = sandbox.component_log(&tunnel).unwrap();
        if log.contains(text) { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_named_and_all_is_well_when_it_is_right() {
    if missing(&["curl", "nft", &library()]).is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (settings, clock) = settings(dir.path());
    fs::write(&clock, "+0").unwrap();
    let sandbox = whole::start(settings).await;
    whole::reached(&sandbox, [true, true, true]).await;
    for wrong in ["+25h", "-25h"] {
        fs::write(&clock, wrong).unwrap();
        // Whoever needs no certificate of that node is not hurt.
        whole::reached(&sandbox, [true, false, true]).await;
        says(&sandbox, "node-2", "not valid at this time").await;
        fs::write(&clock, "+0").unwrap();
        whole::reached(&sandbox, [true, true, true]).await;
    }
    sandbox.stop(Duration::from_secs(5)).await.unwrap();
}
