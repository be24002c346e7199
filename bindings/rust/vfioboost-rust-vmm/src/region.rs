use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use vfioboost::{Ctx, Job, Memory, MemoryOwner, PageSize, Range, Result, Space};
use vm_memory::bitmap::Bitmap;
use vm_memory::{
    Address, GuestMemoryBackend, GuestMemoryRegion, GuestRegionCollection, GuestRegionMmap,
};

/// A region of guest memory, for [`Memory::adopt()`], which keeps it.
pub struct GuestRegion<B: Bitmap + Send + Sync + 'static> {
    memory: Arc<GuestRegionCollection<GuestRegionMmap<B>>>,
    index: usize,
}

impl<B: Bitmap + Send + Sync + 'static> GuestRegion<B> {
    /// The region of a guest's memory with this index, in the order of guest addresses.
    pub fn new(
        memory: &Arc<GuestRegionCollection<GuestRegionMmap<B>>>,
        index: usize,
    ) -> Result<Self> {
        let writable = libc::PROT_READ | libc::PROT_WRITE;
        let problem = match memory.iter().nth(index) {
            None => "no region of the guest's memory has this index",
            Some(region) if region.prot() & writable != writable => {
                "the region of the guest's memory is not mapped readable and writable"
            }
            Some(_) => return Ok(GuestRegion { memory: memory.clone(), index }),
        };

        Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, problem).into())
    }

    fn region(&self) -> &GuestRegionMmap<B> {
        self.memory
            .iter()
            .nth(self.index)
            .expect("new() has seen it, and collections do not change")
    }
}

// The mapping is unmapped when the last reference to the region is dropped, and never moved.
unsafe impl<B: Bitmap + Send + Sync + 'static> MemoryOwner for GuestRegion<B> {
    fn address(&self) -> *mut u8 {
        self.region().as_ptr()
    }

    fn bytes(&self) -> u64 {
        self.region().len()
    }

    fn file(&self) -> Option<(BorrowedFd<'_>, u64)> {
        // A private mapping does not show the pages of its file: the library finds that out.
        GuestMemoryRegion::file_offset(self.region()).map(|at| (at.file().as_fd(), at.start()))
    }
}

/// Starts to populate all of a guest's memory and to map it at its guest physical addresses.
pub fn map_guest<B: Bitmap + Send + Sync + 'static>(
    ctx: &Ctx,
    space: &Space,
    memory: &Arc<GuestRegionCollection<GuestRegionMmap<B>>>,
) -> Result<Job<u64>> {
    let mut ranges = Vec::new();

    for (index, region) in memory.iter().enumerate() {
        let owner = Arc::new(GuestRegion::new(memory, index)?);
        let adopted = Memory::adopt(ctx, owner, PageSize::Auto, false)?;

        ranges.push(Range::new(&adopted, 0, region.len(), region.start_addr().raw_value()));
    }
    space.map(&ranges)
}
