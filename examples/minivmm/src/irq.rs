//! Routing of interrupts in KVM: those of a PC, and messages of devices.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use kvm_bindings::{
    kvm_irq_routing_entry, KvmIrqRouting, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE, KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI,
};
use kvm_ioctls::VmFd;

use crate::Result;

const IOAPIC_PINS: u32 = 24;
/// As many as KVM has.
const GSIS: u32 = 4096;

/// An address and the data that a device writes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub address: u64,
    pub data: u32,
}

type Messages = BTreeMap<u32, Message>;

/// The routes of a virtual machine.
#[derive(Clone)]
pub struct Router {
    vm: Rc<VmFd>,
    messages: Rc<RefCell<Messages>>,
}

/// Devices have up to 2048 vectors each, of which a guest uses few: a GSI belongs to one as long as
/// it is routed.
fn free_gsi(messages: &Messages) -> Result<u32> {
    let used = (IOAPIC_PINS..).zip(messages.keys()).take_while(|(gsi, key)| gsi == *key).count();

    match IOAPIC_PINS + used as u32 {
        GSIS => Err(format!("the guest uses more vectors than KVM has routes, {GSIS}").into()),
        gsi => Ok(gsi),
    }
}

fn pin(gsi: u32, chip: u32, number: u32) -> kvm_irq_routing_entry {
    let mut entry =
        kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_IRQCHIP, ..Default::default() };

    entry.u.irqchip.irqchip = chip;
    entry.u.irqchip.pin = number;
    entry
}

fn message(gsi: u32, message: &Message) -> kvm_irq_routing_entry {
    let mut entry = kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_MSI, ..Default::default() };

    entry.u.msi.address_lo = message.address as u32;
    entry.u.msi.address_hi = (message.address >> 32) as u32;
    entry.u.msi.data = message.data;
    entry
}

impl Router {
    pub fn new(vm: &Rc<VmFd>) -> Router {
        Router { vm: vm.clone(), messages: Rc::default() }
    }

    pub fn vm(&self) -> &VmFd {
        &self.vm
    }

    /// Routes a GSI to a message: this one, or if there is none a free one. Returns it.
    pub fn set(&self, gsi: Option<u32>, to: Message) -> Result<u32> {
        let gsi = gsi.map_or_else(|| free_gsi(&self.messages.borrow()), Ok)?;

        if self.messages.borrow_mut().insert(gsi, to) != Some(to) {
            self.update()?;
        }
        Ok(gsi)
    }

    /// Nothing uses the GSI any more. KVM keeps the route until the next change.
    pub fn free(&self, gsi: u32) {
        self.messages.borrow_mut().remove(&gsi);
    }

    fn update(&self) -> Result<()> {
        let mut entries = Vec::new();
        for gsi in 0..8 {
            entries.push(pin(gsi, KVM_IRQCHIP_PIC_MASTER, gsi));
            entries.push(pin(gsi + 8, KVM_IRQCHIP_PIC_SLAVE, gsi));
        }
        // The timer of a PC is connected to pin 2.
        entries.extend(
            (0..IOAPIC_PINS)
                .map(|gsi| pin(gsi, KVM_IRQCHIP_IOAPIC, if gsi == 0 { 2 } else { gsi })),
        );
        entries.extend(self.messages.borrow().iter().map(|(gsi, to)| message(*gsi, to)));
        Ok(self.vm.set_gsi_routing(&KvmIrqRouting::from_entries(&entries)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_all_devices_have_a_gsi_each() {
        let mut messages = Messages::new();

        for _ in IOAPIC_PINS..GSIS {
            let gsi = free_gsi(&messages).unwrap();
            assert!(gsi >= IOAPIC_PINS);
            assert!(messages.insert(gsi, Message { address: 0xfee0_0000, data: gsi }).is_none());
        }
        assert!(free_gsi(&messages).is_err());
        messages.remove(&200);
        assert_eq!(free_gsi(&messages).unwrap(), 200);
    }
}
