//! Guest memory of vm-memory, over the model of the kernel.

use std::sync::Arc;

use vfioboost::fake::{DeviceSpec, Machine};
use vfioboost::{open_devices, Ctx, Memory, MemoryOwner, PageSize, Space};
use vfioboost_rust_vmm::{map_guest, GuestRegion};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const MIB: usize = 1 << 20;
const DISK: &str = "0000:01:00.0";

fn announce(machine: &Machine, memory: &Arc<GuestMemoryMmap>, known: bool) {
    for index in 0..2 {
        let region = GuestRegion::new(memory, index).unwrap();

        if known {
            machine.add_memory(&region).unwrap();
        } else {
            machine.remove_memory(&region).unwrap();
        }
    }
}

#[test]
fn a_device_reaches_the_guests_memory() {
    let machine = Machine::new().unwrap();
    let ranges = [(GuestAddress(0), 8 * MIB), (GuestAddress(4 << 30), 4 * MIB)];
    let memory = Arc::new(GuestMemoryMmap::<()>::from_ranges(&ranges).unwrap());

    machine.add_device(&DeviceSpec { address: DISK, ..Default::default() }).unwrap();
    announce(&machine, &memory, true);
    let ctx = Ctx::new().unwrap();
    let space = Space::new(&ctx).unwrap();
    let opening = open_devices(&space, &[DISK]).unwrap();
    assert_eq!(map_guest(&ctx, &space, &memory).unwrap().wait().unwrap(), [0, 4 << 30]);
    let devices = opening.wait().unwrap();

    machine.dma_write(DISK, (4 << 30) + 4096, b"sector").unwrap();
    let mut sector = [0; 6];
    memory.read_slice(&mut sector, GuestAddress((4 << 30) + 4096)).unwrap();
    assert_eq!(&sector, b"sector");

    // It is kept while it is mapped.
    assert!(Arc::strong_count(&memory) > 1);
    space.unmap_all().unwrap();
    assert_eq!(Arc::strong_count(&memory), 1);
    drop((devices, space, ctx));
    announce(&machine, &memory, false);
    assert_eq!(machine.leaks(), Vec::<String>::new());
}

#[test]
fn what_is_no_region_is_refused() {
    let memory = Arc::new(GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), MIB)]).unwrap());
    let error = GuestRegion::new(&memory, 1).err().unwrap();

    assert!(error.text().contains("index"), "{error}");
    let region = Arc::new(GuestRegion::new(&memory, 0).unwrap());
    assert_eq!(region.bytes(), MIB as u64);
    let _machine = Machine::new().unwrap();
    let ctx = Ctx::new().unwrap();
    assert!(Memory::adopt(&ctx, region, PageSize::Huge2M, false).is_err());
}
