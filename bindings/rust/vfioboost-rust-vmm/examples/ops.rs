//! A VMM that uses `VfioDevice` of vfio-ioctls, with guest memory mapped by libvfioboost:
//!
//!     ops type1|iommufd 0000:01:00.0

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use iommufd_ioctls::IommuFd;
use vfio_ioctls::{VfioContainer, VfioDevice, VfioIommufd, VfioOps};
use vfioboost::Ctx;
use vfioboost_rust_vmm::Ops;

const BYTES: usize = 256 << 20;
const IOVA: u64 = 4 << 30;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn make_ops(backend: &str) -> Result<Arc<dyn VfioOps>> {
    let ctx = Ctx::new()?;

    if backend == "type1" {
        return Ok(Arc::new(Ops::new(&ctx, VfioContainer::new(None)?)?));
    }
    let iommufd = Arc::new(IommuFd::new()?);
    Ok(Arc::new(Ops::new(&ctx, VfioIommufd::new(iommufd, None, None)?)?))
}

fn run(backend: &str, device: &str) -> Result<()> {
    let ops = make_ops(backend)?;
    let path = PathBuf::from("/sys/bus/pci/devices").join(device);
    let _device = VfioDevice::new(&path, ops.clone(), true)?;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), BYTES, prot, flags, -1, 0) };

    // The memory stays until the process ends, and nothing refers to it.
    for round in 1..=2 {
        unsafe { ops.vfio_dma_map(IOVA, BYTES, memory.cast()) }?;
        if unsafe { ops.vfio_dma_map(IOVA, BYTES, memory.cast()) }.is_ok() {
            return Err("the same IOVAs were mapped twice".into());
        }
        ops.vfio_dma_unmap(IOVA, BYTES)?;
        println!("{backend}, round {round}: mapped and unmapped");
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();

    match arguments.as_slice() {
        [backend, device] => match run(backend, device) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("ops: {error}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("Usage: ops type1|iommufd BDF");
            ExitCode::from(2)
        }
    }
}
