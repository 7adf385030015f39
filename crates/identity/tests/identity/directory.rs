//! The directory of a certificate authority: made once, checked always.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use ambit_identity::{CA_CERT, CA_KEY, CERT_CHAIN, LocalCa, LocalCaError, ROOT_CERT};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::fixtures::HOUR;

const DIR: &str = "AMBIT_TEST_CA_DIR";

fn open(dir: &Path) -> Result<LocalCa, LocalCaError> {
    LocalCa::open_or_create(dir, SystemTime::now())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A directory with a good certificate authority in it.
fn made() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap();
    dir
}

#[test]
fn is_made_when_missing_or_empty_and_kept_afterwards() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("deep/er");
    let first = open(&dir).unwrap();
    let files =
        [ROOT_CERT, CA_CERT, CA_KEY].map(|name| fs::read_to_string(dir.join(name)).unwrap());
    assert_eq!(
        [mode(&dir), mode(&dir.join(CA_KEY)), mode(&dir.join(ROOT_CERT))],
        [0o700, 0o600, 0o644]
    );
    let second = open(&dir).unwrap();
    let again =
        [ROOT_CERT, CA_CERT, CA_KEY].map(|name| fs::read_to_string(dir.join(name)).unwrap());
    assert_eq!(files, again);
    assert_eq!(first.roots_pem(), second.roots_pem());
    let ten_years = first.not_after().duration_since(SystemTime::now()).unwrap() / 3652;
    assert!((23 * HOUR..=24 * HOUR).contains(&ten_years), "{ten_years:?}");
    let mut left: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".lock", CA_CERT, CA_KEY, ROOT_CERT], "nothing half made stays behind");
}

/// Started by the next test in processes of its own.
#[test]
#[ignore = "the child of another test"]
fn child_opens_the_directory() {
    let dir = std::env::var_os(DIR).expect("set by the parent");
    println!("roots={}", open(Path::new(&dir)).unwrap().roots_pem().replace('\n', "|"));
}

#[test]
fn eight_processes_and_eight_threads_end_with_the_same_one() {
    for _ in 0..3 {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("ca");
        let children: Vec<_> = (0..8)
            .map(|_| {
                Command::new(std::env::current_exe().unwrap())
                    .args([
                        "--exact",
                        "directory::child_opens_the_directory",
                        "--ignored",
                        "--nocapture",
                    ])
                    .env(DIR, &dir)
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let dir = dir.clone();
                std::thread::spawn(move || open(&dir).unwrap().roots_pem().replace('\n', "|"))
            })
            .collect();
        let mut seen: Vec<String> =
            threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let roots = text
                .lines()
                .find_map(|line| line.split_once("roots="))
                .unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
            seen.push(roots.1.to_owned());
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 1);
    }
}

#[test]
fn a_maker_that_was_killed_is_followed_by_another() {
    for left_behind in [&[][..], &[CA_KEY], &[CA_KEY, CA_CERT], &[CA_KEY, CA_CERT, ROOT_CERT]] {
        let (dir, other) = (tempfile::tempdir().unwrap(), made());
        for name in left_behind {
            fs::copy(other.path().join(name), dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join(".making"), "").unwrap();
        fs::write(dir.path().join(".ca-key.pem.new"), "half a ke").unwrap();
        let ca = open(dir.path()).unwrap();
        let same = ca.roots_pem() == open(other.path()).unwrap().roots_pem();
        assert_eq!(same, left_behind.len() == 3, "what is complete is kept: {left_behind:?}");
        assert!(!dir.path().join(".making").exists());
        assert_eq!(mode(&dir.path().join(CA_KEY)), 0o600);
    }
}

#[test]
fn a_half_filled_directory_is_left_alone_and_named() {
    for missing in [ROOT_CERT, CA_CERT, CA_KEY] {
        let dir = made();
        fs::remove_file(dir.path().join(missing)).unwrap();
        for lock in [true, false] {
            if !lock {
                fs::remove_file(dir.path().join(".lock")).unwrap();
            }
            let error = open(dir.path()).unwrap_err();
            assert!(
                matches!(&error, LocalCaError::Missing { path } if path.ends_with(missing)),
                "{error}"
            );
            assert!(!dir.path().join(missing).exists());
        }
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = open(&file.join("ca")).unwrap_err();
    assert!(
        matches!(&error, LocalCaError::Write { path, .. } if path.starts_with(&file)),
        "{error}"
    );
}

#[test]
fn each_bad_file_is_named_with_the_next_step() {
    let other = made();
    let other_key = fs::read_to_string(other.path().join(CA_KEY)).unwrap();
    let other_cert = fs::read_to_string(other.path().join(CA_CERT)).unwrap();
    let rsa_public = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".to_owned();
    let not_utf8 = "\u{fffd}".to_owned();
    let damaged = ambit_tls::pem::encode("CERTIFICATE", b"no certificate");
    for (file, content, expected) in [
        (CA_KEY, String::new(), "ca-key.pem: replace it"),
        (CA_KEY, rsa_public, "ca-key.pem: replace it"),
        (
            CA_KEY,
            ambit_tls::pem::encode("PRIVATE KEY", b"x"),
            "ca-key.pem: not a key that can sign",
        ),
        (CA_KEY, other_key, "ca-key.pem: not the key of"),
        (CA_CERT, other_cert.clone(), "ca-key.pem: not the key of"),
        (CA_CERT, not_utf8, "ca-cert.pem: replace it"),
        (CA_CERT, damaged.clone(), "ca-cert.pem: replace it"),
        (ROOT_CERT, damaged, "root-cert.pem: replace it"),
        (ROOT_CERT, other_cert, "ca-cert.pem: what it signs does not lead to any root"),
        (CERT_CHAIN, "junk".to_owned(), "cert-chain.pem: replace it"),
    ] {
        let dir = made();
        fs::write(dir.path().join(file), &content).unwrap();
        let error = open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{file}: {error}");
        assert!(!error.contains('\n') && error.contains(dir.path().to_str().unwrap()), "{error}");
    }
}

#[test]
fn an_unreadable_key_is_named() {
    let dir = made();
    let key = dir.path().join(CA_KEY);
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap(); // A file mode would not stop root.
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(&error, LocalCaError::Read { path, .. } if *path == key), "{error}");
    let dir = made();
    fs::write(dir.path().join(CA_KEY), "x".repeat(2 << 20)).unwrap();
    assert!(matches!(open(dir.path()), Err(LocalCaError::Read { .. })), "too large");
}

#[test]
fn an_expired_certificate_is_named() {
    let dir = made();
    let ca = open(dir.path()).unwrap();
    let later = ca.not_after() + HOUR;
    let error = LocalCa::open_or_create(dir.path(), later).unwrap_err().to_string();
    assert!(error.contains("ca-cert.pem: certificate 0 in it is valid only from"), "{error}");
    assert!(error.ends_with("renew it"), "{error}");
}

/// Writes `root ← signer`, with what the caller changes about the signer.
fn with_intermediate(change: impl FnOnce(&mut CertificateParams)) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let pem = |der: &[u8]| ambit_tls::pem::encode("CERTIFICATE", der);
    let params = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = (SystemTime::now() - HOUR).into();
        params.not_after = (SystemTime::now() + 2 * HOUR).into();
        params
    };
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let root = params("root");
    let root_pem = pem(root.self_signed(&root_key).unwrap().der());
    let root = Issuer::new(root, root_key);
    let mut signer = params("signer");
    change(&mut signer);
    let signer = pem(signer.signed_by(&key, &root).unwrap().der());
    fs::write(dir.path().join(CERT_CHAIN), format!("{signer}{root_pem}")).unwrap();
    fs::write(dir.path().join(ROOT_CERT), root_pem).unwrap();
    fs::write(dir.path().join(CA_CERT), signer).unwrap();
    fs::write(dir.path().join(CA_KEY), key.serialize_pem()).unwrap();
    dir
}

#[test]
fn an_intermediate_signs_too() {
    let dir = with_intermediate(|_| {});
    let ca = open(dir.path()).unwrap();
    assert!(ca.not_after() <= SystemTime::now() + 2 * HOUR);
    assert!(!dir.path().join(".lock").exists(), "a complete directory is only read");
}

#[test]
fn an_unfit_intermediate_is_refused() {
    let dir = with_intermediate(|params| params.is_ca = IsCa::NoCa);
    assert!(matches!(open(dir.path()), Err(LocalCaError::Chain { .. })), "no CA certificate");
    let dir = with_intermediate(|params| params.not_after = (SystemTime::now() - HOUR / 2).into());
    assert!(matches!(open(dir.path()), Err(LocalCaError::Expired { .. })), "expired");
    let dir = with_intermediate(|params| params.not_before = (SystemTime::now() + HOUR).into());
    assert!(matches!(open(dir.path()), Err(LocalCaError::Expired { .. })), "not valid yet");
}
