//! A passed-through PCI function: its BARs are slots of KVM's memory, but for the pages of its
//! MSI-X table, which the VMM emulates.

use kvm_bindings::kvm_userspace_memory_region;
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
    routed: bool,
}

struct Msix {
    capability: u64,
    control: u16,
    region: u32,
    table: u64,
    /// The pages of its BAR that the guest must not reach by itself.
    trapped: std::ops::Range<u64>,
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
            vectors: (0..count).map(|_| Vector { entry: [0, 0, 0, 1], routed: false }).collect(),
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
        let parts = [(0, trapped.start), (trapped.end, bar.bytes)];

        parts.iter().filter(|part| part.0 < part.1).map(|part| (part.0, part.1 - part.0)).collect()
    }

    fn set_slot(&self, slot: u32, guest: u64, bytes: u64, host: *mut u8) -> Result<()> {
        let region = kvm_userspace_memory_region {
            slot,
            guest_phys_addr: guest,
            memory_size: bytes,
            userspace_addr: host as u64,
            flags: 0,
        };

        // The BAR stays mapped until the device is closed, and the slots are removed before.
        Ok(unsafe { self.router.vm().set_user_memory_region(region) }?)
    }

    /// Lets the guest see the BARs where it has put them, or not at all.
    fn decode(&mut self, on: bool) -> Result<()> {
        let mut next = self.slot as u32 * MEMSLOTS;

        for index in 0..self.bars.len() {
            for slot in std::mem::take(&mut self.bars[index].slots) {
                self.set_slot(slot, 0, 0, std::ptr::null_mut())?;
            }
            self.bars[index].address = None;
            if !on {
                continue;
            }
            let bar = &self.bars[index];
            let address = self.bar_address(bar);
            let mut slots = Vec::new();
            for (offset, bytes) in self.parts(bar) {
                // The host's address is within the mapping.
                let host = unsafe { bar.host.add(offset as usize) };
                self.set_slot(next, address + offset, bytes, host)?;
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

    pub fn read(&mut self, region: u32, offset: u64, data: &mut [u8]) {
        match self.msix.entry(region, offset) {
            Some((_, word)) => {
                data.iter_mut().zip(word.to_le_bytes()).for_each(|(to, from)| *to = from)
            }
            None => self.device.read(region, offset, data),
        }
    }

    pub fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<()> {
        match (self.msix.entry(region, offset), data.try_into()) {
            (Some((vector, word)), Ok(data)) => {
                *word = u32::from_le_bytes(data);
                self.route(vector)
            }
            // An entry is written by words.
            (Some(_), Err(_)) => Ok(()),
            (None, _) => {
                self.device.write(region, offset, data);
                Ok(())
            }
        }
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
        let control = self.msix.capability + 2;

        if (control..control + 2).contains(&offset) {
            return match data {
                [_, high] => self.set_msix(u16::from(*high) << 8 & 0xc000),
                _ => Ok(()),
            };
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
        let gsi = Router::first_gsi(self.slot) + index as u32;
        let deliver = self.msix.control & 0xc000 == 0x8000;
        let vector = &mut self.msix.vectors[index];
        let [low, high, data, masked] = vector.entry;
        let deliver = deliver && masked & 1 == 0;

        if deliver {
            let address = u64::from(high) << 32 | u64::from(low);
            self.router.set(gsi, Message { address, data })?;
        }
        if deliver != vector.routed {
            let vm = self.router.vm();
            match deliver {
                true => vm.register_irqfd(&self.msix.eventfds[index], gsi)?,
                false => vm.unregister_irqfd(&self.msix.eventfds[index], gsi)?,
            }
            vector.routed = deliver;
        }
        Ok(())
    }
}
