//! What a VMM does to start and stop a guest with passed-through devices:
//!
//!     guest 0000:01:00.0 0000:02:00.0
//!
//! Memory is populated and mapped while the devices are opening. A callback prints every step.

use std::process::ExitCode;

use vfioboost::{
    close_devices, open_devices, Ctx, Device, Memory, MemoryOptions, Range, Result, Space,
};

const MIB: u64 = 1 << 20;

fn run(addresses: &[&str]) -> Result<()> {
    let ctx = Ctx::new()?;
    let _steps = ctx.subscribe(&Default::default(), |event| {
        let device = event.device().unwrap_or("");
        let (phase, time) = (event.phase().name(), event.duration());
        println!("{phase:8} {time:9.3?}  {device} {}", event.operation());
    })?;
    let space = Space::new(&ctx)?;
    let memory = Memory::new(&ctx, &MemoryOptions::new(256 * MIB))?;

    let opening = open_devices(&space, addresses)?;
    let mapping = space.map(&[Range::new(&memory, 0, 256 * MIB, 0)])?;
    // A VMM sets up its virtual CPUs and its firmware here.
    let devices = opening.wait()?;
    mapping.wait()?;
    for device in &devices {
        let vendor = device.region_load(Device::CONFIG, 0, 2)?;
        println!("{}: vendor {vendor:04x}", device.address());
    }
    println!("the guest could run");

    let closing = close_devices(devices)?;
    space.unmap(&[(0, 256 * MIB)])?.wait()?;
    closing.wait().map(drop)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let addresses: Vec<&str> = arguments.iter().map(String::as_str).collect();

    if addresses.is_empty() {
        eprintln!("Usage: guest BDF...");
        return ExitCode::from(2);
    }
    match run(&addresses) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guest: {error}");
            ExitCode::FAILURE
        }
    }
}
