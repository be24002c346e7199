use std::any::Any;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use vfio_ioctls::{VfioContainer, VfioError, VfioIommufd, VfioOps};
use vfioboost::{
    Backend, Ctx, Error, Memory, MemoryOwner, PageSize, Range, Result, Space, SpaceOptions,
};

/// What `vfio-ioctls` attaches devices to: its container, or its iommufd.
pub trait Adoptable: VfioOps {
    /// The file, the ID of the IOAS in it (0: a container), and the backend.
    fn file(&self) -> (RawFd, u32, Backend);
}

impl Adoptable for VfioContainer {
    fn file(&self) -> (RawFd, u32, Backend) {
        (self.as_raw_fd(), 0, Backend::Type1)
    }
}

impl Adoptable for VfioIommufd {
    fn file(&self) -> (RawFd, u32, Backend) {
        (self.iommufd().as_raw_fd(), self.ioas().id(), Backend::Iommufd)
    }
}

/// `VfioOps` that map by libvfioboost: memory is populated by all workers of the context, on its
/// NUMA node, and mapped while the rest is still being populated.
///
/// Devices are opened by `VfioDevice::new()` as before. Errors of `VfioOps` carry the errno; the
/// cause is in [`Ops::last_error()`].
pub struct Ops<I> {
    inner: I,
    space: Space,
    ctx: Ctx,
    last_error: std::sync::Mutex<Option<Error>>,
}

/// Memory that a caller of `vfio_dma_map()` vouches for.
struct Vouched {
    address: *mut u8,
    bytes: u64,
}

// Only the library uses the address.
unsafe impl Send for Vouched {}
unsafe impl Sync for Vouched {}

// The caller of vfio_dma_map() has promised it: the memory stays until it is unmapped.
unsafe impl MemoryOwner for Vouched {
    fn address(&self) -> *mut u8 {
        self.address
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl<I: Adoptable> Ops<I> {
    /// Wraps a `VfioContainer` or a `VfioIommufd`, to which devices are still attached.
    pub fn new(ctx: &Ctx, inner: I) -> Result<Self> {
        let (fd, ioas, backend) = inner.file();
        // It is open as long as `inner`. The space has a duplicate.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
        let options = SpaceOptions { backend, ..Default::default() };

        Ok(Ops {
            space: Space::adopt(ctx, fd, ioas, &options)?,
            inner,
            ctx: ctx.clone(),
            last_error: Default::default(),
        })
    }

    /// The space, to map by batches, or to open devices in.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// What it wraps.
    pub fn inner(&self) -> &I {
        &self.inner
    }

    /// The cause of the last call of `VfioOps` that failed.
    pub fn last_error(&self) -> Option<Error> {
        self.last_error.lock().ok()?.clone()
    }

    fn keep(&self, error: Error) -> vfio_ioctls::VfioError {
        let errno = error.errno();

        if let Ok(mut last) = self.last_error.lock() {
            *last = Some(error);
        }
        VfioError::IommuDmaMap(errno_of(errno))
    }

    fn map(&self, iova: u64, bytes: u64, address: *mut u8) -> Result<()> {
        let owner = Arc::new(Vouched { address, bytes });
        let memory = Memory::adopt(&self.ctx, owner, PageSize::Auto, false)?;

        self.space.map(&[Range::new(&memory, 0, bytes, iova)])?.wait().map(drop)
    }
}

fn errno_of(errno: i32) -> vmm_sys_util::errno::Error {
    vmm_sys_util::errno::Error::new(errno)
}

impl<I: Adoptable + 'static> VfioOps for Ops<I> {
    unsafe fn vfio_dma_map(
        &self,
        iova: u64,
        size: usize,
        user_addr: *mut u8,
    ) -> std::result::Result<(), VfioError> {
        self.map(iova, size as u64, user_addr).map_err(|error| self.keep(error))
    }

    fn vfio_dma_unmap(&self, iova: u64, size: usize) -> std::result::Result<(), VfioError> {
        let unmapped = self.space.unmap(&[(iova, size as u64)]).and_then(|job| job.wait());

        match unmapped {
            Ok(_) => Ok(()),
            Err(error) => {
                let errno = errno_of(error.errno());
                self.keep(error);
                Err(VfioError::IommuDmaUnmap(errno))
            }
        }
    }

    /// `VfioDevice` finds the container or iommufd that it knows.
    fn as_any(&self) -> &dyn Any {
        self.inner.as_any()
    }
}
