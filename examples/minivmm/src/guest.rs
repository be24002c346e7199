//! The life of a guest: start, what it is asked to do, reboots, and stop.

use std::time::Instant;

use kvm_ioctls::Kvm;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap};

use crate::boost::Boost;
use crate::boot::{self, Image};
use crate::host::{Device, Host, Ram, Slice};
use crate::machine::{Machine, Stop};
use crate::options::{Options, Until};
use crate::plain::Plain;
use crate::usage::Usage;
use crate::Result;

/// Memory below ends here; devices and interrupt controllers follow.
const LOW_END: u64 = 3 << 30;
const HIGH_BEGIN: u64 = 4 << 30;
/// Where memory is added, and the slot of it.
const ADDED: u64 = 128 << 30;
const ADDED_BYTES: u64 = 64 << 20;
const ADDED_SLOT: u32 = 8;
/// There is neither ACPI nor a controller of a keyboard, and reboot=k resets by that nonetheless.
const CMDLINE: &str = "console=ttyS0 quiet acpi=off pci=conf1 reboot=k panic=-1 no_timer_check \
                       tsc=reliable mitigations=off lsm= audit=0 initcall_blacklist=i8042_init";
const SECOND: f64 = 1e9;

/// Where the guest's memory is.
fn slices_of(bytes: u64) -> Vec<Slice> {
    let low = bytes.min(LOW_END);
    let mut slices = vec![Slice { guest: 0, offset: 0, bytes: low }];

    if bytes > low {
        slices.push(Slice { guest: HIGH_BEGIN, offset: low, bytes: bytes - low });
    }
    slices
}

/// The memory for the crates of rust-vmm, which do not own it.
fn view(ram: &Ram, slices: &[Slice]) -> Result<GuestMemoryMmap> {
    let mut regions = Vec::new();

    for slice in slices {
        // It is mapped as long as the guest.
        let region = unsafe {
            MmapRegionBuilder::new(slice.bytes as usize)
                .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
                .with_raw_mmap_pointer(ram.address.add(slice.offset as usize))
                .build()?
        };
        let region = GuestRegionMmap::new(region, GuestAddress(slice.guest));
        regions.push(region.ok_or("the guest's memory is too large")?);
    }
    Ok(GuestMemoryMmap::from_regions(regions)?)
}

pub struct Guest<'a> {
    options: &'a Options,
    kvm: Kvm,
    image: Image,
    slices: Vec<Slice>,
    begin: Instant,
    // In the order in which they are dropped: the machine refers to devices and memory.
    machine: Machine,
    devices: Vec<Device>,
    ram: Ram,
    host: Box<dyn Host>,
    word: u64,
}

fn image_of(options: &Options, machine: &Machine) -> Result<Image> {
    // A guest that measures it may not get the interrupts that it counts, on a busy host.
    let tsc_khz = machine.vcpu().get_tsc_khz()?;

    Ok(Image {
        kernel: options.kernel.clone(),
        initramfs: boot::make_initramfs(&options.init, options.modules.as_deref())?,
        cmdline: format!(
            "{CMDLINE} tsc_early_khz={tsc_khz} disks={} {}",
            options.devices.len(),
            options.append
        ),
    })
}

fn host_of(options: &Options) -> Result<Box<dyn Host>> {
    Ok(match options.plain {
        true => Box::new(Plain::default()),
        false => Box::new(Boost::new(options.devices.len())?),
    })
}

impl<'a> Guest<'a> {
    pub fn start(options: &'a Options) -> Result<Guest<'a>> {
        let begin = Instant::now();
        let slices = slices_of(options.memory);
        let mut host = host_of(options)?;

        host.prepare(&slices, options.pages, &options.devices)?;
        let kvm = Kvm::new()?;
        let machine = Machine::new(&kvm)?;
        let image = image_of(options, &machine)?;

        report("start: virtual machine", begin);
        let (ram, devices) =
            host.start(&slices, options.pages, &options.devices, machine.vfio()?)?;
        report("start: memory and devices", begin);
        let mut guest =
            Guest { options, kvm, image, slices, begin, machine, devices, ram, host, word: 1 };
        guest.boot()?;
        report("start: first instruction", begin);
        Ok(guest)
    }

    /// Loads the kernel, and prepares the machine to run it.
    fn boot(&mut self) -> Result<()> {
        for (slot, slice) in self.slices.iter().enumerate() {
            // It is within the memory.
            let host = unsafe { self.ram.address.add(slice.offset as usize) };
            self.machine.set_memory(slot as u32, slice.guest, slice.bytes, host)?;
        }
        for device in &self.devices {
            self.machine.plug(device)?;
        }
        let memory = view(&self.ram, &self.slices)?;
        let entry = boot::load(&memory, &self.slices, &self.image)?;
        boot::set_processor(self.machine.vcpu(), entry)
    }

    /// Runs the guest until it has printed a line for the VMM.
    fn line(&mut self) -> Result<String> {
        loop {
            match self.machine.run()? {
                Stop::Line(line) => {
                    if self.options.verbose {
                        eprintln!("guest: {line}");
                    }
                    if let Some((_, line)) = line.split_once("minivmm: ") {
                        return Ok(line.to_string());
                    }
                }
                Stop::Reset => return Err("the guest has been reset".into()),
            }
        }
    }

    fn expect(&mut self, expected: &str) -> Result<()> {
        match self.line()? {
            line if line == expected => Ok(()),
            line => Err(format!("the guest should say \"{expected}\", not \"{line}\"").into()),
        }
    }

    fn expect_disks(&mut self, count: usize) -> Result<()> {
        (0..count).try_for_each(|disk| self.expect(&format!("disk {disk} ok")))
    }

    fn expect_boot(&mut self, name: &str, begin: Instant) -> Result<()> {
        self.expect("init")?;
        report(&format!("{name}: init"), begin);
        self.expect_disks(self.devices.len())?;
        self.expect("ready")?;
        report(&format!("{name}: disks work"), begin);
        Ok(())
    }

    /// Adds memory, which the guest reads and writes, and removes it.
    fn exchange_memory(&mut self) -> Result<()> {
        let begin = Instant::now();
        let ram = self.host.add_memory(ADDED, ADDED_BYTES, self.options.pages)?;
        let first = ram.address.cast::<u64>();

        report("memory: added", begin);
        self.word = self.word.wrapping_mul(0x5851_f42d_4c95_7f2d);
        // The guest and devices may write there at any time.
        unsafe { first.write_volatile(self.word) };
        self.machine.set_memory(ADDED_SLOT, ADDED, ADDED_BYTES, ram.address)?;
        self.machine.send(&format!("memory {ADDED:x} {:x}", self.word))?;
        self.expect("memory ok")?;
        if unsafe { first.read_volatile() } != !self.word {
            return Err("the guest's write has not arrived".into());
        }
        let begin = Instant::now();
        self.machine.set_memory(ADDED_SLOT, ADDED, 0, std::ptr::null_mut())?;
        self.host.remove_memory(ADDED, ram)?;
        report("memory: removed", begin);
        Ok(())
    }

    /// Adds a disk, which the guest writes to and reads from, and removes it.
    fn exchange_device(&mut self, address: &str) -> Result<()> {
        let begin = Instant::now();
        let device = self.host.open(address)?;
        let number = self.machine.plug(&device)?;
        let disks = self.devices.len() + 1;

        report("device: added", begin);
        self.machine.send(&format!("device 0000:00:{number:02x}.0 {disks}"))?;
        self.expect_disks(disks)?;
        self.expect("device removed")?;
        let begin = Instant::now();
        drop(self.machine.unplug(number)?);
        self.host.close(device)?;
        report("device: removed", begin);
        Ok(())
    }

    /// The guest is as before when all has been removed again.
    fn exchange(&mut self) -> Result<()> {
        let mut before = None;

        for _ in 0..self.options.rounds {
            self.exchange_memory()?;
            if let Some(address) = &self.options.add {
                self.exchange_device(address)?;
            }
            // The first round may fill caches.
            self.compare(&mut before)?;
        }
        Ok(())
    }

    fn compare(&self, before: &mut Option<Usage>) -> Result<()> {
        let now = Usage::now(self.host.ranges()?)?;

        match before {
            Some(before) if *before != now => {
                Err(format!("something is left behind: {before} became {now}").into())
            }
            _ => {
                *before = Some(now);
                Ok(())
            }
        }
    }

    /// Removes the devices from the machine.
    fn unplug(&mut self) -> Result<()> {
        for number in 1..=self.devices.len() {
            drop(self.machine.unplug(number)?);
        }
        Ok(())
    }

    /// Boots again: in the same memory if the host can, else in new memory.
    fn reboot(mut self) -> Result<Guest<'a>> {
        self.machine.send("reboot")?;
        while self.machine.run()? != Stop::Reset {}
        let begin = Instant::now();
        self.unplug()?;
        if self.host.reset(&self.devices)? {
            self.machine = Machine::new(&self.kvm)?;
        } else {
            let Guest { machine, devices, ram, .. } = self;
            self.host.stop(&self.slices, machine, ram, devices)?;
            self.host.prepare(&self.slices, self.options.pages, &self.options.devices)?;
            self.machine = Machine::new(&self.kvm)?;
            (self.ram, self.devices) = self.host.start(
                &self.slices,
                self.options.pages,
                &self.options.devices,
                self.machine.vfio()?,
            )?;
        }
        self.boot()?;
        report("reboot: first instruction", begin);
        self.expect_boot("reboot", begin)?;
        Ok(self)
    }

    pub fn run(mut self) -> Result<()> {
        match self.options.until {
            Until::Start => (),
            Until::Init => {
                self.expect("init")?;
                report("start: init", self.begin);
            }
            Until::End => {
                self.expect_boot("start", self.begin)?;
                let mut before = None;

                self.exchange()?;
                self.compare(&mut before)?;
                for _ in 0..self.options.reboots {
                    self = self.reboot()?;
                    self.exchange()?;
                    self.compare(&mut before)?;
                }
                if let Some(usage) = before {
                    println!("in use at the end: {usage}");
                }
            }
        }
        self.stop()
    }

    fn stop(mut self) -> Result<()> {
        let begin = Instant::now();
        self.unplug()?;
        let Guest { machine, devices, ram, mut host, slices, .. } = self;
        host.stop(&slices, machine, ram, devices)?;
        drop(host);
        report("stop", begin);
        Ok(())
    }
}

/// Prints a phase, and how long it is since its beginning.
fn report(phase: &str, begin: Instant) {
    println!("{phase:28} {:9.4} s", begin.elapsed().as_nanos() as f64 / SECOND);
}
