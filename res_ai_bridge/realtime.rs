//! The frame path's code of conduct, as far as a machine can check it.
//!
//! What runs once a frame on a channel thread runs inside [`no_alloc`]. In the `checked` build an allocation of ours in
//! there aborts the process; Asterisk's own, which go through C, do not count.

#[cfg(feature = "checked")]
#[global_allocator]
static ALLOCATOR: assert_no_alloc::AllocDisabler = assert_no_alloc::AllocDisabler;

/// Runs `body`, in which nothing of ours may be allocated or freed.
///
/// # Realtime
/// Free of cost; in the `checked` build a thread-local counter.
pub(crate) fn no_alloc<T>(body: impl FnOnce() -> T) -> T {
    #[cfg(feature = "checked")]
    return assert_no_alloc::assert_no_alloc(body);
    #[cfg(not(feature = "checked"))]
    body()
}
