//! The one door from C into Rust.
//!
//! A panic that left an `extern "C"` function would abort the whole exchange. Every function that C calls runs its body
//! through [`enter`], which turns a panic into a value.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `body`; when it panics, answers `fallback` instead. The panic has been logged by the hook of
/// [`log::install_panic_hook`](crate::log::install_panic_hook) by then.
///
/// # Realtime
/// Costs nothing unless it panics.
pub(crate) fn enter<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    caught(body).unwrap_or(fallback)
}

/// Runs `body`; when it panics, answers what the panic said.
pub(crate) fn caught<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    // Asserting unwind safety: what a body leaves half changed is its own call's, which ends with the panic. State that
    // calls share changes in single atomic steps.
    catch_unwind(AssertUnwindSafe(body)).map_err(|payload| message(&*payload))
}

/// The words of a panic.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
