//! What the VMM needs of the host: memory that devices can reach, and devices.

use std::any::Any;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;

use vfioboost::Irq;
use vmm_sys_util::eventfd::EventFd;

use crate::machine::Machine;
use crate::plain::Opened;
use crate::Result;

/// The region of a device's configuration space. 0 to 5 are its BARs.
pub const CONFIG: u32 = vfioboost::Device::CONFIG;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    Small,
    Transparent,
    Huge,
}

/// Guest memory. It is mapped as long as its owner exists.
pub struct Ram {
    pub address: *mut u8,
    pub bytes: u64,
    pub _owner: Box<dyn Any>,
}

/// Where a part of the memory is in the guest.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    pub guest: u64,
    pub offset: u64,
    pub bytes: u64,
}

/// A device that is open.
#[derive(Clone)]
pub enum Device {
    Boost(vfioboost::Device),
    Plain(Rc<Opened>),
}

impl Device {
    pub fn bytes(&self, region: u32) -> u64 {
        match self {
            Device::Boost(device) => device.region_info(region).map_or(0, |info| info.bytes),
            Device::Plain(opened) => opened.device.get_region_size(region),
        }
    }

    /// What cannot be read is all ones, as on a bus.
    pub fn read(&self, region: u32, offset: u64, data: &mut [u8]) {
        match self {
            Device::Boost(device) => {
                if device.region_read(region, offset, data).is_err() {
                    data.fill(0xff);
                }
            }
            Device::Plain(opened) => opened.device.region_read(region, data, offset),
        }
    }

    /// What cannot be written is ignored, as on a bus.
    pub fn write(&self, region: u32, offset: u64, data: &[u8]) {
        match self {
            Device::Boost(device) => drop(device.region_write(region, offset, data)),
            Device::Plain(opened) => opened.device.region_write(region, data, offset),
        }
    }

    /// Maps a region until unmap(), or until the device is closed.
    pub fn map(&self, region: u32) -> Result<*mut u8> {
        match self {
            Device::Boost(device) => Ok(device.region_map(region, true)?),
            Device::Plain(opened) => opened.map(region),
        }
    }

    pub fn unmap(&self, region: u32) -> Result<()> {
        match self {
            Device::Boost(device) => device.region_unmap(region)?,
            Device::Plain(opened) => opened.unmap(region),
        }
        Ok(())
    }

    pub fn enable_msix(&self, eventfds: &[EventFd]) -> Result<()> {
        match self {
            Device::Boost(device) => {
                // They are open as long as the slice.
                let borrow = |fd: &EventFd| unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
                let fds: Vec<_> = eventfds.iter().map(|fd| Some(borrow(fd))).collect();
                Ok(device.irq_enable(Irq::Msix, 0, &fds)?)
            }
            Device::Plain(opened) => Ok(opened.device.enable_msix(eventfds.iter().collect())?),
        }
    }

    pub fn disable_msix(&self) -> Result<()> {
        match self {
            Device::Boost(device) => Ok(device.irq_disable(Irq::Msix)?),
            Device::Plain(opened) => Ok(opened.device.disable_msix()?),
        }
    }

    /// The file that KVM has to know, unless vfio-ioctls reports it.
    pub fn kvm_file(&self) -> Option<RawFd> {
        match self {
            Device::Boost(device) => {
                Some(device.group().unwrap_or_else(|| device.as_fd()).as_raw_fd())
            }
            Device::Plain(_) => None,
        }
    }
}

/// With libvfioboost (`boost`), or without (`plain`).
pub trait Host {
    /// Begins with what start() will wait for, and the virtual machine is created meanwhile.
    fn prepare(&mut self, _slices: &[Slice], _pages: Pages, _addresses: &[String]) -> Result<()> {
        Ok(())
    }
    /// Creates and maps guest memory, and opens devices. `kvm` is KVM's VFIO device.
    fn start(
        &mut self,
        slices: &[Slice],
        pages: Pages,
        addresses: &[String],
        kvm: kvm_ioctls::DeviceFd,
    ) -> Result<(Ram, Vec<Device>)>;
    fn add_memory(&mut self, guest: u64, bytes: u64, pages: Pages) -> Result<Ram>;
    fn remove_memory(&mut self, guest: u64, ram: Ram) -> Result<()>;
    fn open(&mut self, address: &str) -> Result<Device>;
    fn close(&mut self, device: Device) -> Result<()>;
    /// Prepares devices and memory for the next boot, and returns true; or false if both have to be
    /// stopped and started again.
    fn reset(&mut self, devices: &[Device]) -> Result<bool>;
    /// Drops the machine, which does not use the devices any more, before the memory.
    fn stop(
        &mut self,
        slices: &[Slice],
        machine: Machine,
        ram: Ram,
        devices: Vec<Device>,
    ) -> Result<()>;
    /// How many ranges are mapped for devices; 0 if nobody counts them.
    fn ranges(&self) -> Result<usize> {
        Ok(0)
    }
}
