//! Memory that idle threads keep for later.

use std::time::Duration;

/// How often a thread gives it back.
const EVERY: Duration = Duration::from_secs(2);

/// Gives back what the calling thread keeps of memory, again and again; for a runtime of one thread.
pub async fn give_back_memory() {
    loop {
        tokio::time::sleep(EVERY).await;
        ambit_net::release_thread_memory();
    }
}
