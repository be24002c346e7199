// SPDX-License-Identifier: MIT
//! How long the crate's own map call takes for memory that nobody has populated: what a VMM
//! that uses it waits for when its guest starts. Prints the seconds.
//!
//! Arguments: type1 or iommufd, the device as 0000:01:00.0, bytes, 4k or thp.
use std::env;
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;
use std::time::Instant;

use iommufd_ioctls::IommuFd;
use vfio_ioctls::{VfioContainer, VfioDevice, VfioIommufd, VfioOps};

const IOVA: u64 = 4 << 30;

fn make_ops(backend: &str) -> Arc<dyn VfioOps> {
    if backend == "type1" {
        return Arc::new(VfioContainer::new(None).expect("container"));
    }
    let iommufd = Arc::new(IommuFd::new().expect("iommufd"));
    Arc::new(VfioIommufd::new(iommufd, None, None).expect("I/O address space"))
}

/// Anonymous memory, aligned so that it can have huge pages from end to end.
fn make_memory(bytes: usize, advice: libc::c_int) -> *mut u8 {
    const ALIGN: usize = 2 << 20;
    // SAFETY: a new mapping, of which all is used within its bounds.
    unsafe {
        let mapped = libc::mmap(
            ptr::null_mut(),
            bytes + ALIGN,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        );
        assert_ne!(mapped, libc::MAP_FAILED);
        let address = (mapped as usize).next_multiple_of(ALIGN) as *mut u8;
        assert_eq!(libc::madvise(address.cast(), bytes, advice), 0);
        address
    }
}

fn main() {
    let args: Vec<String> = env::args().collect();
    assert_eq!(args.len(), 5, "type1|iommufd BDF BYTES 4k|thp");
    let bytes: usize = args[3].parse().expect("bytes");
    let advice = match args[4].as_str() {
        "thp" => libc::MADV_HUGEPAGE,
        _ => libc::MADV_NOHUGEPAGE,
    };
    let ops = make_ops(&args[1]);
    let path = PathBuf::from("/sys/bus/pci/devices").join(&args[2]);
    let _device = VfioDevice::new(&path, ops.clone(), true).expect("device");
    let memory = make_memory(bytes, advice);
    let begin = Instant::now();
    // SAFETY: the memory stays until the process ends.
    unsafe { ops.vfio_dma_map(IOVA, bytes, memory) }.expect("map");
    println!("{:.6}", begin.elapsed().as_secs_f64());
    ops.vfio_dma_unmap(IOVA, bytes).expect("unmap");
}
