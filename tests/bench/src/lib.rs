//! What the two ends of a measured call share: the phones' side (`bench`) and the AI's (`bench-ai`), two processes on one
//! machine and one clock.

#![forbid(unsafe_code)]

pub mod audio;
pub mod clock;
pub mod record;
