//! Stands in for the crate `linked_hash_set`, which is licensed under the Apache License 2.0 alone and so cannot be part
//! of a module under the GPL 2. `hyper-openssl` keeps TLS sessions in it; `hashlink` has the same set under MIT.

#![forbid(unsafe_code)]

pub use hashlink::LinkedHashSet;
