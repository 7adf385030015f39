//! Data-plane threads: each with a runtime of its own, sharing nothing but snapshots.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::turns::Room;
use crate::{Env, Turns, give_back_memory};

/// The data-plane threads. A connection lives and dies on one of them.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Worker>,
    threads: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// One data-plane thread, as others see it.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Spawns onto the thread.
    pub handle: Handle,
    /// What takes turns on it.
    room: Arc<Room>,
    /// TLS connections that it serves.
    load: Arc<AtomicUsize>,
}

/// One TLS connection's share of a worker's load.
#[derive(Debug)]
pub struct Load(Arc<AtomicUsize>);

// === impl Workers ===

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// The system gives no more threads or descriptors.
    pub fn start(count: usize) -> io::Result<Self> {
        let mut all = Self { workers: Vec::new(), threads: Vec::new() };
        for index in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (stop, stopped) = oneshot::channel::<()>();
            let handle = runtime.handle().clone();
            let thread =
                thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                    runtime.spawn(give_back_memory());
                    // Ends when the sender is dropped or says so; either way the thread's tasks go with it.
                    let _ = runtime.block_on(stopped);
                })?;
            all.workers.push(Worker { handle, room: Arc::default(), load: Arc::default() });
            all.threads.push((stop, thread));
        }
        Ok(all)
    }

    /// The threads' handles, in a fixed order.
    pub fn handles(&self) -> Vec<Worker> {
        self.workers.clone()
    }

    /// Ends every thread and its tasks.
    pub fn stop(self) {
        for (stop, thread) in self.threads {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    }
}

// === impl Worker ===

impl Worker {
    /// Counts one more TLS connection for as long as the value lives.
    pub fn load(&self) -> Load {
        self.load.fetch_add(1, Ordering::Relaxed);
        Load(self.load.clone())
    }

    /// The turns of one more pod on this thread.
    pub fn turns(&self) -> Turns {
        Turns::new(self.room.clone())
    }

    /// The one of `workers` that serves the fewest TLS connections; `preferred` if there are several.
    pub fn least_loaded(workers: &[Self], preferred: usize) -> usize {
        let load = |index: usize| workers.get(index).map(|w| w.load.load(Ordering::Relaxed));
        let mut best = preferred;
        for index in 0..workers.len() {
            if load(index) < load(best) {
                best = index;
            }
        }
        best
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many workers the variable `<prefix>_WORKER_THREADS` asks for: a number, `N%` of the cores, 0 = all. By default the container's CPU limit, and without one
/// a quarter of the cores, at least its CPU request and two (protocol facts 9).
pub fn worker_count(env: &mut Env, prefix: &str) -> usize {
    let name = |what: &str| format!("{prefix}_{what}");
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    // The downward API's limit of a container without one is the whole node.
    let limit = cpus(env, &name("CPU_LIMIT")).filter(|limit| *limit < cores);
    let limit = cpus(env, &name("RESOURCE_CPU_LIMIT")).or(limit);
    let request = cpus(env, &name("RESOURCE_CPU_REQUEST")).unwrap_or(0);
    let default = limit.unwrap_or_else(|| (cores / 4).max(request).max(2)).min(cores.max(2));
    match env.text(&name("WORKER_THREADS")).as_deref() {
        None => default,
        Some("0") => cores,
        Some(text) => {
            let count = match text.strip_suffix('%') {
                Some(percent) => percent.parse::<usize>().map(|p| (cores * p).div_ceil(100)),
                None => text.parse(),
            };
            match count {
                Ok(n) if (1..=1024).contains(&n) => n,
                _ => {
                    env.mistake(&name("WORKER_THREADS"), text, "a number or a percentage");
                    default
                }
            }
        }
    }
}

/// A number of CPUs as the downward API writes it; 0 stands for none.
fn cpus(env: &mut Env, name: &str) -> Option<usize> {
    let text = env.text(name)?;
    match text.parse() {
        Ok(0) => None,
        Ok(cpus) => Some(cpus),
        Err(_) => {
            env.mistake(name, &text, "a whole number of CPUs");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_loaded_worker_wins_and_ties_stay_home() {
        let workers = Workers::start(3).unwrap();
        let handles = workers.handles();
        assert_eq!(Worker::least_loaded(&handles, 1), 1);
        let _a = handles[1].load();
        assert_eq!(Worker::least_loaded(&handles, 1), 0);
        let b = handles[0].load();
        let _c = handles[2].load();
        assert_eq!(Worker::least_loaded(&handles, 2), 2);
        drop(b);
        assert_eq!(Worker::least_loaded(&handles, 2), 0);
        workers.stop();
    }
}
