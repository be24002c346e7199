//! Declarations of libvfioboost, generated from its headers, which document them.
//!
//! Use the crate `vfioboost` instead where it has what you need: it is safe.
#![allow(non_camel_case_types, non_upper_case_globals)]

#[rustfmt::skip]
mod bindings;
pub use bindings::*;

#[cfg(feature = "fake")]
#[rustfmt::skip]
mod fake;
#[cfg(feature = "fake")]
pub use fake::*;
