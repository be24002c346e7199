//! What a VMM does, over the model of the kernel.

// Arrays of one range, and ranges that end before they begin, are meant.
#![allow(unknown_lints, clippy::single_range_in_vec_init, clippy::reversed_empty_ranges)]

use std::os::unix::io::AsFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vfioboost::fake::{DeviceSpec, Machine, MachineOptions};
use vfioboost::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const DISKS: [&str; 2] = ["0000:01:00.0", "0000:02:00.0"];

fn machine() -> Machine {
    let machine = Machine::new().unwrap();

    for (at, address) in DISKS.iter().enumerate() {
        machine
            .add_device(&DeviceSpec { address, group: at as u32, ..Default::default() })
            .unwrap();
    }
    machine
}

fn nothing_is_left(machine: &Machine) {
    assert_eq!(machine.leaks(), Vec::<String>::new());
}

fn backends() -> [SpaceOptions; 2] {
    [Backend::Type1, Backend::Iommufd].map(|backend| SpaceOptions { backend, ..Default::default() })
}

#[test]
fn the_version_is_the_librarys() {
    assert_eq!(version(), env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_guest_starts_and_stops() {
    for options in backends() {
        let machine = machine();
        let ctx = Ctx::new().unwrap();
        let space = Space::with_options(&ctx, &options).unwrap();
        let memory = Memory::new(&ctx, &MemoryOptions::new(GIB)).unwrap();
        let begin = machine.now();
        let opening = open_devices(&space, &DISKS).unwrap();
        let mapping = space
            .map(&[
                Range::new(&memory, 0, GIB / 2, 0),
                Range::new(&memory, GIB / 2, GIB / 2, 4 * GIB).read_only(),
            ])
            .unwrap();
        let devices = opening.wait().unwrap();

        assert_eq!(mapping.wait().unwrap(), [0, 4 * GIB]);
        assert_eq!(devices.iter().map(Device::address).collect::<Vec<_>>(), DISKS);
        assert_eq!(devices[0].node(), Some(0));
        assert!(devices[0].was_reset());
        assert_eq!(devices[0].group().is_some(), options.backend == Backend::Type1);
        assert_eq!(memory.populated_bytes(), GIB);
        assert_eq!(space.info().unwrap().backend, options.backend);
        assert_eq!(space.info().unwrap().mapped_bytes, GIB);
        // Both resets, of 100 ms, overlap.
        assert!(machine.now() - begin < Duration::from_millis(200));

        memory.write(GIB / 2, b"kernel").unwrap();
        machine.dma_write(DISKS[1], 4096, b"sector").unwrap();
        assert_eq!(machine.dma_write(DISKS[1], 4 * GIB, b"x").unwrap_err().errno(), libc::EFAULT);
        let mut buffer = [0; 6];
        memory.read(4096, &mut buffer).unwrap();
        assert_eq!(&buffer, b"sector");
        assert_eq!(memory.read(GIB - 5, &mut buffer).unwrap_err().errno(), libc::ERANGE);
        let pieces = space.translate(GIB / 2 - 4096, 4096).unwrap();
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].address, memory.address().wrapping_add((GIB / 2) as usize - 4096));

        let closing = close_devices(devices).unwrap();
        space.unmap(&[(0, GIB / 2), (4 * GIB, GIB / 2)]).unwrap().wait().unwrap();
        closing.wait().unwrap();
        drop((space, memory, ctx));
        nothing_is_left(&machine);
    }
}

#[test]
fn windows_are_mapped_when_they_are_touched() {
    const WINDOW: u64 = MIB;

    for mut options in backends() {
        let machine = machine();
        let ctx = Ctx::new().unwrap();
        options.on_demand = OnDemand::Touch;
        let space = Space::with_options(&ctx, &options).unwrap();
        let memory = Memory::new(&ctx, &MemoryOptions::new(8 * WINDOW)).unwrap();
        let devices = open_devices(&space, &DISKS).unwrap().wait().unwrap();
        let range = Range::new(&memory, 0, 8 * WINDOW, GIB).on_demand(WINDOW as u32);
        let reaches = |at| machine.dma_write(DISKS[0], GIB + at, b"x").is_ok();

        space.map(&[range]).unwrap().wait().unwrap();
        assert!(!reaches(0));
        space.touch(GIB, 1).unwrap();
        assert!(reaches(WINDOW - 1) && !reaches(WINDOW));
        let hold = space.hold(GIB + 2 * WINDOW - 1, 2).unwrap();
        assert_eq!((hold.iova(), hold.bytes()), (GIB + 2 * WINDOW - 1, 2));
        assert_eq!(space.trim(0).unwrap_err().errno(), libc::EBUSY);
        assert!(!reaches(0) && reaches(WINDOW) && reaches(2 * WINDOW));
        assert_eq!(
            space.unmap(&[(GIB, 8 * WINDOW)]).and_then(Job::wait).unwrap_err().errno(),
            libc::EBUSY
        );
        let info = space.on_demand_info().unwrap();
        assert_eq!((info.way, info.mapped, info.evicted), (OnDemand::Touch, 3, 1));
        assert_eq!((info.touches, info.mapped_bytes), (2, 2 * WINDOW));
        assert!(!info.reason.is_empty());
        drop(hold);
        space.trim(0).unwrap();
        assert!(!reaches(WINDOW));
        assert_eq!(space.touch(8 * GIB, 1).unwrap_err().errno(), libc::ENOENT);
        // Nothing else keeps the space.
        drop((devices, space, memory, ctx));
        nothing_is_left(&machine);
    }
}

#[test]
fn memory_comes_and_goes() {
    const BLOCK: u64 = 2 << 20;

    for mut options in backends() {
        let machine = machine();
        let ctx = Ctx::new().unwrap();
        options.block_bytes = BLOCK;
        let space = Space::with_options(&ctx, &options).unwrap();
        let memory = Memory::new(&ctx, &MemoryOptions::new(8 * BLOCK)).unwrap();
        let devices = open_devices(&space, &DISKS).unwrap().wait().unwrap();
        let range = Range::new(&memory, 0, 8 * BLOCK, GIB);
        let batch = BatchOptions::default();

        space.map(&[range]).unwrap().wait().unwrap();
        memory.discard(&[BLOCK..3 * BLOCK, 5 * BLOCK..6 * BLOCK], &batch).unwrap();
        assert_eq!(space.info().unwrap().discarded_bytes, 3 * BLOCK);
        assert_eq!(memory.populated_bytes(), 5 * BLOCK);
        assert!(machine.dma_write(DISKS[0], GIB + BLOCK, b"x").is_err());
        machine.dma_write(DISKS[0], GIB + 3 * BLOCK, b"x").unwrap();
        memory.restore(&[0..8 * BLOCK], &batch).unwrap();
        machine.dma_write(DISKS[0], GIB + BLOCK, b"x").unwrap();
        let error = memory.discard(&[3 * BLOCK..BLOCK], &batch).unwrap_err();
        assert_eq!(error.errno(), libc::EINVAL);
        drop((devices, space, memory, ctx));
        nothing_is_left(&machine);
    }
}

#[test]
fn errors_have_a_cause() {
    let machine = machine();
    let ctx = Ctx::new().unwrap();
    let space = Space::new(&ctx).unwrap();
    let error = Memory::new(&ctx, &MemoryOptions::new(4097)).unwrap_err();

    assert_eq!(error.errno(), libc::EINVAL);
    assert!(error.text().contains("4097"), "{error}");
    let error = open_devices(&space, &["nonsense"]).unwrap_err();
    assert!(error.text().contains("nonsense"), "{error}");
    assert_eq!(open_devices(&space, &["01:00.0\0"]).unwrap_err().errno(), libc::EINVAL);

    // The text comes from the worker that failed.
    let memory = Memory::new(&ctx, &MemoryOptions::new(GIB)).unwrap();
    machine.fail("IOMMU_IOAS_MAP", 2, libc::ENOMEM).unwrap();
    let devices = open_devices(&space, &DISKS).unwrap().wait().unwrap();
    let ranges: Vec<_> =
        (0..4).map(|i| Range::new(&memory, i * GIB / 4, GIB / 4, i * GIB)).collect();
    let error = space.map(&ranges).unwrap().wait().unwrap_err();
    assert_eq!(error.errno(), libc::ENOMEM);
    assert!(error.text().contains("cannot map"), "{error}");
    assert_eq!(machine.failed().as_deref(), Some("IOMMU_IOAS_MAP"));
    assert_eq!(space.info().unwrap().mappings, 0);
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::OutOfMemory);
    drop(devices);
}

#[test]
fn best_effort_keeps_what_succeeded() {
    let machine = machine();
    let ctx = Ctx::new().unwrap();
    let space = Space::new(&ctx).unwrap();
    let options = BatchOptions { best_effort: true, ..Default::default() };
    let addresses = [DISKS[0], "0000:09:00.0", DISKS[1]];
    let (result, devices) = open_devices_with(&space, &addresses, &options).unwrap().wait_each();

    assert_eq!(result.unwrap_err().errno(), libc::ENODEV);
    let statuses: Vec<_> =
        devices.iter().map(|device| device.as_ref().map_or_else(Error::errno, |_| 0)).collect();
    assert_eq!(statuses, [0, libc::ENODEV, 0]);
    assert_eq!(space.info().unwrap().devices, 2);
    drop((devices, space, ctx));
    nothing_is_left(&machine);
}

#[test]
fn a_time_limit_ends_a_job() {
    let machine = Machine::new().unwrap();
    let reset = Duration::from_secs(10);

    machine.add_device(&DeviceSpec { address: DISKS[0], reset, ..Default::default() }).unwrap();
    let ctx = Ctx::new().unwrap();
    let space = Space::new(&ctx).unwrap();
    let options = BatchOptions { timeout: Some(Duration::from_secs(1)), ..Default::default() };
    let begin = machine.now();
    let job = open_devices_with(&space, &DISKS[..1], &options).unwrap();

    assert!(!job.wait_for(Duration::from_millis(500)).unwrap());
    assert!(job.is_running());
    assert_eq!(job.wait().unwrap_err().errno(), libc::ETIMEDOUT);
    assert!(machine.now() - begin < Duration::from_secs(2));
    // It is closed in the background once it is open.
    machine.sleep(Duration::from_secs(30));
    drop((space, ctx));
    nothing_is_left(&machine);
}

#[test]
fn jobs_can_be_polled_and_looked_at() {
    let machine = machine();
    let ctx = Ctx::new().unwrap();
    let space = Space::new(&ctx).unwrap();
    let memory = Memory::new(&ctx, &MemoryOptions::new(8 * GIB)).unwrap();
    let devices = open_devices(&space, &DISKS).unwrap().wait().unwrap();
    let job = space
        .map(&[
            Range::new(&memory, 0, GIB, 0).priority(1),
            Range::new(&memory, GIB, 7 * GIB, 8 * GIB).background(),
        ])
        .unwrap();

    assert!(job.wait_entry(0, Duration::MAX).unwrap());
    assert!(!job.wait_entry(1, Duration::ZERO).unwrap());
    job.wait_ready().unwrap();
    assert!(machine.poll(job.ready_fd(), Duration::ZERO));
    let progress = job.progress();
    assert_eq!((progress.entries, progress.bytes), (2, 8 * GIB));
    assert!(progress.bytes_done >= GIB && progress.entries_done >= 1);
    assert!(machine.poll(job.as_fd(), Duration::MAX));
    assert!(!job.is_running());
    assert_eq!(job.progress().bytes_done, 8 * GIB);
    assert_eq!(job.wait().unwrap().len(), 2);
    drop(devices);
}

#[test]
fn every_step_is_reported() {
    let machine = machine();
    let ctx = Ctx::new().unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let filter =
        Filter { phases: vec![Phase::Open, Phase::Map, Phase::User], ..Default::default() };
    let subscription = ctx
        .subscribe(&filter, move |event| {
            let device = event.device().map(str::to_owned);
            seen.lock().unwrap().push((event.phase(), device, event.duration(), event.bytes()));
            if event.phase() == Phase::Map {
                panic!("this callback panics");
            }
        })
        .unwrap();
    let space = Space::new(&ctx).unwrap();
    let memory = Memory::new(&ctx, &MemoryOptions::new(4 * MIB)).unwrap();
    let span = ctx.span("start");
    let devices = open_devices(&space, &DISKS[..1]).unwrap().wait().unwrap();

    space.map(&[Range::new(&memory, 0, 4 * MIB, 0)]).unwrap().wait().unwrap();
    drop(span);
    assert_eq!(subscription.panics(), 1);
    drop(subscription);
    drop(devices);
    let events = events.lock().unwrap();
    let phases: Vec<_> = events.iter().map(|event| event.0).collect();
    assert_eq!(phases, [Phase::Open, Phase::Map, Phase::User]);
    assert_eq!(events[0].1.as_deref(), Some(DISKS[0]));
    assert!(events[0].2 >= Duration::from_millis(100));
    assert_eq!(events[1].3, 4 * MIB);
    assert_eq!(Phase::Populate.name(), "populate");
    drop((space, memory, ctx));
    nothing_is_left(&machine);
}

#[test]
fn regions_interrupts_and_resets() {
    let machine = machine();
    let ctx = Ctx::new().unwrap();
    let space = Space::new(&ctx).unwrap();
    let devices = open_devices(&space, &DISKS).unwrap().wait().unwrap();
    let disk = &devices[0];
    let eventfd = unsafe {
        <std::os::unix::io::OwnedFd as std::os::unix::io::FromRawFd>::from_raw_fd(libc::eventfd(
            0,
            libc::EFD_NONBLOCK,
        ))
    };

    assert_eq!(disk.region_load(Device::CONFIG, 0, 2).unwrap(), 0x1b36);
    let bar = disk.region_info(0).unwrap();
    assert!(bar.bytes == 16 << 10 && bar.readable && bar.mappable);
    disk.region_store(Device::CONFIG, 4, 2, 2).unwrap();
    disk.region_write(0, 8, &[1, 2, 3, 4]).unwrap();
    let mut register = [0; 4];
    disk.region_read(0, 8, &mut register).unwrap();
    assert_eq!(register, [1, 2, 3, 4]);
    assert!(!disk.region_map(0, true).unwrap().is_null());
    disk.region_unmap(0).unwrap();
    assert_eq!(disk.region_unmap(0).unwrap_err().errno(), libc::ENOENT);

    assert_eq!(disk.irq_info(Irq::Msix).unwrap().vectors, 64);
    disk.irq_enable(Irq::Msix, 0, &[Some(eventfd.as_fd()), None]).unwrap();
    disk.irq_trigger(Irq::Msix, 0..1).unwrap();
    assert!(machine.outside(|| {
        let mut poll = libc::pollfd {
            fd: std::os::unix::io::AsRawFd::as_raw_fd(&eventfd),
            events: libc::POLLIN,
            revents: 0,
        };
        unsafe { libc::poll(&mut poll, 1, 10_000) == 1 }
    }));
    disk.irq_disable(Irq::Msix).unwrap();

    disk.reset().unwrap();
    let methods = reset_devices(&devices, ResetMethod::Function).unwrap().wait().unwrap();
    assert_eq!(methods, [ResetMethod::Function; 2]);
}

#[test]
fn memory_is_laid_out_around_what_devices_cannot_use() {
    let machine = machine();
    let ctx = Ctx::new().unwrap();
    let space = Space::new(&ctx).unwrap();
    let part = |bytes, within| LayoutPart { bytes, alignment: 2 * MIB, within };

    space.expect_devices(&DISKS).unwrap();
    assert_eq!(space.expect_devices(&["0000:ff:1f.7"]).unwrap_err().errno(), libc::ENODEV);
    assert_eq!(space.expect_devices(&["a\0b"]).unwrap_err().errno(), libc::EINVAL);
    // Messages of interrupts go to 0xfee00000.
    let low = 4 * GIB - 4 * MIB;
    let placed =
        layout(Some(&space), &[part(low, 0..=u64::MAX), part(GIB, 8 * GIB..=u64::MAX)]).unwrap();
    assert_eq!(placed.len(), 2);
    assert!(placed[0].iter().all(|at| at.iova + at.bytes <= 0xfee0_0000 || at.iova >= 0xfef0_0000));
    assert_eq!(placed[0].iter().map(|at| at.bytes).sum::<u64>(), low);
    assert_eq!(placed[1], [Placed { offset: 0, bytes: GIB, iova: 8 * GIB }]);
    let error = layout(Some(&space), &[part(GIB, 0..=GIB / 2)]).unwrap_err();
    assert_eq!(error.errno(), libc::ENOSPC);
    drop((space, ctx));
    nothing_is_left(&machine);
}

#[test]
fn what_devices_write_to_is_found() {
    for options in backends() {
        let machine = machine();
        let ctx = Ctx::new().unwrap();
        let space =
            Space::with_options(&ctx, &SpaceOptions { dirty: true, ..options.clone() }).unwrap();
        let memory = Memory::new(&ctx, &MemoryOptions::new(GIB)).unwrap();

        assert_eq!(space.track_dirty(true).unwrap_err().errno(), libc::ENXIO);
        let devices = open_devices(&space, &DISKS).unwrap().wait().unwrap();
        space.map(&[Range::new(&memory, 0, GIB, 0)]).unwrap().wait().unwrap();
        assert_eq!(space.dirty(&[(0, GIB)]).unwrap().wait().unwrap_err().errno(), libc::EINVAL);
        space.track_dirty(true).unwrap();
        for page in [3, 64, 70_000] {
            machine.dma_write(DISKS[1], page * 4096 + 8, b"sector").unwrap();
        }
        let found = space.dirty(&[(0, GIB)]).unwrap().wait().unwrap();
        let pages: Vec<_> = found[0].pages().collect();
        assert_eq!((found.len(), found[0].iova, found[0].bytes), (1, 0, GIB));
        assert_eq!(found[0].bitmap.len(), 4096);
        match options.backend {
            Backend::Type1 => assert_eq!(pages.len(), 262_144),
            _ => assert_eq!(pages, [3, 64, 70_000]),
        }
        assert_eq!(space.dirty(&[(0, 1)]).unwrap_err().errno(), libc::EINVAL);
        assert_eq!(space.dirty(&[(0, u64::MAX << 12)]).unwrap_err().errno(), libc::ENOMEM);
        space.track_dirty(false).unwrap();
        close_devices(devices).unwrap().wait().unwrap();
        drop((space, memory, ctx));
        nothing_is_left(&machine);
    }
}

#[test]
fn system_calls_are_listed() {
    let machine = machine();
    let ctx = Ctx::with_options(&CtxOptions { devices: 1, ..Default::default() }).unwrap();
    let space = Space::new(&ctx).unwrap();
    let calls = seccomp_calls(SeccompRole::Caller);

    assert!(calls.iter().any(|call| call.number == libc::SYS_futex as u32));
    assert!(calls.iter().any(|call| call.name == "VFIO_IOMMU_MAP_DMA" && call.request.is_some()));
    assert!(!calls.iter().any(|call| call.name == "clone3"));
    assert!(seccomp_calls(SeccompRole::Create).len() > calls.len());
    assert!(!seccomp_calls(SeccompRole::Thread).is_empty());
    // All threads are there.
    machine.fail("thread_create", 0, libc::EPERM).unwrap();
    assert_eq!(open_devices(&space, &DISKS).unwrap().wait().unwrap().len(), 2);
}

#[test]
fn memory_of_all_kinds() {
    let options = MachineOptions { nodes: 2, pages_2m: 40, ..Default::default() };
    let _machine = Machine::with_options(&options).unwrap();
    let ctx = Ctx::new().unwrap();
    let memory = Memory::new(
        &ctx,
        &MemoryOptions::new(64 * MIB)
            .page_size(PageSize::Huge2M)
            .kind(MemoryKind::Memfd)
            .policy(NumaPolicy::Bind(vec![1])),
    )
    .unwrap();

    assert_eq!(memory.page_size(), PageSize::Huge2M);
    assert!(memory.file().is_some());
    populate(&[memory.clone(), memory.clone()]).unwrap().wait().unwrap();
    assert_eq!(memory.populated_bytes(), 64 * MIB);
    let error = Memory::new(
        &ctx,
        &MemoryOptions::new(64 * MIB)
            .page_size(PageSize::Huge2M)
            .policy(NumaPolicy::Split(vec![(0, 32 * MIB), (1, 32 * MIB)])),
    )
    .unwrap_err();
    assert_eq!(error.errno(), libc::ENOMEM);
    let huge = MemoryOptions::new(4 * MIB).page_size(PageSize::Huge(2 * MIB));
    assert_eq!(Memory::new(&ctx, &huge).unwrap().page_size(), PageSize::Huge(2 * MIB));
    let auto = Memory::new(&ctx, &MemoryOptions::new(MIB)).unwrap();
    assert!(auto.file().is_none() && !auto.fallback().is_empty());
}

/// Each call of the kernel fails once: whatever happens, nothing is left, and nothing hangs.
#[test]
fn no_failure_leaves_anything_behind() {
    fn run() -> Result<()> {
        let ctx = Ctx::with_options(&CtxOptions { threads: 2, ..Default::default() })?;
        let space = Space::new(&ctx)?;
        let memory = Memory::new(&ctx, &MemoryOptions::new(8 * MIB))?;
        let opening = open_devices(&space, &DISKS)?;
        let mapping = space.map(&[Range::new(&memory, 0, 8 * MIB, 0)])?;
        let devices = opening.wait()?;

        mapping.wait()?;
        close_devices(devices)?.wait()?;
        Ok(())
    }

    for n in 1.. {
        let machine = machine();

        machine.fail_nth(n);
        let result = run();
        let failed = machine.failed();
        machine.fail_none();
        nothing_is_left(&machine);
        if failed.is_none() {
            result.unwrap();
            assert!(n > 50);
            break;
        }
    }
}
