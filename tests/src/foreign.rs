//! Programs that are built from pinned Go modules, once: `tests/foreign`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::find;

/// Where these programs are, which are built first if need be: minutes, the first time. `None` without Go where one is
/// missing; then the test counts as skipped, and fails with `CI=true`.
///
/// # Panics
/// One cannot be built, or Go is missing and `CI` is `true`.
pub fn foreign<const N: usize>(names: [&str; N]) -> Option<[PathBuf; N]> {
    // Each is built by one test, and the others wait.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one = BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = Command::new("python3")
        .args(["-c", "import sys, programs; programs.build(*sys.argv[1:])"])
        .args(names)
        .current_dir(tests.join("cluster"))
        .output()
        .expect("python3 starts");
    let said = String::from_utf8_lossy(&built.stderr);
    if !built.status.success() {
        assert!(find("go").is_none() && std::env::var("CI").as_deref() != Ok("true"), "{said}");
        println!("skipped: {}", said.trim());
        return None;
    }
    Some(names.map(|name| tests.join("../target/cluster").join(name)))
}
