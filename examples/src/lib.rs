//! The logic of the examples, so that tests can run it.
//!
//! - [`vmm`]: the main job, a host that lends real memory to guests.
#![deny(unsafe_code)]

pub mod vmm;
