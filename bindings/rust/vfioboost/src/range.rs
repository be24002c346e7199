use vfioboost_sys as sys;

use crate::Memory;

/// A range to map: part of a memory, and the IOVA where devices see it.
#[derive(Clone, Debug)]
pub struct Range {
    pub(crate) memory: Memory,
    pub(crate) raw: sys::vfb_range,
}

// The pointer in it is that of the memory that it holds.
unsafe impl Send for Range {}
unsafe impl Sync for Range {}

impl Range {
    /// `bytes` of a memory from `offset` on, which devices read and write at `iova`: for a guest,
    /// its guest physical address. All three are multiples of 4 KiB.
    pub fn new(memory: &Memory, offset: u64, bytes: u64, iova: u64) -> Range {
        Range {
            memory: memory.clone(),
            raw: sys::vfb_range {
                memory: memory.as_ptr(),
                offset,
                bytes,
                iova,
                ..Default::default()
            },
        }
    }

    /// As [`new()`](Range::new), at an IOVA that the library chooses and the job returns.
    pub fn anywhere(memory: &Memory, offset: u64, bytes: u64) -> Range {
        let mut range = Range::new(memory, offset, bytes, 0);

        range.raw.flags = sys::VFB_RANGE_ANY_IOVA;
        range
    }

    /// Devices may only read it.
    pub fn read_only(mut self) -> Range {
        self.raw.flags |= sys::VFB_RANGE_READ;
        self
    }

    /// Nobody waits for it: it is mapped after all ranges without this.
    pub fn background(mut self) -> Range {
        self.raw.flags |= sys::VFB_RANGE_BACKGROUND;
        self
    }

    /// No device needs it: it is left out of the IOMMU, and only populated on request.
    pub fn host_only(mut self) -> Range {
        self.raw.flags |= sys::VFB_RANGE_HOST_ONLY;
        self
    }

    /// It is populated although no device needs it.
    pub fn populate(mut self) -> Range {
        self.raw.flags |= sys::VFB_RANGE_POPULATE;
        self
    }

    /// It is mapped in windows when they are used, as [`OnDemand`](crate::OnDemand) of the space
    /// says; see [`Space::touch()`](crate::Space::touch). `window_bytes` is a power of two, from the
    /// page size to 2 GiB; 0: 2 MiB, or the page size if that is larger.
    pub fn on_demand(mut self, window_bytes: u32) -> Range {
        self.raw.flags |= sys::VFB_RANGE_ON_DEMAND;
        self.raw.window_bytes = window_bytes;
        self
    }

    /// Ranges with a higher priority are mapped first.
    pub fn priority(mut self, priority: i32) -> Range {
        self.raw.priority = priority;
        self
    }
}
