//! A thread's cache goes back where jemalloc is the allocator, as in the proxies.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const KB: usize = 1024;
/// The larger ones of the sizes of which a thread's cache keeps freed blocks.
const SIZES: [usize; 12] = [5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32];
/// What it keeps of each.
const BLOCKS: usize = 20;
/// What is kept of all, but for what was kept from before.
const KEPT: usize = 2_000 * KB;

/// Resident memory of this process, bytes. Allocates nothing, since allocations empty caches.
fn resident(statm: &File) -> usize {
    let mut text = [0; 128];
    let read = statm.read_at(&mut text, 0).unwrap();
    let pages = std::str::from_utf8(&text[..read]).unwrap().split(' ').nth(1).unwrap();
    pages.parse::<usize>().unwrap() * 4 * KB
}

#[test]
fn an_idle_thread_gives_back_what_it_keeps() {
    let statm = File::open("/proc/self/statm").unwrap();
    let blocks = SIZES.into_iter().flat_map(|size| (0..BLOCKS).map(move |_| vec![1_u8; size * KB]));
    drop(blocks.collect::<Vec<_>>());
    let kept = resident(&statm);
    ambit_net::release_thread_memory();
    let deadline = Instant::now() + Duration::from_secs(30);
    while resident(&statm) + KEPT > kept {
        assert!(Instant::now() < deadline, "{kept} bytes became {}", resident(&statm));
        std::thread::sleep(Duration::from_millis(50));
    }
}
