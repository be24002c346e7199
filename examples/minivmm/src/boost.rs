//! The host by libvfioboost: memory is populated and mapped while devices open, and while the virtual
//! machine is created.

use kvm_ioctls::DeviceFd;
use vfioboost::{
    close_devices, open_devices, reset_devices, Ctx, CtxOptions, Job, Memory, MemoryOptions,
    PageSize, Range, ResetMethod, Space, SpaceOptions,
};

use crate::host::{Device, Host, Pages, Ram, Slice};
use crate::machine::Machine;
use crate::Result;

/// What has begun.
struct Starting {
    opening: Job<vfioboost::Device>,
    mapping: Job<u64>,
    memory: Memory,
}

pub struct Boost {
    starting: Option<Starting>,
    ctx: Ctx,
    space: Option<Space>,
}

impl Boost {
    /// All threads exist from the beginning, for this number of devices at a time.
    pub fn new(devices: usize) -> Result<Self> {
        let options = CtxOptions { devices: devices as u32, ..Default::default() };

        Ok(Boost { starting: None, ctx: Ctx::with_options(&options)?, space: None })
    }

    fn space(&self) -> Result<&Space> {
        self.space.as_ref().ok_or_else(|| "the guest has not been started".into())
    }

    fn memory(&self, bytes: u64, pages: Pages) -> Result<Memory> {
        let options = MemoryOptions::new(bytes).page_size(page_size(pages));

        Ok(Memory::new(&self.ctx, &options)?)
    }
}

fn page_size(pages: Pages) -> PageSize {
    match pages {
        Pages::Small => PageSize::Base,
        Pages::Transparent => PageSize::Transparent,
        Pages::Huge => PageSize::Huge2M,
    }
}

fn ram_of(memory: Memory) -> Ram {
    Ram { address: memory.address(), bytes: memory.bytes(), _owner: Box::new(memory) }
}

fn handles(devices: impl IntoIterator<Item = Device>) -> Vec<vfioboost::Device> {
    let handle = |device| match device {
        Device::Boost(device) => Some(device),
        Device::Plain(_) => None,
    };

    devices.into_iter().filter_map(handle).collect()
}

impl Host for Boost {
    fn prepare(&mut self, slices: &[Slice], pages: Pages, addresses: &[String]) -> Result<()> {
        let options = SpaceOptions { page_size: page_size(pages), ..Default::default() };
        let space = Space::with_options(&self.ctx, &options)?;
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let memory = self.memory(slices.iter().map(|slice| slice.bytes).sum(), pages)?;
        let ranges: Vec<_> = slices
            .iter()
            .map(|slice| Range::new(&memory, slice.offset, slice.bytes, slice.guest))
            .collect();
        let opening = open_devices(&space, &addresses)?;
        let mapping = space.map(&ranges)?;

        self.space = Some(space);
        self.starting = Some(Starting { opening, mapping, memory });
        Ok(())
    }

    fn start(
        &mut self,
        _slices: &[Slice],
        _pages: Pages,
        _addresses: &[String],
        _kvm: DeviceFd,
    ) -> Result<(Ram, Vec<Device>)> {
        let starting = self.starting.take().ok_or("nothing was prepared")?;
        let devices = starting.opening.wait()?.into_iter().map(Device::Boost).collect();

        starting.mapping.wait()?;
        Ok((ram_of(starting.memory), devices))
    }

    fn add_memory(&mut self, guest: u64, bytes: u64, pages: Pages) -> Result<Ram> {
        let memory = self.memory(bytes, pages)?;

        self.space()?.map(&[Range::new(&memory, 0, bytes, guest)])?.wait()?;
        Ok(ram_of(memory))
    }

    fn remove_memory(&mut self, guest: u64, ram: Ram) -> Result<()> {
        Ok(self.space()?.unmap(&[(guest, ram.bytes)])?.wait().map(drop)?)
    }

    fn open(&mut self, address: &str) -> Result<Device> {
        let mut devices = open_devices(self.space()?, &[address])?.wait()?;

        devices.pop().map(Device::Boost).ok_or_else(|| "no device was opened".into())
    }

    fn close(&mut self, device: Device) -> Result<()> {
        Ok(close_devices(handles([device]))?.wait().map(drop)?)
    }

    /// In constant time: memory and its mappings stay, and devices are reset in parallel.
    fn reset(&mut self, devices: &[Device]) -> Result<bool> {
        reset_devices(&handles(devices.iter().cloned()), ResetMethod::Auto)?.wait()?;
        Ok(true)
    }

    fn stop(
        &mut self,
        slices: &[Slice],
        machine: Machine,
        ram: Ram,
        devices: Vec<Device>,
    ) -> Result<()> {
        let ranges: Vec<_> = slices.iter().map(|slice| (slice.guest, slice.bytes)).collect();
        let closing = close_devices(handles(devices))?;
        let unmapping = self.space()?.unmap(&ranges)?;

        drop(machine);
        unmapping.wait()?;
        drop(ram);
        closing.wait()?;
        self.space = None;
        Ok(())
    }

    fn ranges(&self) -> Result<usize> {
        Ok(self.space()?.info()?.mappings)
    }
}
