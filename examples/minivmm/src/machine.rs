//! A virtual machine of KVM with one processor, a serial port and a PCI bus.

use std::cell::RefCell;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::rc::Rc;

use kvm_bindings::{
    kvm_create_device, kvm_device_attr, kvm_device_type_KVM_DEV_TYPE_VFIO, kvm_pit_config,
    KVM_DEV_VFIO_FILE, KVM_DEV_VFIO_FILE_ADD, KVM_DEV_VFIO_FILE_DEL, KVM_MAX_CPUID_ENTRIES,
    KVM_PIT_SPEAKER_DUMMY,
};
use kvm_ioctls::{DeviceFd, Kvm, VcpuExit, VcpuFd, VmFd};
use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::EventFd;

use crate::function::set_memory;
use crate::host::Device;
use crate::irq::Router;
use crate::pci::Bus;
use crate::Result;

const SERIAL: u16 = 0x3f8;
const SERIAL_IRQ: u32 = 4;
/// The real-time clock, whose registers Linux waits for unless they are 0.
const CLOCK: u16 = 0x71;
const KEYBOARD: u16 = 0x64;
/// To the keyboard's controller: reset the processor.
const KEYBOARD_RESET: u8 = 0xfe;

struct Line(EventFd);

impl Trigger for Line {
    type E = std::io::Error;

    fn trigger(&self) -> std::io::Result<()> {
        self.0.write(1)
    }
}

/// A longer line is taken apart, so that a guest cannot use up the memory of this process.
const LONGEST_LINE: usize = 4096;

/// What the guest has printed and nobody has read.
#[derive(Clone, Default)]
struct Printed(Rc<RefCell<Vec<u8>>>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Printed {
    fn line(&self) -> Option<String> {
        let mut bytes = self.0.borrow_mut();
        let full = (bytes.len() >= LONGEST_LINE).then_some(bytes.len().saturating_sub(1));
        let end = bytes.iter().position(|byte| *byte == b'\n').or(full)?;
        let line: Vec<u8> = bytes.drain(..=end).collect();

        Some(String::from_utf8_lossy(&line).trim_end().to_string())
    }
}

/// Why a guest does not run.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// It has printed a line.
    Line(String),
    /// It wants to be reset.
    Reset,
}

pub struct Machine {
    pub bus: Bus,
    pub router: Router,
    vm: Rc<VmFd>,
    vcpu: VcpuFd,
    vfio: DeviceFd,
    serial: Serial<Line, NoEvents, Printed>,
    printed: Printed,
}

fn create_vcpu(kvm: &Kvm, vm: &VmFd) -> Result<VcpuFd> {
    let vcpu = vm.create_vcpu(0)?;
    let mut cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;

    for entry in cpuid.as_mut_slice().iter_mut().filter(|entry| entry.function == 1) {
        // The deadline timer stalls under nested emulation.
        entry.ecx &= !(1 << 24);
    }
    vcpu.set_cpuid2(&cpuid)?;
    Ok(vcpu)
}

impl Machine {
    pub fn new(kvm: &Kvm) -> Result<Machine> {
        let vm = Rc::new(kvm.create_vm()?);
        let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
        let mut vfio =
            kvm_create_device { type_: kvm_device_type_KVM_DEV_TYPE_VFIO, ..Default::default() };

        vm.set_tss_address(0xfffb_d000)?;
        vm.create_irq_chip()?;
        vm.create_pit2(pit)?;
        let line = EventFd::new(libc::EFD_NONBLOCK)?;
        vm.register_irqfd(&line, SERIAL_IRQ)?;
        let printed = Printed::default();
        Ok(Machine {
            bus: Bus::new(),
            router: Router::new(&vm),
            vcpu: create_vcpu(kvm, &vm)?,
            vfio: vm.create_device(&mut vfio)?,
            serial: Serial::new(Line(line), printed.clone()),
            printed,
            vm,
        })
    }

    pub fn vcpu(&self) -> &VcpuFd {
        &self.vcpu
    }

    /// KVM's VFIO device, for vfio-ioctls.
    pub fn vfio(&self) -> Result<DeviceFd> {
        // A duplicate belongs to whoever gets it.
        match unsafe { libc::fcntl(self.vfio.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 0) } {
            -1 => Err(std::io::Error::last_os_error().into()),
            fd => Ok(unsafe { DeviceFd::from_raw_fd(fd) }),
        }
    }

    pub fn set_memory(&self, slot: u32, guest: u64, bytes: u64, host: *mut u8) -> Result<()> {
        set_memory(&self.vm, slot, guest, bytes, host)
    }

    fn set_file(&self, attribute: u32, file: RawFd) -> Result<()> {
        Ok(self.vfio.set_device_attr(&kvm_device_attr {
            group: KVM_DEV_VFIO_FILE,
            attr: u64::from(attribute),
            addr: &file as *const RawFd as u64,
            flags: 0,
        })?)
    }

    /// Plugs a device in, and returns its number on the bus.
    pub fn plug(&mut self, device: &Device) -> Result<usize> {
        if let Some(file) = device.kvm_file() {
            self.set_file(KVM_DEV_VFIO_FILE_ADD, file)?;
        }
        self.bus.plug(device.clone(), &self.router)
    }

    pub fn unplug(&mut self, number: usize) -> Result<Device> {
        let device = self.bus.unplug(number)?.ok_or("there is no such device")?;

        if let Some(file) = device.kvm_file() {
            self.set_file(KVM_DEV_VFIO_FILE_DEL, file)?;
        }
        Ok(device)
    }

    /// Types a line at the serial port.
    pub fn send(&mut self, line: &str) -> Result<()> {
        self.serial
            .enqueue_raw_bytes(format!("{line}\n").as_bytes())
            .map(drop)
            .map_err(|error| format!("the serial port: {error:?}").into())
    }

    /// Runs the guest until it has something to say.
    pub fn run(&mut self) -> Result<Stop> {
        loop {
            if let Some(line) = self.printed.line() {
                return Ok(Stop::Line(line));
            }
            match self.vcpu.run() {
                Ok(VcpuExit::IoIn(port, data)) => match port {
                    SERIAL..=0x3ff => data.fill(self.serial.read((port - SERIAL) as u8)),
                    0xcf8..=0xcff => self.bus.read_port(port, data),
                    KEYBOARD | CLOCK => data.fill(0),
                    _ => data.fill(0xff),
                },
                Ok(VcpuExit::IoOut(KEYBOARD, [KEYBOARD_RESET])) => return Ok(Stop::Reset),
                Ok(VcpuExit::IoOut(port, data)) => match port {
                    // It fails if its buffer of 64 bytes is full, as hardware does.
                    SERIAL..=0x3ff => drop(self.serial.write((port - SERIAL) as u8, data[0])),
                    0xcf8..=0xcff => self.bus.write_port(port, data)?,
                    _ => (),
                },
                Ok(VcpuExit::MmioRead(address, data)) => self.bus.read_memory(address, data),
                Ok(VcpuExit::MmioWrite(address, data)) => self.bus.write_memory(address, data)?,
                Ok(exit) => return Err(format!("the guest has stopped: {exit:?}").into()),
                Err(error) if error.errno() == libc::EINTR => (),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_an_end() {
        let mut printed = Printed::default();

        printed.write_all(b"one\r\ntwo").unwrap();
        assert_eq!(printed.line().unwrap(), "one");
        assert_eq!(printed.line(), None);
        printed.write_all(&[b'x'; LONGEST_LINE]).unwrap();
        assert_eq!(printed.line().unwrap().len(), LONGEST_LINE + "two".len());
        assert_eq!(printed.line(), None);
    }
}
