//! A PCI bus whose configuration space is accessed by ports 0xcf8 and 0xcfc, with passed-through
//! devices that use MSI-X.

use crate::function::Function;
use crate::host::Device;
use crate::irq::Router;
use crate::Result;

/// Device 0 of the bus. Linux looks for one of this class before it believes in the ports.
const BRIDGE: [u32; 3] = [0x1237_8086, 0, 0x0600_0000];
const SLOTS: usize = 32;

pub struct Bus {
    address: u32,
    functions: [Option<Function>; SLOTS],
}

impl Bus {
    pub fn new() -> Bus {
        Bus { address: 0, functions: [const { None }; SLOTS] }
    }

    /// Plugs a device into the first free slot, whose number it returns.
    pub fn plug(&mut self, device: Device, router: &Router) -> Result<usize> {
        let slot = (1..SLOTS).find(|slot| self.functions[*slot].is_none());
        let slot = slot.ok_or("the bus has no free slot")?;

        self.functions[slot] = Some(Function::new(device, slot, router)?);
        Ok(slot)
    }

    /// Unplugs a device: nothing in the virtual machine refers to it any more.
    pub fn unplug(&mut self, slot: usize) -> Result<Option<Device>> {
        self.functions[slot].take().map(Function::release).transpose()
    }

    /// The function, and the offset in its configuration space, of an access to a port.
    fn target(&self, port: u16, bytes: usize) -> (usize, u64) {
        let slot = (self.address >> 11) as usize % SLOTS;
        // Bus 0, function 0, and the bit that enables it. An access is within 4 bytes: a longer one
        // would reach registers that Function looks for by their offsets.
        let valid = self.address & 0x80ff_0700 == 0x8000_0000 && usize::from(port & 3) + bytes <= 4;

        (if valid { slot } else { SLOTS }, u64::from(self.address & 0xfc) + u64::from(port & 3))
    }

    pub fn read_port(&mut self, port: u16, data: &mut [u8]) {
        if port < 0xcfc {
            let address = self.address.to_le_bytes();
            data.iter_mut()
                .zip(&address[usize::from(port & 3)..])
                .for_each(|(to, from)| *to = *from);
            return;
        }
        let (slot, offset) = self.target(port, data.len());
        data.fill(0xff);
        if slot == 0 {
            let bytes =
                BRIDGE.iter().flat_map(|word| word.to_le_bytes()).chain(std::iter::repeat(0));
            data.iter_mut().zip(bytes.skip(offset as usize)).for_each(|(to, from)| *to = from);
        } else if let Some(Some(function)) = self.functions.get(slot) {
            function.read_config(offset, data);
        }
    }

    pub fn write_port(&mut self, port: u16, data: &[u8]) -> Result<()> {
        if port < 0xcfc {
            // Other widths are for other registers.
            if let Ok(address) = data.try_into() {
                self.address = u32::from_le_bytes(address);
            }
            return Ok(());
        }
        let (slot, offset) = self.target(port, data.len());
        match self.functions.get_mut(slot) {
            Some(Some(function)) => function.write_config(offset, data),
            _ => Ok(()),
        }
    }

    fn at(&mut self, address: u64) -> Option<(&mut Function, u32, u64)> {
        self.functions.iter_mut().flatten().find_map(|function| {
            let (region, offset) = function.find(address)?;
            Some((function, region, offset))
        })
    }

    pub fn read_memory(&mut self, address: u64, data: &mut [u8]) {
        match self.at(address) {
            Some((function, region, offset)) => function.read(region, offset, data),
            None => data.fill(0xff),
        }
    }

    pub fn write_memory(&mut self, address: u64, data: &[u8]) -> Result<()> {
        match self.at(address) {
            Some((function, region, offset)) => function.write(region, offset, data),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_is_within_a_register_of_four_bytes() {
        let mut bus = Bus::new();

        bus.write_port(0xcf8, &0x8000_0800u32.to_le_bytes()).unwrap();
        assert_eq!(bus.target(0xcfc, 4), (1, 0));
        assert_eq!(bus.target(0xcfe, 2), (1, 2));
        // The command register is at 4. A string instruction has up to a page.
        assert_eq!(bus.target(0xcfe, 4).0, SLOTS);
        assert_eq!(bus.target(0xcfc, 4096).0, SLOTS);
        let mut data = [0; 8];
        bus.read_port(0xcfc, &mut data);
        assert_eq!(data, [0xff; 8]);
    }
}
