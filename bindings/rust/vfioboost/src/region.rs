use vfioboost_sys as sys;

use crate::error::check;
use crate::{Device, Result};

/// Properties of a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionInfo {
    /// Its size; 0: the device does not have it.
    pub bytes: u64,
    /// Whether it can be read, written, and at least in part mapped.
    pub readable: bool,
    #[allow(missing_docs)]
    pub writable: bool,
    #[allow(missing_docs)]
    pub mappable: bool,
}

/// Regions. Of a PCI device, 0 to 5 are the BARs, 6 is the ROM, 7 the configuration space, 8 VGA.
impl Device {
    /// Index of the PCI configuration space.
    pub const CONFIG: u32 = sys::VFB_REGION_CONFIG;

    /// Properties of a region.
    pub fn region_info(&self, index: u32) -> Result<RegionInfo> {
        let mut raw = sys::vfb_region_info {
            size: std::mem::size_of::<sys::vfb_region_info>(),
            ..Default::default()
        };

        check(unsafe { sys::vfb_region_info(self.as_ptr(), index, &mut raw) })?;
        Ok(RegionInfo {
            bytes: raw.bytes,
            readable: raw.flags & sys::VFB_REGION_READ != 0,
            writable: raw.flags & sys::VFB_REGION_WRITE != 0,
            mappable: raw.flags & sys::VFB_REGION_MMAP != 0,
        })
    }

    /// Reads from a region, through the kernel.
    pub fn region_read(&self, index: u32, offset: u64, buffer: &mut [u8]) -> Result<()> {
        check(unsafe {
            sys::vfb_region_read(
                self.as_ptr(),
                index,
                offset,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
            )
        })
        .map(drop)
    }

    /// Writes to a region, through the kernel.
    pub fn region_write(&self, index: u32, offset: u64, bytes: &[u8]) -> Result<()> {
        check(unsafe {
            sys::vfb_region_write(self.as_ptr(), index, offset, bytes.as_ptr().cast(), bytes.len())
        })
        .map(drop)
    }

    /// Reads a register of 1, 2, 4 or 8 bytes.
    pub fn region_load(&self, index: u32, offset: u64, width: u32) -> Result<u64> {
        let mut value = 0;

        check(unsafe { sys::vfb_region_load(self.as_ptr(), index, offset, width, &mut value) })?;
        Ok(value)
    }

    /// Writes a register of 1, 2, 4 or 8 bytes.
    pub fn region_store(&self, index: u32, offset: u64, width: u32, value: u64) -> Result<()> {
        check(unsafe { sys::vfb_region_store(self.as_ptr(), index, offset, width, value) })
            .map(drop)
    }

    /// Maps a region into the process, until it is unmapped or the device is closed. The addresses
    /// are for code that accesses registers by itself, or gives them to KVM.
    ///
    /// `without_msix`: leave out the pages that hold the MSI-X table, for a VMM that emulates it.
    pub fn region_map(&self, index: u32, without_msix: bool) -> Result<*mut u8> {
        let opts = sys::vfb_region_map_opts {
            size: std::mem::size_of::<sys::vfb_region_map_opts>(),
            flags: if without_msix { sys::VFB_REGION_MAP_WITHOUT_MSIX } else { 0 },
            ..Default::default()
        };
        let mut address = std::ptr::null_mut();

        check(unsafe { sys::vfb_region_map(self.as_ptr(), index, &opts, &mut address) })?;
        Ok(address.cast())
    }

    /// Unmaps a region from the process.
    pub fn region_unmap(&self, index: u32) -> Result<()> {
        check(unsafe { sys::vfb_region_unmap(self.as_ptr(), index) }).map(drop)
    }
}
