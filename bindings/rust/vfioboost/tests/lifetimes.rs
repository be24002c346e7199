//! Whatever order a program drops things in, and from wherever: nothing is used after it is gone.

use std::os::unix::io::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vfioboost::fake::{DeviceSpec, Machine};
use vfioboost::*;

const MIB: u64 = 1 << 20;
const DISK: &str = "0000:01:00.0";

fn machine() -> Machine {
    let machine = Machine::new().unwrap();

    machine.add_device(&DeviceSpec { address: DISK, ..Default::default() }).unwrap();
    machine
}

/// Memory that the program has mapped; it notes its end.
struct Mapped {
    address: *mut u8,
    file: Option<OwnedFd>,
    gone: Arc<AtomicBool>,
}

unsafe impl Send for Mapped {}
unsafe impl Sync for Mapped {}

unsafe impl MemoryOwner for Mapped {
    fn address(&self) -> *mut u8 {
        self.address
    }

    fn bytes(&self) -> u64 {
        4 * MIB
    }

    fn file(&self) -> Option<(BorrowedFd<'_>, u64)> {
        self.file.as_ref().map(|file| (file.as_fd(), 0))
    }
}

impl Mapped {
    fn new(file: Option<OwnedFd>) -> Mapped {
        let fd = file.as_ref().map_or(-1, |file| file.as_raw_fd());
        let flags = if fd < 0 { libc::MAP_PRIVATE | libc::MAP_ANONYMOUS } else { libc::MAP_SHARED };
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let address = unsafe { libc::mmap(std::ptr::null_mut(), 4 << 20, prot, flags, fd, 0) };

        assert_ne!(address, libc::MAP_FAILED);
        Mapped { address: address.cast(), file, gone: Default::default() }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        unsafe { libc::munmap(self.address.cast(), 4 << 20) };
    }
}

fn memfd() -> OwnedFd {
    let fd = unsafe { libc::memfd_create(b"guest\0".as_ptr().cast(), 0) };

    assert_eq!(unsafe { libc::ftruncate(fd, 4 << 20) }, 0);
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[test]
fn handles_may_be_dropped_in_any_order() {
    let machine = machine();
    let ctx = Ctx::new().unwrap();
    let space = Space::new(&ctx).unwrap();
    let memory = Memory::new(&ctx, &MemoryOptions::new(4 * MIB)).unwrap();
    let device = open_devices(&space, &[DISK]).unwrap().wait().unwrap().remove(0);

    drop(ctx);
    space.map(&[Range::new(&memory, 0, 4 * MIB, 0)]).unwrap().wait().unwrap();
    drop((memory, space));
    // Both are still there for the device.
    machine.dma_write(DISK, 0, b"x").unwrap();
    assert_eq!(device.space().unwrap().info().unwrap().mapped_bytes, 4 * MIB);
    drop(device);
    assert_eq!(machine.leaks(), Vec::<String>::new());
}

#[test]
fn unmapping_lets_memory_go() {
    let machine = machine();
    let ctx = Ctx::new().unwrap();
    let space = Space::new(&ctx).unwrap();
    let memory = Memory::new(&ctx, &MemoryOptions::new(4 * MIB)).unwrap();
    let _device = open_devices(&space, &[DISK]).unwrap().wait().unwrap();
    let iovas = space
        .map(&[
            Range::new(&memory, 0, 2 * MIB, 8 * MIB),
            Range::anywhere(&memory, 2 * MIB, 2 * MIB),
        ])
        .unwrap()
        .wait()
        .unwrap();

    drop(memory);
    assert!(machine.counts().populated_bytes >= 4 * MIB);
    space.unmap(&[(iovas[0], 2 * MIB)]).unwrap().wait().unwrap();
    assert!(machine.counts().populated_bytes >= 4 * MIB);
    space.unmap(&[(iovas[1], 2 * MIB)]).unwrap().wait().unwrap();
    assert_eq!(machine.counts().populated_bytes, 0);
    // All at once, and after a failure.
    let memory = Memory::new(&ctx, &MemoryOptions::new(4 * MIB)).unwrap();
    space.map(&[Range::new(&memory, 0, MIB, 0)]).unwrap().wait().unwrap();
    machine.fail("IOMMU_IOAS_MAP", 0, libc::EIO).unwrap();
    assert!(space.map(&[Range::new(&memory, MIB, MIB, MIB)]).unwrap().wait().is_err());
    assert!(space.map(&[Range::new(&memory, 0, MIB, 0)]).is_err());
    machine.fail_none();
    drop(memory);
    assert_ne!(machine.counts().populated_bytes, 0);
    space.unmap_all().unwrap();
    assert_eq!(machine.counts().populated_bytes, 0);
}

#[test]
fn a_dropped_job_has_ended() {
    let machine = machine();
    let ctx = Ctx::new().unwrap();
    let space = Space::new(&ctx).unwrap();

    {
        let memory = Memory::new(&ctx, &MemoryOptions::new(1 << 30)).unwrap();
        let _opening = open_devices(&space, &[DISK]).unwrap();
        let _mapping = space.map(&[Range::new(&memory, 0, 1 << 30, 0)]).unwrap();
    }
    assert_eq!(space.info().unwrap().devices, 0);
    assert_eq!(space.info().unwrap().mappings, 0);
    // One that has succeeded, but whose devices nobody has taken.
    let job = open_devices(&space, &[DISK]).unwrap();
    machine.sleep(Duration::from_secs(1));
    assert!(!job.is_running());
    drop(job);
    assert_eq!(space.info().unwrap().devices, 0);
    drop((space, ctx));
    assert_eq!(machine.leaks(), Vec::<String>::new());
}

#[test]
fn adopted_memory_outlives_its_mappings() {
    for file in [None, Some(memfd())] {
        let machine = machine();
        let owner = Arc::new(Mapped::new(file));
        let gone = owner.gone.clone();
        let address = owner.address();

        machine.add_memory(&*owner).unwrap();
        let ctx = Ctx::new().unwrap();
        let space = Space::new(&ctx).unwrap();
        let device = open_devices(&space, &[DISK]).unwrap().wait().unwrap();
        let memory = Memory::adopt(&ctx, owner.clone(), PageSize::Auto, false).unwrap();
        assert_eq!(memory.address(), address);
        assert_eq!(memory.file().is_some(), owner.file().is_some());
        space.map(&[Range::new(&memory, 0, 4 * MIB, 0)]).unwrap().wait().unwrap();
        drop(memory);
        machine.dma_write(DISK, 0, b"x").unwrap();
        assert_eq!(unsafe { address.read_volatile() }, b'x');
        drop((device, space, ctx));
        // Nobody but the program has it now.
        assert!(!gone.load(Ordering::SeqCst));
        assert_eq!(Arc::strong_count(&owner), 1);
        machine.remove_memory(&*owner).unwrap();
        drop(owner);
        assert!(gone.load(Ordering::SeqCst));
        assert_eq!(machine.leaks(), Vec::<String>::new());
    }
}

#[test]
fn devices_that_are_shared_are_not_closed() {
    let machine = machine();
    let ctx = Ctx::new().unwrap();
    let space = Space::new(&ctx).unwrap();
    let devices = open_devices(&space, &[DISK]).unwrap().wait().unwrap();
    let other = devices[0].clone();

    assert_eq!(close_devices(devices).unwrap_err().errno(), libc::EBUSY);
    assert_eq!(other.region_load(Device::CONFIG, 0, 2).unwrap(), 0x1b36);
    let job = close_devices(vec![other]).unwrap();
    drop(job);
    drop((space, ctx));
    assert_eq!(machine.leaks(), Vec::<String>::new());
}

/// A callback drops whatever it finds: nothing waits there, and nothing is freed under anybody.
#[test]
fn a_callback_may_drop_anything() {
    let machine = machine();
    let ctx = Ctx::new().unwrap();
    let space = Space::new(&ctx).unwrap();
    let spare = Memory::new(&ctx, &MemoryOptions::new(MIB)).unwrap();
    let bag: Arc<Mutex<Vec<Box<dyn std::any::Any + Send>>>> = Default::default();
    let dropped = bag.clone();
    let ran = Arc::new(AtomicBool::new(false));
    let done = ran.clone();
    let populating = spare.clone();
    let subscription = ctx
        .subscribe(&Filter { phases: vec![Phase::Map], ..Default::default() }, move |_| {
            let job = populate(std::slice::from_ref(&populating)).unwrap();
            let _ = job.wait_for(Duration::from_secs(1));
            drop(job);
            dropped.lock().unwrap().clear();
            done.store(true, Ordering::SeqCst);
        })
        .unwrap();
    let device = open_devices(&space, &[DISK]).unwrap().wait().unwrap().remove(0);
    let other = Ctx::new().unwrap();

    bag.lock().unwrap().push(Box::new(subscription));
    bag.lock().unwrap().push(Box::new(device));
    bag.lock().unwrap().push(Box::new(Space::new(&other).unwrap()));
    bag.lock().unwrap().push(Box::new(other));
    space.map(&[Range::new(&spare, 0, MIB, 0)]).unwrap().wait().unwrap();
    assert!(ran.load(Ordering::SeqCst));
    drop((space, spare, ctx));
    // What was leaked is still there: the machine cannot end.
    std::mem::forget(machine);
}

#[test]
fn threads_of_the_program() {
    let machine = machine();
    let ctx = Ctx::new().unwrap();
    let space = Space::new(&ctx).unwrap();
    let (machine_ref, ctx_ref, space_ref) = (&machine, &ctx, &space);

    machine.outside(|| {
        std::thread::scope(|scope| {
            for i in 0..4u64 {
                scope.spawn(move || {
                    let _guard = machine_ref.enter().unwrap();
                    let ctx = Ctx::new().unwrap();
                    drop(Space::new(&ctx).unwrap());
                    let memory = Memory::new(ctx_ref, &MemoryOptions::new(MIB)).unwrap();
                    space_ref.map(&[Range::new(&memory, 0, MIB, i * MIB)]).unwrap().wait().unwrap();
                    space_ref.unmap(&[(i * MIB, MIB)]).unwrap().wait().unwrap();
                });
            }
        });
    });
    assert_eq!(space.info().unwrap().mappings, 0);
    drop((space, ctx));
    assert_eq!(machine.leaks(), Vec::<String>::new());
}
