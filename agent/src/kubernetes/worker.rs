//! Brings one pod to where it is wanted, and keeps it there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::book::Want;
use super::hands::{Hands, Joined};

/// The pause after a first failure; it doubles with each further one (protocol.md 5.4).
const FIRST_RETRY: Duration = Duration::from_millis(5);
/// The longest pause between two attempts.
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Follows what is wanted of the pod `uid`, until it is gone or nobody wants anything of it any more.
pub(super) async fn follow(uid: String, mut wants: watch::Receiver<Want>, hands: Arc<Hands>) {
    let mut failures = 0;
    loop {
        let want = wants.borrow_and_update().clone();
        let is_last = want == Want::Gone;
        match bring(&uid, &want, &hands).await {
            Ok(()) if is_last => return,
            Ok(()) => {
                failures = 0;
                if wants.changed().await.is_err() {
                    return;
                }
            }
            Err(problem) => {
                // Once for each new trouble; the last pause is long enough for a line each time.
                if failures == 0 || pause(failures) == LAST_RETRY {
                    tracing::warn!(uid, problem, "pod is not as it should be, trying again");
                }
                let waited = timeout(pause(failures), wants.changed()).await;
                failures += 1;
                match waited {
                    Ok(Ok(())) => failures = 0,
                    Ok(Err(_)) => return,
                    Err(_) => {}
                }
            }
        }
    }
}

async fn bring(uid: &str, want: &Want, hands: &Hands) -> Result<(), String> {
    match want {
        Want::Join(pod) => match hands.join(pod).await? {
            Joined::Served => hands.annotate(pod, Some("enabled")).await,
            // It is set up by and by; what changes then comes as a new wish.
            Joined::NotSetUpYet => Ok(()),
        },
        Want::Leave(pod) => {
            hands.leave(uid, true).await?;
            hands.annotate(pod, None).await
        }
        Want::Gone => hands.leave(uid, false).await,
    }
}

fn pause(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(LAST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_seconds() {
        let pauses: Vec<u128> = [0, 1, 9, 10, 40].map(|n| pause(n).as_millis()).to_vec();
        assert_eq!(pauses, [5, 10, 2560, 5000, 5000]);
    }
}
