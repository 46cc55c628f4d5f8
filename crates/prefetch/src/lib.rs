//! Asks the processor for a cache line before it is needed.
//!
//! A load waits at the head of a core's window until its line has come, and so does all that stands behind it; a prefetch
//! does not wait. Nothing is read by it that anybody could see, and no address can make it fail.

/// Asks for the cache line in which `value` begins. Never blocks, never faults; any thread. On processors that are not
/// x86-64 it does nothing.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // Safety: the instruction neither reads nor writes for the program and cannot fault; and the reference is valid.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
