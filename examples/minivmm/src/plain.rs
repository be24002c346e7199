//! The host by vfio-ioctls alone: all CPUs populate memory, then it is mapped, and devices are opened
//! one after another.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::ptr::null_mut;
use std::rc::Rc;
use std::sync::Arc;

use iommufd_ioctls::IommuFd;
use kvm_ioctls::DeviceFd;
use vfio_ioctls::{VfioContainer, VfioDevice, VfioDeviceFd, VfioIommufd, VfioOps};

use crate::host::{Device, Host, Pages, Ram, Slice};
use crate::machine::Machine;
use crate::Result;

const CHUNK: usize = 64 << 20;

/// Memory that munmap(2) frees.
pub struct Mapped {
    address: *mut u8,
    bytes: usize,
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // Nobody else knows the addresses.
        unsafe { libc::munmap(self.address.cast(), self.bytes) };
    }
}

fn os_error(what: &str) -> Box<dyn std::error::Error> {
    format!("{what}: {}", std::io::Error::last_os_error()).into()
}

impl Mapped {
    fn new(bytes: usize, flags: i32, fd: i32, offset: i64) -> Result<Mapped> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // The kernel chooses the address.
        let address = unsafe { libc::mmap(null_mut(), bytes, prot, flags, fd, offset) };

        if address == libc::MAP_FAILED {
            return Err(os_error("mmap"));
        }
        Ok(Mapped { address: address.cast(), bytes })
    }

    fn populate(&self) -> Result<()> {
        let cpus = std::thread::available_parallelism()?.get();
        let next = std::sync::atomic::AtomicUsize::new(0);
        let (address, end) = (self.address as usize, self.bytes);
        let work = || loop {
            let offset = next.fetch_add(CHUNK, std::sync::atomic::Ordering::Relaxed);
            if offset >= end {
                return Ok(());
            }
            let (at, bytes) = (address + offset, CHUNK.min(end - offset));
            // It is within the mapping.
            if unsafe { libc::madvise(at as _, bytes, libc::MADV_POPULATE_WRITE) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        };

        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..cpus).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
        })?;
        Ok(())
    }
}

/// A device, and what of it is mapped.
pub struct Opened {
    // Before the device, which a mapping would keep open.
    regions: RefCell<BTreeMap<u32, Mapped>>,
    pub device: VfioDevice,
}

impl Opened {
    pub fn map(&self, region: u32) -> Result<*mut u8> {
        use std::os::fd::AsRawFd;

        let (bytes, offset) =
            (self.device.get_region_size(region), self.device.get_region_offset(region));
        let mapped = Mapped::new(
            bytes as usize,
            libc::MAP_SHARED,
            self.device.as_raw_fd(),
            i64::try_from(offset)?,
        )?;
        let address = mapped.address;

        self.regions.borrow_mut().insert(region, mapped);
        Ok(address)
    }

    pub fn unmap(&self, region: u32) {
        self.regions.borrow_mut().remove(&region);
    }
}

#[derive(Default)]
pub struct Plain {
    ops: Option<Arc<dyn VfioOps>>,
}

impl Plain {
    fn ops(&self) -> Result<&Arc<dyn VfioOps>> {
        self.ops.as_ref().ok_or_else(|| "the guest has not been started".into())
    }

    fn memory(bytes: u64, pages: Pages) -> Result<Ram> {
        let huge = if pages == Pages::Huge { libc::MAP_HUGETLB | libc::MAP_HUGE_2MB } else { 0 };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | huge;
        let mapped = Mapped::new(bytes as usize, flags, -1, 0)?;
        let advice = match pages {
            Pages::Small => libc::MADV_NOHUGEPAGE,
            _ => libc::MADV_HUGEPAGE,
        };

        if pages != Pages::Huge {
            // A hint, which a kernel without transparent huge pages refuses.
            unsafe { libc::madvise(mapped.address.cast(), mapped.bytes, advice) };
        }
        mapped.populate()?;
        Ok(Ram { address: mapped.address, bytes, _owner: Box::new(mapped) })
    }
}

impl Host for Plain {
    fn start(
        &mut self,
        slices: &[Slice],
        pages: Pages,
        addresses: &[String],
        kvm: DeviceFd,
    ) -> Result<(Ram, Vec<Device>)> {
        let kvm = Some(Arc::new(VfioDeviceFd::new_from_kvm(kvm)));
        let ram = Plain::memory(slices.iter().map(|slice| slice.bytes).sum(), pages)?;
        let ops: Arc<dyn VfioOps> = if Path::new("/dev/iommu").exists() {
            Arc::new(VfioIommufd::new(Arc::new(IommuFd::new()?), None, kvm)?)
        } else {
            Arc::new(VfioContainer::new(kvm)?)
        };

        self.ops = Some(ops.clone());
        let devices = addresses.iter().map(|address| self.open(address)).collect::<Result<_>>()?;
        for slice in slices {
            // The memory stays until stop() has unmapped it.
            unsafe {
                let address = ram.address.add(slice.offset as usize);
                ops.vfio_dma_map(slice.guest, slice.bytes as usize, address)?;
            }
        }
        Ok((ram, devices))
    }

    fn add_memory(&mut self, guest: u64, bytes: u64, pages: Pages) -> Result<Ram> {
        let ram = Plain::memory(bytes, pages)?;

        // The memory stays until it is unmapped.
        unsafe { self.ops()?.vfio_dma_map(guest, bytes as usize, ram.address)? };
        Ok(ram)
    }

    fn remove_memory(&mut self, guest: u64, ram: Ram) -> Result<()> {
        Ok(self.ops()?.vfio_dma_unmap(guest, ram.bytes as usize)?)
    }

    fn open(&mut self, address: &str) -> Result<Device> {
        let path = Path::new("/sys/bus/pci/devices").join(address);
        let device = VfioDevice::new(&path, self.ops()?.clone(), true)?;

        Ok(Device::Plain(Rc::new(Opened { regions: RefCell::default(), device })))
    }

    fn close(&mut self, device: Device) -> Result<()> {
        drop(device);
        Ok(())
    }

    fn reset(&mut self, _devices: &[Device]) -> Result<bool> {
        Ok(false)
    }

    fn stop(
        &mut self,
        slices: &[Slice],
        machine: Machine,
        ram: Ram,
        devices: Vec<Device>,
    ) -> Result<()> {
        drop(machine);
        for slice in slices {
            self.ops()?.vfio_dma_unmap(slice.guest, slice.bytes as usize)?;
        }
        drop(devices);
        self.ops = None;
        drop(ram);
        Ok(())
    }
}
