//! Starts and stops the memory and the devices of a VFIO guest in parallel.
//!
//! This crate wraps libvfioboost, a C library for VMMs and userspace drivers. Workers on the
//! right NUMA node populate memory, devices open and close in parallel, memory is mapped for the
//! IOMMU while the rest is still being populated, and every step is reported to callbacks. The
//! crate needs no `unsafe` of its users: objects keep alive what they depend on, and a job owns what
//! it works on.
//!
//! ```no_run
//! use vfioboost::{open_devices, Ctx, Memory, MemoryOptions, Range, Space};
//!
//! fn start() -> vfioboost::Result<()> {
//!     let ctx = Ctx::new()?;
//!     let space = Space::new(&ctx)?;
//!     let memory = Memory::new(&ctx, &MemoryOptions::new(1 << 30))?;
//!
//!     // Devices open while memory is populated and mapped.
//!     let opening = open_devices(&space, &["0000:01:00.0"])?;
//!     let mapping = space.map(&[Range::new(&memory, 0, 1 << 30, 0)])?;
//!     let devices = opening.wait()?;
//!     mapping.wait()?;
//!     println!("{} is open", devices[0].address());
//!     Ok(())
//! }
//! ```
//!
//! # What holds what
//!
//! [`Ctx`], [`Space`], [`Memory`] and [`Device`] are handles that can be cloned and sent to other
//! threads. A device keeps its space alive, a space the memory that is mapped in it, and all of them
//! the context. The last handle of a device closes it, which takes as long as a reset:
//! [`close_devices()`] closes several in parallel. Dropping a [`Job`] cancels it and waits for it.
//!
//! # Tests
//!
//! With the feature `fake` the same code runs over a model of the kernel (the module `fake`): it
//! needs no devices, calls fail on demand, and resets take time on a virtual clock only.
//!
//! ```toml
//! [dev-dependencies]
//! vfioboost = { version = "0.1", features = ["fake"] }
//! ```
//!
//! # Versions
//!
//! The version of the crate is that of the library, which pkg-config finds. Rust 1.63 (Debian 12)
//! is the oldest that compiles it. What the crate lacks (the doctor, statistics, BARs of peers, the
//! reaper) can be had from `vfioboost-sys`, with the pointers that `as_ptr()` returns.
#![deny(missing_docs, unsafe_op_in_unsafe_fn)]

mod ctx;
mod demand;
mod device;
mod dirty;
mod error;
mod event;
#[cfg(feature = "fake")]
pub mod fake;
mod irq;
mod job;
mod layout;
mod memory;
mod range;
mod region;
mod space;

pub use ctx::{seccomp_calls, version, Ctx, CtxOptions, SeccompCall, SeccompRole};
pub use demand::{Hold, OnDemand, OnDemandInfo};
pub use device::{
    close_devices, open_devices, open_devices_with, reset_devices, Device, DeviceAdoptOptions,
    ResetMethod,
};
pub use dirty::Dirty;
pub use error::{Error, Result};
pub use event::{Event, Filter, Phase, Span, Subscription};
pub use irq::{Irq, IrqInfo};
pub use job::{BatchOptions, Job, Progress};
pub use layout::{layout, LayoutPart, Placed};
pub use memory::{
    populate, AdoptOptions, Memory, MemoryKind, MemoryOptions, MemoryOwner, NumaPolicy, PageSize,
};
pub use range::Range;
pub use region::RegionInfo;
pub use space::{Backend, MapBy, Piece, Space, SpaceInfo, SpaceOptions};
pub use vfioboost_sys as sys;
