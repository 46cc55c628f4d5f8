//! Advice to the kernel about memory: huge pages under the large tables, and nothing swapped out.
//!
//! For the control thread, at start. All of it is best effort; a refusal is a reason to tell, never to stop.

use crate::Error;

/// Bytes of a huge page on the architectures that have AF_XDP drivers.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// What became of a region.
#[derive(Debug)]
pub struct HugePages {
    /// Bytes that the kernel may put on huge pages: those of the region that fill whole ones.
    pub advised_bytes: usize,
    /// Bytes that lie on huge pages now.
    pub collapsed_bytes: usize,
    /// Why the two are not both the region's size; `None` when the whole inside was collapsed.
    pub reason: Option<String>,
}

/// Asks for huge pages under `region`, which should have been written already: pages that do not exist are
/// advised, not collapsed.
///
/// Changes no byte and moves none in the region's own addresses, so it is safe under a table that is in use.
/// Only whole huge pages inside of the region are touched; collapsing needs Linux 6.1.
pub fn prefer_huge_pages<T>(region: &[T]) -> HugePages {
    prefer_huge_pages_at(region.as_ptr().addr(), size_of_val(region))
}

/// The same for memory that its owner describes by address and length, as the session table does. The kernel
/// refuses a range that is not mapped, and its refusal is the reason given.
pub fn prefer_huge_pages_at(address: usize, bytes: usize) -> HugePages {
    let first = address.next_multiple_of(HUGE_PAGE_BYTES);
    let end = address.saturating_add(bytes) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    let none = |reason: String| HugePages { advised_bytes: 0, collapsed_bytes: 0, reason: Some(reason) };
    if end <= first {
        return none(format!("{bytes} bytes hold no whole huge page of 2 MiB"));
    }
    let bytes = end - first;
    if let Err(error) = advise(first, bytes, libc::MADV_HUGEPAGE, "asking for huge pages") {
        return none(error.to_string());
    }
    let mut collapsed_bytes = 0;
    let mut reason = None;
    // Page by page, so that one which cannot be had costs no other.
    for page in (first..end).step_by(HUGE_PAGE_BYTES) {
        match advise(page, HUGE_PAGE_BYTES, libc::MADV_COLLAPSE, "collapsing into huge pages (Linux 6.1)") {
            Ok(()) => collapsed_bytes += HUGE_PAGE_BYTES,
            Err(error) => reason = Some(error.to_string()),
        }
    }
    HugePages { advised_bytes: bytes, collapsed_bytes, reason }
}

fn advise(address: usize, bytes: usize, advice: libc::c_int, doing: &str) -> Result<(), Error> {
    // SAFETY: both kinds of advice change how memory is backed, never what it holds, so any range may be
    // given; one that is not mapped is an error.
    let status = unsafe { libc::madvise(address as *mut libc::c_void, bytes, advice) };
    if status == 0 { Ok(()) } else { Err(Error::last(doing)) }
}

/// Keeps all memory of the process, present and future, from being swapped out.
pub fn lock_memory() -> Result<(), Error> {
    // SAFETY: no pointer is passed.
    let status = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if status == 0 {
        return Ok(());
    }
    let source = std::io::Error::last_os_error();
    let what = "locking memory";
    if source.raw_os_error() == Some(libc::ENOMEM) {
        return Err(Error::Unsupported {
            what: what.to_owned(),
            needs: "LimitMEMLOCK=infinity or CAP_IPC_LOCK",
        });
    }
    Err(Error::privileged(what, "CAP_IPC_LOCK", source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn advice_changes_no_word_and_stays_inside() {
        let words: Vec<AtomicU64> = (0..1 << 20).map(AtomicU64::new).collect();
        let pages = prefer_huge_pages(&words);
        assert!(pages.advised_bytes <= size_of_val(&words[..]));
        assert!(pages.collapsed_bytes <= pages.advised_bytes);
        assert_eq!(pages.reason.is_none(), pages.collapsed_bytes == pages.advised_bytes);
        assert!(words.iter().enumerate().all(|(place, word)| word.load(Ordering::Relaxed) == place as u64));
    }

    #[test]
    fn a_region_without_a_whole_huge_page_is_left_alone() {
        let pages = prefer_huge_pages(&[0u8; 4_096]);
        assert_eq!((pages.advised_bytes, pages.collapsed_bytes), (0, 0));
        assert!(pages.reason.is_some());
    }
}
