//! What tests need of the machine: privileges, programs, our own binaries.

use std::path::PathBuf;

/// Why a test cannot run here, if it cannot: no privileges, or one of `programs` is not installed.
///
/// On a user's machine the test then counts as skipped and says so; with `CI=true` it fails.
///
/// # Panics
/// If something is missing and `CI` is `true`.
pub fn missing(programs: &[&str]) -> Option<String> {
    let reason = match ambit_sandbox::supported() {
        Err(error) => Some(error.to_string()),
        Ok(()) => programs
            .iter()
            .find(|program| find(program).is_none())
            .map(|program| format!("{program} is not installed")),
    }?;
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
    println!("skipped: {reason}");
    Some(reason)
}

/// Where a program is: on the PATH, among the system's servers, or where Debian keeps PostgreSQL's.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let postgres = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .chain(postgres.flatten().map(|version| version.path().join("bin")))
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}

/// One of this workspace's binaries, built beside the test or program.
///
/// # Panics
/// It has not been built.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own path");
    let mut dirs = test.ancestors().skip(1).skip_while(|dir| dir.ends_with("deps"));
    let dir = dirs.next().expect("it lives in target/<profile>, or in deps there");
    let path = dir.join(name);
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build --workspace --all-targets` first",
        path.display()
    );
    path
}
