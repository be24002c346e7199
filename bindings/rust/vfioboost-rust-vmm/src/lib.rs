//! libvfioboost for VMMs that are built on the crates of rust-vmm.
//!
//! - [`Ops`] implements `VfioOps` of `vfio-ioctls`: a VMM that uses `VfioContainer` or `VfioIommufd`
//!   changes one constructor, and its guest memory is populated in parallel while it is mapped.
//! - [`GuestRegion`] makes a region of `vm-memory` usable as [`vfioboost::Memory`], and keeps it
//!   alive as long as it is mapped.
//!
//! ```no_run
//! use std::sync::Arc;
//! use vfio_ioctls::{VfioContainer, VfioDevice, VfioOps};
//! use vfioboost::Ctx;
//! use vfioboost_rust_vmm::Ops;
//!
//! # fn start() -> Result<(), Box<dyn std::error::Error>> {
//! // Before: Arc::new(VfioContainer::new(None)?)
//! let ops: Arc<dyn VfioOps> = Arc::new(Ops::new(&Ctx::new()?, VfioContainer::new(None)?)?);
//! let path = std::path::Path::new("/sys/bus/pci/devices/0000:01:00.0");
//! let device = VfioDevice::new(path, ops.clone(), true)?;
//! # Ok(())
//! # }
//! ```
#![deny(missing_docs, unsafe_op_in_unsafe_fn)]

#[cfg(feature = "vfio-ioctls")]
mod ops;
#[cfg(feature = "vm-memory")]
mod region;

#[cfg(feature = "vfio-ioctls")]
pub use ops::{Adoptable, Ops};
#[cfg(feature = "vm-memory")]
pub use region::{map_guest, GuestRegion};
