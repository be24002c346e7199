//! A model of the kernel, for unit tests: with the feature `fake`.
//!
//! The crate then links `libvfioboost-fake`, in which every system call of the library goes to the
//! model. A [`Machine`] has the devices that a test adds, calls fail on demand, and time passes only
//! on a virtual clock, when all threads that the machine knows wait: it knows the thread that
//! created it, and those that hold a [`Guard`]. Tests that run at the same time have each their own.
//!
//! ```
//! use std::time::Duration;
//! use vfioboost::fake::{DeviceSpec, Machine};
//! use vfioboost::{open_devices, Ctx, Memory, MemoryOptions, Range, Space};
//!
//! let machine = Machine::new()?;
//! machine.add_device(&DeviceSpec {
//!     address: "0000:01:00.0",
//!     reset: Duration::from_secs(5),
//!     ..Default::default()
//! })?;
//!
//! let ctx = Ctx::new()?;
//! let space = Space::new(&ctx)?;
//! let memory = Memory::new(&ctx, &MemoryOptions::new(1 << 30))?;
//! let before = machine.now();
//! let devices = open_devices(&space, &["0000:01:00.0"])?.wait()?;
//! space.map(&[Range::new(&memory, 0, 1 << 30, 0)])?.wait()?;
//! assert!(machine.now() - before >= Duration::from_secs(5));
//!
//! machine.dma_write("0000:01:00.0", 0x1000, b"sector")?;
//! let mut sector = [0; 6];
//! memory.read(0x1000, &mut sector)?;
//! assert_eq!(&sector, b"sector");
//!
//! // The next map call fails.
//! machine.fail("IOMMU_IOAS_MAP", 1, 12)?;
//! let error = space.map(&[Range::anywhere(&memory, 0, 1 << 20)])?.wait().unwrap_err();
//! assert_eq!(error.errno(), 12);
//!
//! drop((devices, space, memory, ctx));
//! assert_eq!(machine.leaks(), Vec::<String>::new());
//! # Ok::<(), vfioboost::Error>(())
//! ```

use std::ffi::CString;
use std::marker::PhantomData;
use std::os::raw::c_void;
use std::os::unix::io::{AsRawFd, BorrowedFd};
use std::ptr::{null_mut, NonNull};
use std::time::Duration;

use vfioboost_sys as sys;

use crate::error::{check, text};
use crate::job::nanoseconds;
use crate::{Error, Result};

/// Settings of a [`Machine`]. Zero stands for a good default in every field.
#[derive(Clone, Debug, Default)]
pub struct MachineOptions {
    /// What the kernel lacks: `VFB_FAKE_NO_...` of `vfioboost_sys`.
    pub flags: u32,
    /// Number of NUMA nodes, and of CPUs on each; 0: 1 node, 4 CPUs.
    pub nodes: u32,
    #[allow(missing_docs)]
    pub cpus_per_node: u32,
    /// Free memory of each node in bytes; 0: 64 GiB.
    pub node_bytes: u64,
    /// Number of pages of 2 MiB and 1 GiB in the hugetlb pool of each node.
    pub pages_2m: u64,
    #[allow(missing_docs)]
    pub pages_1g: u64,
    /// `RLIMIT_MEMLOCK` in bytes; 0: no limit.
    pub memlock_bytes: u64,
    /// Number of mappings that type1 allows; 0: 65535.
    pub dma_entry_limit: u32,
}

/// A PCI device of a [`Machine`].
#[derive(Clone, Debug, Default)]
pub struct DeviceSpec<'a> {
    /// The PCI address.
    pub address: &'a str,
    /// The driver that it is bound to; `None`: vfio-pci. "": none.
    pub driver: Option<&'a str>,
    /// The bridge above it: devices below one bridge are reset one after another.
    pub bridge: Option<&'a str>,
    /// `VFB_FAKE_DEVICE_...` of `vfioboost_sys`.
    pub flags: u32,
    /// The IOMMU group.
    pub group: u32,
    /// The NUMA node.
    pub node: i32,
    /// How long opening and closing it take; 0: 100 ms.
    pub reset: Duration,
    /// Sizes of the BARs; all 0: one of 16 KiB.
    pub bar_bytes: [u64; 6],
}

/// What has happened on a machine, and what there is now.
pub type Counts = sys::vfb_fake_counts;

/// A machine with a fake kernel, of the thread that creates it: there, [`Ctx::new()`] creates
/// contexts on it.
///
/// [`Ctx::new()`]: crate::Ctx::new
pub struct Machine {
    raw: NonNull<sys::vfb_fake>,
    // The thread that creates it destroys it.
    _not_send: PhantomData<*mut ()>,
}

// It has a lock.
unsafe impl Sync for Machine {}

/// A thread that uses a [`Machine`], see [`Machine::enter()`].
pub struct Guard<'a> {
    machine: &'a Machine,
    _not_send: PhantomData<*mut ()>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        unsafe { sys::vfb_fake_leave(self.machine.as_ptr()) };
    }
}

fn c_text(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(libc::EINVAL, format!("{text:?} contains a NUL")))
}

impl Machine {
    /// Creates a machine with one node, 4 CPUs, 64 GiB and no devices.
    pub fn new() -> Result<Machine> {
        Machine::with_options(&MachineOptions::default())
    }

    /// Creates a machine.
    pub fn with_options(options: &MachineOptions) -> Result<Machine> {
        let opts = sys::vfb_fake_opts {
            size: std::mem::size_of::<sys::vfb_fake_opts>(),
            flags: options.flags,
            nodes: options.nodes,
            cpus_per_node: options.cpus_per_node,
            node_bytes: options.node_bytes,
            pages_2m: options.pages_2m,
            pages_1g: options.pages_1g,
            memlock_bytes: options.memlock_bytes,
            dma_entry_limit: options.dma_entry_limit,
            ..Default::default()
        };
        let mut raw = null_mut();

        check(unsafe { sys::vfb_fake_create(&opts, &mut raw) })?;
        Ok(Machine { raw: NonNull::new(raw).expect("a machine"), _not_send: PhantomData })
    }

    /// Makes another thread use the machine until the guard is dropped. Threads that call the
    /// library without it are not waited for by the clock, and cannot create contexts.
    pub fn enter(&self) -> Result<Guard<'_>> {
        check(unsafe { sys::vfb_fake_enter(self.as_ptr()) })?;
        Ok(Guard { machine: self, _not_send: PhantomData })
    }

    /// Runs a closure that waits for other threads by itself, by `poll(2)` or a channel: meanwhile
    /// the clock does not wait for this thread.
    pub fn outside<T>(&self, wait: impl FnOnce() -> T) -> T {
        struct Back<'a>(&'a Machine);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                unsafe { sys::vfb_fake_outside_end(self.0.as_ptr()) };
            }
        }

        unsafe { sys::vfb_fake_outside_begin(self.as_ptr()) };
        let _back = Back(self);
        wait()
    }

    /// Adds a device, or changes one that nobody has opened.
    pub fn add_device(&self, spec: &DeviceSpec<'_>) -> Result<()> {
        let address = c_text(spec.address)?;
        let driver = spec.driver.map(c_text).transpose()?;
        let bridge = spec.bridge.map(c_text).transpose()?;
        let raw = sys::vfb_fake_device {
            size: std::mem::size_of::<sys::vfb_fake_device>(),
            address: address.as_ptr(),
            driver: driver.as_ref().map_or(std::ptr::null(), |driver| driver.as_ptr()),
            bridge: bridge.as_ref().map_or(std::ptr::null(), |bridge| bridge.as_ptr()),
            flags: spec.flags,
            group: spec.group,
            node: spec.node,
            reset_ns: nanoseconds(spec.reset),
            bar_bytes: spec.bar_bytes,
            ..Default::default()
        };

        check(unsafe { sys::vfb_fake_add_device(self.as_ptr(), &raw) }).map(drop)
    }

    /// Lets the `nth` call from now on fail, counted from 1; 0: all of them. An ioctl is named by
    /// its request, such as "VFIO_IOMMU_MAP_DMA", other calls as in `vfioboost/fake.h`.
    pub fn fail(&self, call: &str, nth: u32, errno: i32) -> Result<()> {
        let call = c_text(call)?;

        check(unsafe { sys::vfb_fake_fail(self.as_ptr(), call.as_ptr(), nth, errno) }).map(drop)
    }

    /// Lets the n-th call from now on fail, whichever that is: 1, 2, ... until [`failed()`] returns
    /// `None` tries the failure of each.
    ///
    /// [`failed()`]: Machine::failed
    pub fn fail_nth(&self, n: u32) {
        unsafe { sys::vfb_fake_fail_nth(self.as_ptr(), n, 0) };
    }

    /// Disarms all failures.
    pub fn fail_none(&self) {
        unsafe { sys::vfb_fake_fail_none(self.as_ptr()) };
    }

    /// The call that failed last on demand.
    pub fn failed(&self) -> Option<String> {
        // Valid until the next such failure.
        Some(unsafe { text(sys::vfb_fake_failed(self.as_ptr())) }).filter(|name| !name.is_empty())
    }

    /// The time on the virtual clock.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(unsafe { sys::vfb_fake_now(self.as_ptr()) })
    }

    /// Waits in virtual time.
    pub fn sleep(&self, time: Duration) {
        unsafe { sys::vfb_fake_sleep(self.as_ptr(), nanoseconds(time)) };
    }

    /// Waits in virtual time until the file descriptor of a job, or an eventfd of an interrupt, is
    /// readable. `false`: the timeout has expired.
    pub fn poll(&self, fd: BorrowedFd<'_>, timeout: Duration) -> bool {
        unsafe { sys::vfb_fake_poll(self.as_ptr(), fd.as_raw_fd(), nanoseconds(timeout)) == 1 }
    }

    /// Writes as a device does, at an IOVA of its space.
    pub fn dma_write(&self, device: &str, iova: u64, bytes: &[u8]) -> Result<()> {
        let device = c_text(device)?;

        check(unsafe {
            sys::vfb_fake_dma_write(
                self.as_ptr(),
                device.as_ptr(),
                iova,
                bytes.as_ptr().cast(),
                bytes.len(),
            )
        })
        .map(drop)
    }

    /// Where in the process the memory is that devices find at an IOVA.
    pub fn iova(&self, iova: u64, bytes: u64) -> Result<*mut u8> {
        let mut address = null_mut::<c_void>();

        check(unsafe { sys::vfb_fake_iova(self.as_ptr(), iova, bytes, &mut address) })?;
        Ok(address.cast())
    }

    /// Announces memory that the program has mapped by itself; see `vfb_fake_add_memory()`.
    pub fn add_memory<O: crate::MemoryOwner>(&self, memory: &O) -> Result<()> {
        let (fd, offset) = memory.file().map_or((-1, 0), |(fd, offset)| (fd.as_raw_fd(), offset));

        check(unsafe {
            sys::vfb_fake_add_memory(
                self.as_ptr(),
                memory.address().cast(),
                memory.bytes(),
                fd,
                offset,
            )
        })
        .map(drop)
    }

    /// Forgets memory that was announced.
    pub fn remove_memory<O: crate::MemoryOwner>(&self, memory: &O) -> Result<()> {
        check(unsafe { sys::vfb_fake_remove_memory(self.as_ptr(), memory.address().cast()) })
            .map(drop)
    }

    /// What has happened.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { size: std::mem::size_of::<Counts>(), ..Default::default() };

        // It cannot fail for a size that it knows.
        unsafe { sys::vfb_fake_counts(self.as_ptr(), &mut counts) };
        counts
    }

    /// What has not been released, and misuse of the kernel.
    pub fn leaks(&self) -> Vec<String> {
        let mut buffer = vec![0; 1 << 16];

        unsafe {
            sys::vfb_fake_leaks(self.as_ptr(), buffer.as_mut_ptr(), buffer.len());
            text(buffer.as_ptr()).lines().map(str::to_owned).collect()
        }
    }

    /// The machine, for functions of `vfioboost_sys`.
    pub fn as_ptr(&self) -> *mut sys::vfb_fake {
        self.raw.as_ptr()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let result = check(unsafe { sys::vfb_fake_destroy(self.as_ptr()) });

        // It stays.
        if let (Err(error), false) = (result, std::thread::panicking()) {
            panic!("{error}");
        }
    }
}
