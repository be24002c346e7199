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

/// An address and the data that a device writes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub address: u64,
    pub data: u32,
}

/// The routes of a virtual machine.
#[derive(Clone)]
pub struct Router {
    vm: Rc<VmFd>,
    messages: Rc<RefCell<BTreeMap<u32, Message>>>,
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

    /// The first of the GSIs of a device.
    pub fn first_gsi(device: usize) -> u32 {
        IOAPIC_PINS + device as u32 * 128
    }

    /// Routes a GSI to a message.
    pub fn set(&self, gsi: u32, to: Message) -> Result<()> {
        if self.messages.borrow_mut().insert(gsi, to) == Some(to) {
            return Ok(());
        }
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
