//! Loads a kernel of Linux and its first processes into guest memory.

use std::fs::File;
use std::path::{Path, PathBuf};

use kvm_bindings::{kvm_regs, kvm_segment};
use kvm_ioctls::VcpuFd;
use linux_loader::configurator::linux::LinuxBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::bootparam::boot_params;
use linux_loader::loader::{load_cmdline, BzImage, Cmdline, Elf, KernelLoader};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::host::Slice;
use crate::Result;

const ZERO_PAGE: u64 = 0x7000;
const STACK: u64 = 0x8ff0;
/// Three pages.
const PAGE_TABLES: u64 = 0x9000;
const GDT: u64 = 0x500;
const CMDLINE: u64 = 0x20000;
const LOW_END: u64 = 0x9fc00;
pub const HIGH_MEMORY: u64 = 0x10_0000;

/// What a guest boots.
pub struct Image {
    pub kernel: PathBuf,
    pub initramfs: Vec<u8>,
    pub cmdline: String,
}

fn add_file(archive: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    let (size, length) = (content.len(), name.len() + 1);
    let header = format!(
        "070701{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{size:08x}{:032x}{length:08x}{:08x}",
        0, 0, 0, 1, 0, 0, 0
    );
    let pad = |archive: &mut Vec<u8>| archive.resize(archive.len().next_multiple_of(4), 0);

    archive.extend(header.bytes().chain(name.bytes()).chain([0]));
    pad(archive);
    archive.extend(content);
    pad(archive);
}

/// The NVMe driver's modules in the order in which they are loaded, from modules.dep.
fn module_paths(modules: &Path) -> Result<Vec<PathBuf>> {
    let dependencies = std::fs::read_to_string(modules.join("modules.dep"))?;
    let line = dependencies
        .lines()
        .find(|line| line.split(':').next().is_some_and(|path| path.ends_with("/nvme.ko")));
    let line = line.ok_or("modules.dep has no nvme.ko")?.replace(':', "");

    Ok(line.split_whitespace().rev().map(|path| modules.join(path)).collect())
}

/// An initramfs of a static program and the modules that it loads.
pub fn make_initramfs(init: &Path, modules: Option<&Path>) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    let mut list = String::new();
    let paths = modules.map_or(Ok(Vec::new()), module_paths)?;

    add_file(&mut archive, "init", 0o100755, &std::fs::read(init)?);
    for (index, path) in paths.iter().enumerate() {
        let name = format!("{index}.ko");
        add_file(&mut archive, &name, 0o100644, &std::fs::read(path)?);
        list += &format!("/{name}\n");
    }
    add_file(&mut archive, "modules", 0o100644, list.as_bytes());
    add_file(&mut archive, "TRAILER!!!", 0, &[]);
    Ok(archive)
}

/// Loads everything, and returns where the kernel begins.
pub fn load(memory: &GuestMemoryMmap, slices: &[Slice], image: &Image) -> Result<u64> {
    let start = Some(GuestAddress(HIGH_MEMORY));
    let mut file = File::open(&image.kernel)?;
    let mut params = boot_params::default();
    let entry = match Elf::load(memory, None, &mut file, start) {
        Ok(kernel) => kernel.kernel_load.0,
        Err(_) => {
            let kernel = BzImage::load(memory, None, &mut file, start)?;
            params.hdr = kernel.setup_header.ok_or("the kernel has no header")?;
            kernel.kernel_load.0 + 0x200
        }
    };
    let initramfs = slices[0].bytes.checked_sub(image.initramfs.len() as u64);
    let initramfs = initramfs.ok_or("the initramfs is larger than the guest's memory")? & !0xfff;
    let mut cmdline = Cmdline::new(2048)?;

    memory.write_slice(&image.initramfs, GuestAddress(initramfs))?;
    cmdline.insert_str(&image.cmdline)?;
    load_cmdline(memory, GuestAddress(CMDLINE), &cmdline)?;
    params.hdr.type_of_loader = 0xff;
    params.hdr.boot_flag = 0xaa55;
    params.hdr.header = 0x5372_6448;
    params.hdr.kernel_alignment = 0x100_0000;
    params.hdr.cmd_line_ptr = CMDLINE as u32;
    params.hdr.cmdline_size = image.cmdline.len() as u32 + 1;
    params.hdr.ramdisk_image = initramfs as u32;
    params.hdr.ramdisk_size = image.initramfs.len() as u32;
    set_memory(&mut params, slices);
    LinuxBootConfigurator::write_bootparams(
        &BootParams::new(&params, GuestAddress(ZERO_PAGE)),
        memory,
    )?;
    write_tables(memory)?;
    Ok(entry)
}

fn set_memory(params: &mut boot_params, slices: &[Slice]) {
    let mut ranges = vec![(0, LOW_END), (HIGH_MEMORY, slices[0].bytes - HIGH_MEMORY)];

    ranges.extend(slices[1..].iter().map(|slice| (slice.guest, slice.bytes)));
    for (entry, (address, bytes)) in params.e820_table.iter_mut().zip(&ranges) {
        entry.addr = *address;
        entry.size = *bytes;
        entry.r#type = 1;
    }
    params.e820_entries = ranges.len() as u8;
}

/// Page tables for the first GiB, and the descriptors that the boot protocol wants.
fn write_tables(memory: &GuestMemoryMmap) -> Result<()> {
    let pages = (0..512u64).flat_map(|page| (page << 21 | 0x83).to_le_bytes()).collect::<Vec<_>>();
    let descriptors = [0u64, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
    let bytes: Vec<_> = descriptors.iter().flat_map(|entry| entry.to_le_bytes()).collect();

    memory.write_obj((PAGE_TABLES + 0x1000) | 3, GuestAddress(PAGE_TABLES))?;
    memory.write_obj((PAGE_TABLES + 0x2000) | 3, GuestAddress(PAGE_TABLES + 0x1000))?;
    memory.write_slice(&pages, GuestAddress(PAGE_TABLES + 0x2000))?;
    Ok(memory.write_slice(&bytes, GuestAddress(GDT))?)
}

fn segment(selector: u16, type_: u8) -> kvm_segment {
    let code = type_ == 11;

    kvm_segment {
        limit: 0xffff_ffff,
        selector,
        type_,
        present: 1,
        s: 1,
        g: 1,
        l: u8::from(code),
        db: u8::from(!code),
        ..Default::default()
    }
}

/// Sets the processor up for the 64-bit boot protocol.
pub fn set_processor(vcpu: &VcpuFd, entry: u64) -> Result<()> {
    let mut sregs = vcpu.get_sregs()?;
    let data = segment(0x18, 3);

    sregs.gdt.base = GDT;
    sregs.gdt.limit = 31;
    sregs.cs = segment(0x10, 11);
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.cr3 = PAGE_TABLES;
    // Paging and protection; physical address extension; long mode.
    sregs.cr0 |= 0x8000_0001;
    sregs.cr4 |= 0x20;
    sregs.efer |= 0x500;
    vcpu.set_sregs(&sregs)?;
    vcpu.set_regs(&kvm_regs {
        rip: entry,
        rsi: ZERO_PAGE,
        rsp: STACK,
        rbp: STACK,
        rflags: 2,
        ..Default::default()
    })?;
    Ok(())
}
