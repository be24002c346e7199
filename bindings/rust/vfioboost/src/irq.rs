use std::os::raw::c_uint;
use std::os::unix::io::{AsRawFd, BorrowedFd};
use std::sync::MutexGuard;

use vfioboost_sys as sys;

use crate::error::check;
use crate::{Device, Result};

/// Types of interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Irq {
    #[allow(missing_docs)]
    Intx,
    #[allow(missing_docs)]
    Msi,
    #[allow(missing_docs)]
    Msix,
    /// The device has reported an uncorrectable error.
    Error,
    /// The host requests the device, because it is being unplugged or unbound: close it.
    Request,
}

impl Irq {
    fn as_raw(self) -> sys::vfb_irq {
        match self {
            Irq::Intx => sys::VFB_IRQ_INTX,
            Irq::Msi => sys::VFB_IRQ_MSI,
            Irq::Msix => sys::VFB_IRQ_MSIX,
            Irq::Error => sys::VFB_IRQ_ERROR,
            Irq::Request => sys::VFB_IRQ_REQUEST,
        }
    }
}

/// Properties of an interrupt type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IrqInfo {
    /// Number of vectors; 0: the device does not have this type.
    pub vectors: u32,
    /// Whether it can be masked.
    pub maskable: bool,
    /// The kernel masks the interrupt when it delivers it.
    pub automasked: bool,
    /// No vectors can be added while some are enabled.
    pub noresize: bool,
}

type Vectors = unsafe extern "C" fn(*mut sys::vfb_device, sys::vfb_irq, c_uint, c_uint) -> i32;

/// Interrupts, delivered to eventfds. INTx, MSI and MSI-X are mutually exclusive.
impl Device {
    fn lock_irqs(&self) -> MutexGuard<'_, ()> {
        self.0.irqs.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Properties of an interrupt type.
    pub fn irq_info(&self, irq: Irq) -> Result<IrqInfo> {
        let mut raw = sys::vfb_irq_info {
            size: std::mem::size_of::<sys::vfb_irq_info>(),
            ..Default::default()
        };

        check(unsafe { sys::vfb_irq_info(self.as_ptr(), irq.as_raw(), &mut raw) })?;
        Ok(IrqInfo {
            vectors: raw.vectors,
            maskable: raw.flags & sys::VFB_IRQ_MASKABLE != 0,
            automasked: raw.flags & sys::VFB_IRQ_AUTOMASKED != 0,
            noresize: raw.flags & sys::VFB_IRQ_NORESIZE != 0,
        })
    }

    /// Enables vectors from `first` on: each adds 1 to its eventfd, which may be closed afterwards.
    /// `None`: the vector is not delivered.
    pub fn irq_enable(
        &self,
        irq: Irq,
        first: u32,
        eventfds: &[Option<BorrowedFd<'_>>],
    ) -> Result<()> {
        let fds: Vec<_> = eventfds.iter().map(|fd| fd.map_or(-1, |fd| fd.as_raw_fd())).collect();
        let count = u32::try_from(fds.len()).unwrap_or(u32::MAX);
        let _guard = self.lock_irqs();

        check(unsafe {
            sys::vfb_irq_enable(self.as_ptr(), irq.as_raw(), first, fds.as_ptr(), count)
        })
        .map(drop)
    }

    /// Disables all vectors of a type.
    pub fn irq_disable(&self, irq: Irq) -> Result<()> {
        let _guard = self.lock_irqs();

        check(unsafe { sys::vfb_irq_disable(self.as_ptr(), irq.as_raw()) }).map(drop)
    }

    fn vectors(&self, call: Vectors, irq: Irq, vectors: std::ops::Range<u32>) -> Result<()> {
        let count = vectors.end.saturating_sub(vectors.start);
        let _guard = self.lock_irqs();

        check(unsafe { call(self.as_ptr(), irq.as_raw(), vectors.start, count) }).map(drop)
    }

    /// Masks enabled vectors: interrupts that arrive are delivered when they are unmasked.
    pub fn irq_mask(&self, irq: Irq, vectors: std::ops::Range<u32>) -> Result<()> {
        self.vectors(sys::vfb_irq_mask, irq, vectors)
    }

    /// Unmasks vectors.
    pub fn irq_unmask(&self, irq: Irq, vectors: std::ops::Range<u32>) -> Result<()> {
        self.vectors(sys::vfb_irq_unmask, irq, vectors)
    }

    /// Delivers vectors as if the device had raised them, for testing.
    pub fn irq_trigger(&self, irq: Irq, vectors: std::ops::Range<u32>) -> Result<()> {
        self.vectors(sys::vfb_irq_trigger, irq, vectors)
    }
}
