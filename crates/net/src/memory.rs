//! What threads keep for later.

use std::ffi::CStr;
use std::ptr::null_mut;

use crate::chunk;

/// Of jemalloc's controls, by its manual.
const FLUSH: &CStr = c"thread.tcache.flush";

/// Gives back what the calling thread keeps for its next reads, and what jemalloc keeps of its freed memory for its
/// next allocations: jemalloc does so by itself only as a thread allocates, so that an idle one keeps it for ever.
#[allow(unsafe_code)]
pub fn release_thread_memory() {
    chunk::release();
    // SAFETY: the name ends with a zero, and this control neither reads nor writes a value.
    let error = unsafe {
        tikv_jemalloc_sys::mallctl(FLUSH.as_ptr(), null_mut(), null_mut(), null_mut(), 0)
    };
    // EFAULT: the thread has no cache.
    debug_assert!(error == 0 || error == libc::EFAULT, "jemalloc answers {error}");
}
