//! Asterisk's C interface as bindgen sees it. The only file of generated code; everything else in this crate reaches
//! Asterisk through the safe wrappers beside it.

#![allow(missing_docs, non_camel_case_types, non_upper_case_globals, non_snake_case, dead_code, unreachable_pub)]
#![allow(clippy::all, clippy::undocumented_unsafe_blocks, unnecessary_transmutes, unsafe_op_in_unsafe_fn, rustdoc::all)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
