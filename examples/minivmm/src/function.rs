//! A passed-through PCI function: its BARs are slots of KVM's memory, but for the pages of its
//! MSI-X table, which the VMM emulates.

use std::ops::Range;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use vmm_sys_util::eventfd::EventFd;

use crate::host::{Device, CONFIG};
use crate::irq::{Message, Router};
use crate::Result;

const COMMAND: u64 = 4;
const COMMAND_MEMORY: u8 = 2;
const STATUS_CAPABILITIES: u8 = 0x10;
const BARS: u64 = 0x10;
const CAPABILITIES: u64 = 0x34;
const CAPABILITY_MSIX: u8 = 0x11;
const PAGE: u64 = 4096;
/// Slots of KVM's memory for each function; lower ones are memory's.
const MEMSLOTS: u32 = 16;

struct Bar {
    region: u32,
    bytes: u64,
    wide: bool,
    host: *mut u8,
    /// Where the guest sees it.
    address: Option<u64>,
    /// The slots of its parts, as long as it has an address.
    slots: Vec<u32>,
}

#[derive(Default)]
struct Vector {
    /// Address, address, data, control.
    entry: [u32; 4],
    /// Where it is routed.
    gsi: Option<u32>,
}

struct Msix {
    capability: u64,
    control: u16,
    region: u32,
    table: u64,
    /// The pages of its BAR that the guest must not reach by itself.
    trapped: Range<u64>,
    vectors: Vec<Vector>,
    eventfds: Vec<EventFd>,
}

pub struct Function {
    device: Device,
    slot: usize,
    router: Router,
    bars: Vec<Bar>,
    msix: Msix,
}

fn load(device: &Device, offset: u64) -> u32 {
    let mut data = [0; 4];

    device.read(CONFIG, offset, &mut data);
    u32::from_le_bytes(data)
}

fn find_capability(device: &Device, id: u8) -> Option<u64> {
    if (load(device, COMMAND) >> 16) as u8 & STATUS_CAPABILITIES == 0 {
        return None;
    }
    let mut at = u64::from(load(device, CAPABILITIES) & 0xfc);
    // A device's list may be a circle.
    for _ in 0..48 {
        if at == 0 {
            break;
        }
        let header = load(device, at);
        if header as u8 == id {
            return Some(at);
        }
        at = u64::from((header >> 8) & 0xfc);
    }
    None
}

/// Maps memory of the process into the guest, or with 0 bytes removes it.
pub fn set_memory(vm: &VmFd, slot: u32, guest: u64, bytes: u64, host: *mut u8) -> Result<()> {
    let region = kvm_userspace_memory_region {
        slot,
        guest_phys_addr: guest,
        memory_size: bytes,
        userspace_addr: host as u64,
        flags: 0,
    };

    // The caller keeps the memory until it has removed the slot, or closed the machine.
    Ok(unsafe { vm.set_user_memory_region(region) }?)
}

/// What is left of a BAR: offset and length. The device says where the table is, which may be beyond
/// the end of the BAR.
fn around(trapped: Range<u64>, bytes: u64) -> Vec<(u64, u64)> {
    let parts = [0..trapped.start.min(bytes), trapped.end..bytes];

    parts
        .iter()
        .filter(|part| !part.is_empty())
        .map(|part| (part.start, part.end - part.start))
        .collect()
}

impl Msix {
    fn new(device: &Device) -> Result<Msix> {
        let capability = find_capability(device, CAPABILITY_MSIX).ok_or("a device has no MSI-X")?;
        let count = ((load(device, capability) >> 16) & 0x7ff) + 1;
        let (table, pending) = (load(device, capability + 4), load(device, capability + 8));
        let start = u64::from(table & !7);
        let mut end = start + u64::from(count) * 16;

        if pending & 7 == table & 7 {
            end = end.max(u64::from(pending & !7) + u64::from(count.div_ceil(64)) * 8);
        }
        let eventfds = (0..count).map(|_| EventFd::new(libc::EFD_NONBLOCK));
        Ok(Msix {
            capability,
            control: 0,
            region: table & 7,
            table: start,
            trapped: start / PAGE * PAGE..end.next_multiple_of(PAGE),
            vectors: (0..count).map(|_| Vector { entry: [0, 0, 0, 1], gsi: None }).collect(),
            eventfds: eventfds.collect::<std::io::Result<_>>()?,
        })
    }

    fn enabled(&self) -> bool {
        self.control & 0x8000 != 0
    }

    /// The vector, and the word of its entry, at an offset of the BAR.
    fn entry(&mut self, region: u32, offset: u64) -> Option<(usize, &mut u32)> {
        let at = offset.checked_sub(self.table).filter(|_| region == self.region)? as usize;
        let vector = self.vectors.get_mut(at / 16)?;

        Some((at / 16, &mut vector.entry[at % 16 / 4]))
    }
}

impl Function {
    pub fn new(device: Device, slot: usize, router: &Router) -> Result<Function> {
        let msix = Msix::new(&device)?;
        let mut bars = Vec::new();
        let mut region = 0;

        while region < 6 {
            let value = load(&device, BARS + u64::from(region) * 4);
            let wide = value & 7 == 4;
            let bytes = device.bytes(region);
            if bytes > 0 && value & 1 == 0 {
                let host = device.map(region)?;
                bars.push(Bar { region, bytes, wide, host, address: None, slots: Vec::new() });
            }
            region += if wide { 2 } else { 1 };
        }
        let mut function = Function { device, slot, router: router.clone(), bars, msix };
        function.reset()?;
        Ok(function)
    }

    /// A guest that is booted finds no BAR where another one has put it.
    fn reset(&mut self) -> Result<()> {
        self.write_config(COMMAND, &[0, 0])?;
        for index in 0..self.bars.len() {
            let at = BARS + u64::from(self.bars[index].region) * 4;
            self.device.write(CONFIG, at, &[0; 4]);
            if self.bars[index].wide {
                self.device.write(CONFIG, at + 4, &[0; 4]);
            }
        }
        Ok(())
    }

    /// Removes what KVM has of it.
    pub fn release(mut self) -> Result<Device> {
        self.decode(false)?;
        self.set_msix(0)?;
        for bar in &self.bars {
            self.device.unmap(bar.region)?;
        }
        Ok(self.device)
    }

    /// The parts of a BAR that the guest reaches by itself: offset and length.
    fn parts(&self, bar: &Bar) -> Vec<(u64, u64)> {
        let trapped = match bar.region == self.msix.region {
            true => self.msix.trapped.clone(),
            false => bar.bytes..bar.bytes,
        };

        around(trapped, bar.bytes)
    }

    /// Lets the guest see the BARs where it has put them, or not at all.
    fn decode(&mut self, on: bool) -> Result<()> {
        let mut next = self.slot as u32 * MEMSLOTS;

        for index in 0..self.bars.len() {
            for slot in std::mem::take(&mut self.bars[index].slots) {
                set_memory(self.router.vm(), slot, 0, 0, std::ptr::null_mut())?;
            }
            self.bars[index].address = None;
            if !on {
                continue;
            }
            let bar = &self.bars[index];
            let address = self.bar_address(bar);
            let mut slots = Vec::new();
            for (offset, bytes) in self.parts(bar) {
                // The host's address is within the mapping, which stays until the slots are removed.
                let host = unsafe { bar.host.add(offset as usize) };
                set_memory(self.router.vm(), next, address + offset, bytes, host)?;
                slots.push(next);
                next += 1;
            }
            self.bars[index].address = Some(address);
            self.bars[index].slots = slots;
        }
        Ok(())
    }

    fn bar_address(&self, bar: &Bar) -> u64 {
        let at = BARS + u64::from(bar.region) * 4;
        let high = if bar.wide { load(&self.device, at + 4) } else { 0 };

        u64::from(high) << 32 | u64::from(load(&self.device, at) & !15)
    }

    /// Which BAR contains an address, and where.
    pub fn find(&self, address: u64) -> Option<(u32, u64)> {
        self.bars.iter().find_map(|bar| {
            let offset = address.checked_sub(bar.address?)?;
            (offset < bar.bytes).then_some((bar.region, offset))
        })
    }

    /// An entry of the table is accessed by words, one or two at a time.
    pub fn read(&mut self, region: u32, offset: u64, data: &mut [u8]) {
        if self.msix.entry(region, offset).is_none() {
            return self.device.read(region, offset, data);
        }
        data.fill(0xff);
        for (at, data) in (offset..).step_by(4).zip(data.chunks_mut(4)) {
            if let Some((_, word)) = self.msix.entry(region, at) {
                data.copy_from_slice(&word.to_le_bytes()[..data.len()]);
            }
        }
    }

    pub fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<()> {
        if self.msix.entry(region, offset).is_none() {
            self.device.write(region, offset, data);
            return Ok(());
        }
        for (at, data) in (offset..).step_by(4).zip(data.chunks_exact(4)) {
            if let Some((vector, word)) = self.msix.entry(region, at) {
                *word = u32::from_le_bytes(data.try_into()?);
                self.route(vector)?;
            }
        }
        Ok(())
    }

    pub fn read_config(&self, offset: u64, data: &mut [u8]) {
        self.device.read(CONFIG, offset, data);
        let control = self.msix.control.to_le_bytes();

        for (at, byte) in (offset..).zip(data) {
            // The size of the table is the device's, the two bits are the guest's.
            if at == self.msix.capability + 3 {
                *byte = *byte & 0x3f | control[1];
            }
        }
    }

    pub fn write_config(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        let control = (self.msix.capability + 3).checked_sub(offset);

        if let Some(high) = control.and_then(|at| data.get(at as usize)) {
            // The other bits of the capability cannot be written.
            return self.set_msix(u16::from(*high) << 8 & 0xc000);
        }
        if offset == COMMAND {
            // Before the device stops decoding, and after it has begun.
            self.decode(false)?;
            self.device.write(CONFIG, offset, data);
            return self.decode(data[0] & COMMAND_MEMORY != 0);
        }
        self.device.write(CONFIG, offset, data);
        Ok(())
    }

    fn set_msix(&mut self, control: u16) -> Result<()> {
        let was = self.msix.enabled();

        self.msix.control = control;
        if self.msix.enabled() && !was {
            self.device.enable_msix(&self.msix.eventfds)?;
        } else if was && !self.msix.enabled() {
            self.device.disable_msix()?;
        }
        (0..self.msix.vectors.len()).try_for_each(|vector| self.route(vector))
    }

    /// Delivers a vector as its entry says. What arrives while it is masked waits in its eventfd.
    fn route(&mut self, index: usize) -> Result<()> {
        let deliver = self.msix.control & 0xc000 == 0x8000;
        let (vector, eventfd) = (&mut self.msix.vectors[index], &self.msix.eventfds[index]);
        let [low, high, data, masked] = vector.entry;

        if deliver && masked & 1 == 0 {
            let address = u64::from(high) << 32 | u64::from(low);
            let gsi = self.router.set(vector.gsi, Message { address, data })?;
            if vector.gsi.replace(gsi).is_none() {
                self.router.vm().register_irqfd(eventfd, gsi)?;
            }
        } else if let Some(gsi) = vector.gsi.take() {
            self.router.vm().unregister_irqfd(eventfd, gsi)?;
            self.router.free(gsi);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_reaches_what_is_around_the_table_within_the_bar() {
        assert_eq!(around(0x1000..0x2000, 0x4000), [(0, 0x1000), (0x2000, 0x2000)]);
        assert_eq!(around(0..0x4000, 0x4000), []);
        assert_eq!(around(0x4000..0x4000, 0x4000), [(0, 0x4000)]);
        assert_eq!(around(0x8000..0x9000, 0x4000), [(0, 0x4000)]);
    }

    #[test]
    fn a_table_is_found_by_words() {
        let vectors = (0..2).map(|_| Vector { entry: [1, 2, 3, 4], gsi: None }).collect();
        let mut msix = Msix {
            capability: 0x40,
            control: 0,
            region: 2,
            table: 0x1000,
            trapped: 0x1000..0x2000,
            vectors,
            eventfds: Vec::new(),
        };

        assert_eq!(msix.entry(2, 0x1000 + 16 + 8), Some((1, &mut 3)));
        assert_eq!(msix.entry(2, 0x1000 + 32), None);
        assert_eq!(msix.entry(2, 0xffc), None);
        assert_eq!(msix.entry(0, 0x1000), None);
    }
}
