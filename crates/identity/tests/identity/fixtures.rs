//! A source that does as it is told, and waiting for conditions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ambit_identity::{CertificateSource, FetchError, Fetching, LocalCa, LocalSource};
use ambit_model::Identity;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn identity(account: &str) -> Identity {
    Identity::new("cluster.local", "shop", account)
}

/// Signs locally, keeps a record, and can be told to fail, to wait or to lie.
pub(crate) struct Scripted {
    local: LocalSource,
    /// Every request, in the order in which they began.
    pub(crate) asked: Mutex<Vec<Identity>>,
    pub(crate) failing: AtomicBool,
    /// If set, what every answer is about.
    pub(crate) answer_for: Mutex<Option<Identity>>,
    /// One permit per request that may be answered.
    pub(crate) leave: Semaphore,
    running: AtomicUsize,
    pub(crate) most_running: AtomicUsize,
}

impl Scripted {
    /// Answers at once.
    pub(crate) fn new(ttl: Duration) -> Arc<Self> {
        Self::with_leave(ttl, Semaphore::MAX_PERMITS)
    }

    /// Answers `leave` requests, and then one for each permit that is added.
    pub(crate) fn with_leave(ttl: Duration, leave: usize) -> Arc<Self> {
        let ca = Arc::new(LocalCa::in_memory(SystemTime::now()).unwrap());
        Arc::new(Self {
            local: LocalSource::new(ca, ttl),
            asked: Mutex::default(),
            failing: AtomicBool::new(false),
            answer_for: Mutex::default(),
            leave: Semaphore::new(leave),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.lock().len()
    }
}

impl CertificateSource for Scripted {
    fn fetch<'a>(&'a self, identity: &'a Identity) -> Fetching<'a> {
        Box::pin(async move {
            self.asked.lock().push(identity.clone());
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_running.fetch_max(running, Ordering::SeqCst);
            self.leave.acquire().await.unwrap().forget();
            self.running.fetch_sub(1, Ordering::SeqCst);
            if self.failing.load(Ordering::SeqCst) {
                return Err(FetchError::MalformedToken);
            }
            let other = self.answer_for.lock().clone();
            self.local.fetch(other.as_ref().unwrap_or(identity)).await
        })
    }
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether `openssl` is there; where CI runs it has to be.
pub(crate) fn openssl_available() -> bool {
    let found = std::process::Command::new("openssl").arg("version").output().is_ok();
    assert!(found || std::env::var("CI").as_deref() != Ok("true"), "openssl is needed; install it");
    if !found {
        println!("skipped: openssl is not installed");
    }
    found
}

/// Runs `openssl` in `dir`; the answer is its output, and an error if it fails.
pub(crate) fn openssl(dir: &std::path::Path, arguments: &str) -> Result<String, String> {
    let output = std::process::Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(dir)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(text) } else { Err(text) }
}
