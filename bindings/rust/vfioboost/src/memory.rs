use std::any::Any;
use std::ops::Range;
use std::os::raw::{c_int, c_void};
use std::os::unix::io::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::{null, null_mut, NonNull};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;

use vfioboost_sys as sys;

use crate::error::{check, text};
use crate::event::in_callback;
use crate::job::{BatchOptions, Work};
use crate::{Ctx, Error, Job, Result};

/// The pages that back memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PageSize {
    /// The largest that divides the size and that the host has available now.
    #[default]
    Auto,
    /// Base pages only, of 4 KiB on x86 and of up to 64 KiB elsewhere.
    Base,
    /// Transparent huge pages wherever the kernel can allocate them.
    Transparent,
    /// hugetlb pages of 2 MiB, from the pool.
    Huge2M,
    /// hugetlb pages of 1 GiB.
    Huge1G,
    /// hugetlb pages of 1 GiB, and of 2 MiB for the remainder. Anonymous memory only.
    Mixed,
    /// hugetlb pages of so many bytes, of any size that the kernel has a pool of. Not for adopted
    /// memory.
    Huge(u64),
}

impl PageSize {
    /// The former name of [`PageSize::Base`].
    #[allow(non_upper_case_globals)]
    pub const Small4K: PageSize = PageSize::Base;

    pub(crate) fn as_raw(self) -> sys::vfb_page_size {
        match self {
            PageSize::Auto => sys::VFB_PAGE_AUTO,
            PageSize::Base => sys::VFB_PAGE_BASE,
            PageSize::Transparent => sys::VFB_PAGE_THP,
            PageSize::Huge2M => sys::VFB_PAGE_2M,
            PageSize::Huge1G => sys::VFB_PAGE_1G,
            PageSize::Mixed => sys::VFB_PAGE_MIXED,
            PageSize::Huge(_) => sys::VFB_PAGE_HUGE,
        }
    }

    /// vfb_memory_opts.page_bytes
    fn huge_bytes(self) -> u64 {
        match self {
            PageSize::Huge(bytes) => bytes,
            _ => 0,
        }
    }

    fn from_raw(info: &sys::vfb_memory_info) -> PageSize {
        match info.page_size {
            sys::VFB_PAGE_BASE => PageSize::Base,
            sys::VFB_PAGE_THP => PageSize::Transparent,
            sys::VFB_PAGE_2M => PageSize::Huge2M,
            sys::VFB_PAGE_1G => PageSize::Huge1G,
            sys::VFB_PAGE_MIXED => PageSize::Mixed,
            sys::VFB_PAGE_HUGE => PageSize::Huge(info.page_bytes),
            _ => PageSize::Auto,
        }
    }
}

/// What backs memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryKind {
    /// Private anonymous memory.
    #[default]
    Anonymous,
    /// A memfd, which can be shared with other processes.
    Memfd,
}

/// On which NUMA nodes pages are allocated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NumaPolicy {
    /// By the policy of the process.
    #[default]
    Process,
    /// On these nodes only.
    Bind(Vec<u32>),
    /// Round robin over these nodes.
    Interleave(Vec<u32>),
    /// On these nodes, or elsewhere when they are full.
    Preferred(Vec<u32>),
    /// Consecutive parts, each bound to its own node: nodes, and bytes on each.
    Split(Vec<(u32, u64)>),
}

impl NumaPolicy {
    /// The number of the policy, its nodes, and the bytes on each.
    fn as_raw(&self) -> (sys::vfb_numa_policy, Vec<u32>, Vec<u64>) {
        let (policy, nodes) = match self {
            NumaPolicy::Process => (sys::VFB_NUMA_DEFAULT, Vec::new()),
            NumaPolicy::Bind(nodes) => (sys::VFB_NUMA_BIND, nodes.clone()),
            NumaPolicy::Interleave(nodes) => (sys::VFB_NUMA_INTERLEAVE, nodes.clone()),
            NumaPolicy::Preferred(nodes) => (sys::VFB_NUMA_PREFERRED, nodes.clone()),
            NumaPolicy::Split(parts) => {
                let (nodes, bytes) = parts.iter().copied().unzip();
                return (sys::VFB_NUMA_SPLIT, nodes, bytes);
            }
        };
        (policy, nodes, Vec::new())
    }
}

/// Settings of memory.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct MemoryOptions {
    /// Its size, a multiple of the page size.
    pub bytes: u64,
    /// Its pages.
    pub page_size: PageSize,
    /// Anonymous, or a memfd.
    pub kind: MemoryKind,
    /// On which nodes.
    pub policy: NumaPolicy,
    /// Grow the hugetlb pool if it has too few free pages. Needs root.
    pub grow_pool: bool,
    /// Exclude the memory from core dumps.
    pub no_dump: bool,
    /// Let children of `fork()` inherit the memory.
    pub keep_on_fork: bool,
}

impl MemoryOptions {
    /// Memory of this size, with defaults for everything else.
    pub fn new(bytes: u64) -> Self {
        MemoryOptions { bytes, ..Default::default() }
    }

    /// Sets the page size.
    pub fn page_size(mut self, page_size: PageSize) -> Self {
        self.page_size = page_size;
        self
    }

    /// Sets the kind.
    pub fn kind(mut self, kind: MemoryKind) -> Self {
        self.kind = kind;
        self
    }

    /// Sets the NUMA policy.
    pub fn policy(mut self, policy: NumaPolicy) -> Self {
        self.policy = policy;
        self
    }

    fn flags(&self) -> u32 {
        let mut flags = 0;
        if self.grow_pool {
            flags |= sys::VFB_MEMORY_GROW_POOL;
        }
        if self.no_dump {
            flags |= sys::VFB_MEMORY_NO_DUMP;
        }
        if self.keep_on_fork {
            flags |= sys::VFB_MEMORY_KEEP_ON_FORK;
        }
        flags
    }
}

/// Memory that a program has mapped by itself, for [`Memory::adopt()`]. The crate
/// `vfioboost-rust-vmm` implements it for the regions of `vm-memory`.
///
/// # Safety
///
/// From the first call on, and as long as the value exists, all of the memory at
/// [`address()`](MemoryOwner::address) stays mapped there, readable and writable, and both functions
/// return the same. The file, if there is one, stays open and keeps its length.
///
/// The contents may change at any time, even while the program has handles of its own: devices write
/// to it, and [`Memory::discard()`] and [`AdoptOptions::free`] clear it. So there is no reference to
/// what is in it.
pub unsafe trait MemoryOwner: Send + Sync {
    /// Where it begins, a multiple of 4 KiB.
    fn address(&self) -> *mut u8;
    /// Its length in bytes, a multiple of 4 KiB.
    fn bytes(&self) -> u64;
    /// The file that is mapped there, and the offset where the memory begins in it.
    fn file(&self) -> Option<(BorrowedFd<'_>, u64)> {
        None
    }
}

/// Settings of [`Memory::adopt_with()`].
#[derive(Clone, Copy, Debug, Default)]
pub struct AdoptOptions {
    /// Its pages.
    pub page_size: PageSize,
    /// All of it is populated and stays so, and the library does not touch it.
    pub populated: bool,
    /// Nobody needs the contents when the last [`Memory`] is dropped, even if the program keeps the
    /// owner: all workers then free the pages, which the program's `munmap(2)` would do in one
    /// thread. Only for memory without a file.
    pub free: bool,
}

pub(crate) struct MemoryInner {
    raw: NonNull<sys::vfb_memory>,
    address: *mut u8,
    bytes: u64,
    // Taken only to be leaked.
    owner: Option<Box<dyn Any + Send + Sync>>,
    ctx: Ctx,
}

// The library may be called from any thread.
unsafe impl Send for MemoryInner {}
unsafe impl Sync for MemoryInner {}

impl MemoryInner {
    pub(crate) fn as_ptr(&self) -> *mut sys::vfb_memory {
        self.raw.as_ptr()
    }
}

impl Drop for MemoryInner {
    fn drop(&mut self) {
        // What cannot be destroyed is leaked, along with what it depends on.
        if in_callback() || unsafe { sys::vfb_memory_destroy(self.as_ptr()) } < 0 {
            std::mem::forget(self.owner.take());
            std::mem::forget(self.ctx.clone());
        }
    }
}

/// Memory for a guest or a driver.
///
/// The last handle returns it to the system. A range that is mapped for devices is a handle, too.
#[derive(Clone)]
pub struct Memory(pub(crate) Arc<MemoryInner>);

impl Memory {
    /// Creates memory. Nothing is populated yet: [`Space::map()`](crate::Space::map) does that.
    pub fn new(ctx: &Ctx, options: &MemoryOptions) -> Result<Memory> {
        let (policy, nodes, node_bytes) = options.policy.as_raw();
        let opts = sys::vfb_memory_opts {
            size: std::mem::size_of::<sys::vfb_memory_opts>(),
            bytes: options.bytes,
            page_size: options.page_size.as_raw(),
            page_bytes: options.page_size.huge_bytes(),
            kind: match options.kind {
                MemoryKind::Anonymous => sys::VFB_MEMORY_ANONYMOUS,
                MemoryKind::Memfd => sys::VFB_MEMORY_MEMFD,
            },
            policy,
            nodes: if nodes.is_empty() { null() } else { nodes.as_ptr() },
            node_count: nodes.len(),
            node_bytes: if node_bytes.is_empty() { null() } else { node_bytes.as_ptr() },
            flags: options.flags(),
        };
        let mut raw = null_mut();

        check(unsafe { sys::vfb_memory_create(ctx.as_ptr(), &opts, &mut raw) })?;
        Memory::from_raw(ctx, raw, None)
    }

    /// Makes memory that the program has mapped by itself usable. It stays mapped by the program,
    /// which the library keeps as long as it uses the memory.
    ///
    /// `populated`: all of it is populated and stays so, and the library does not touch it.
    pub fn adopt<O>(
        ctx: &Ctx,
        owner: Arc<O>,
        page_size: PageSize,
        populated: bool,
    ) -> Result<Memory>
    where
        O: MemoryOwner + 'static,
    {
        Memory::adopt_with(ctx, owner, &AdoptOptions { page_size, populated, free: false })
    }

    /// As [`adopt()`](Memory::adopt), with all settings.
    pub fn adopt_with<O>(ctx: &Ctx, owner: Arc<O>, options: &AdoptOptions) -> Result<Memory>
    where
        O: MemoryOwner + 'static,
    {
        let mut opts = sys::vfb_memory_adopt_opts {
            size: std::mem::size_of::<sys::vfb_memory_adopt_opts>(),
            address: owner.address().cast(),
            bytes: owner.bytes(),
            page_size: options.page_size.as_raw(),
            flags: if options.free { sys::VFB_MEMORY_ADOPT_FREE } else { 0 },
            ..Default::default()
        };

        if let Some((fd, offset)) = owner.file() {
            opts.fd = fd.as_raw_fd();
            opts.fd_offset = offset;
            opts.flags |= sys::VFB_MEMORY_ADOPT_HAS_FD;
        }
        if options.populated {
            opts.flags |= sys::VFB_MEMORY_ADOPT_POPULATED;
        }
        if opts.address.is_null() {
            return Err(Error::new(libc::EINVAL, "the memory to adopt has the address 0"));
        }
        Memory::adopt_raw(ctx, &opts, Box::new(owner))
    }

    /// Maps `bytes` of a file (a memfd, or a file on tmpfs or hugetlbfs) from `offset` on. The file
    /// must keep its length as long as the memory is used.
    pub fn adopt_file(ctx: &Ctx, file: OwnedFd, offset: u64, bytes: u64) -> Result<Memory> {
        let opts = sys::vfb_memory_adopt_opts {
            size: std::mem::size_of::<sys::vfb_memory_adopt_opts>(),
            bytes,
            fd: file.as_raw_fd(),
            fd_offset: offset,
            flags: sys::VFB_MEMORY_ADOPT_HAS_FD,
            ..Default::default()
        };

        Memory::adopt_raw(ctx, &opts, Box::new(file))
    }

    fn adopt_raw(
        ctx: &Ctx,
        opts: &sys::vfb_memory_adopt_opts,
        owner: Box<dyn Any + Send + Sync>,
    ) -> Result<Memory> {
        let mut raw = null_mut();

        check(unsafe { sys::vfb_memory_adopt(ctx.as_ptr(), opts, &mut raw) })?;
        Memory::from_raw(ctx, raw, Some(owner))
    }

    fn from_raw(
        ctx: &Ctx,
        raw: *mut sys::vfb_memory,
        owner: Option<Box<dyn Any + Send + Sync>>,
    ) -> Result<Memory> {
        let info = info_of(raw)?;

        Ok(Memory(Arc::new(MemoryInner {
            raw: NonNull::new(raw).expect("memory"),
            address: info.address.cast(),
            bytes: info.bytes,
            owner,
            ctx: ctx.clone(),
        })))
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// Where it is in this process, for code that accesses it by itself. It stays there as long as
    /// there is a handle. Devices and other threads may write to it at any time.
    pub fn address(&self) -> *mut u8 {
        self.0.address
    }

    /// The file whose pages are at the address: the library's memfd, or the program's file.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        let fd: RawFd = info_of(self.as_ptr()).ok()?.fd;
        // It stays open as long as the memory.
        (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// The pages in use.
    pub fn page_size(&self) -> PageSize {
        info_of(self.as_ptr()).map_or(PageSize::Auto, |info| PageSize::from_raw(&info))
    }

    /// How many bytes the library has populated.
    pub fn populated_bytes(&self) -> u64 {
        info_of(self.as_ptr()).map_or(0, |info| info.populated_bytes)
    }

    /// With [`PageSize::Auto`]: why larger pages were not used, a line for each size. For adopted
    /// memory: why it is not mapped by its file.
    pub fn fallback(&self) -> String {
        info_of(self.as_ptr()).map_or_else(
            |_| String::new(),
            // Valid as long as the memory.
            |info| unsafe { text(info.fallback) },
        )
    }

    /// Copies bytes out of the memory. Meant for a few: for much, or often, use
    /// [`address()`](Memory::address) with a crate such as `vm-memory`.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let part = self.part(offset, buffer.len())?;

        for (byte, at) in buffer.iter_mut().zip(part) {
            *byte = at.load(Ordering::Relaxed);
        }
        Ok(())
    }

    /// Copies bytes into the memory; see [`read()`](Memory::read).
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        for (byte, at) in bytes.iter().zip(self.part(offset, bytes.len())?) {
            at.store(*byte, Ordering::Relaxed);
        }
        Ok(())
    }

    fn part(&self, offset: u64, bytes: usize) -> Result<&[AtomicU8]> {
        if offset > self.bytes() || bytes as u64 > self.bytes() - offset {
            let text = format!(
                "{bytes} bytes from offset {offset} are not within the {} bytes of the memory",
                self.bytes()
            );
            return Err(Error::new(libc::ERANGE, text));
        }
        // All of it is mapped, readable and writable, as long as self exists. Others write to it,
        // so it consists of atomics.
        Ok(unsafe { std::slice::from_raw_parts(self.address().add(offset as usize).cast(), bytes) })
    }

    /// Makes every page present, zeroed and on its node, and waits for that.
    pub fn populate(&self) -> Result<()> {
        check(unsafe { sys::vfb_memory_populate(self.as_ptr()) }).map(drop)
    }

    /// Unmaps parts of the memory from all spaces and returns their pages; what was in them is
    /// lost. Devices and threads must have stopped using them. The spaces must map in blocks
    /// ([`SpaceOptions::block_bytes`](crate::SpaceOptions)), of which the parts consist.
    ///
    /// An entry that fails stays mapped; with [`BatchOptions::best_effort`] the others are discarded.
    pub fn discard(&self, parts: &[Range<u64>], options: &BatchOptions) -> Result<()> {
        let mut parts = raw_parts(parts);

        check(unsafe {
            sys::vfb_memory_discard(
                self.as_ptr(),
                parts.as_mut_ptr(),
                parts.len(),
                &options.as_raw(),
            )
        })
        .map(drop)
    }

    /// Populates parts of the memory and maps what was discarded of them where it was.
    pub fn restore(&self, parts: &[Range<u64>], options: &BatchOptions) -> Result<()> {
        let mut parts = raw_parts(parts);

        check(unsafe {
            sys::vfb_memory_restore(
                self.as_ptr(),
                parts.as_mut_ptr(),
                parts.len(),
                &options.as_raw(),
            )
        })
        .map(drop)
    }

    /// The memory, for functions of `vfioboost_sys`. It must not be destroyed.
    pub fn as_ptr(&self) -> *mut sys::vfb_memory {
        self.0.as_ptr()
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory")
            .field("address", &self.address())
            .field("bytes", &self.bytes())
            .finish()
    }
}

/// What ends before it begins is empty, which the library refuses.
fn raw_parts(parts: &[Range<u64>]) -> Vec<sys::vfb_memory_range> {
    parts
        .iter()
        .map(|part| sys::vfb_memory_range {
            offset: part.start,
            bytes: part.end.saturating_sub(part.start),
            ..Default::default()
        })
        .collect()
}

fn info_of(raw: *mut sys::vfb_memory) -> Result<sys::vfb_memory_info> {
    let mut info = sys::vfb_memory_info {
        size: std::mem::size_of::<sys::vfb_memory_info>(),
        address: null_mut::<c_void>(),
        ..Default::default()
    };

    check(unsafe { sys::vfb_memory_info(raw, &mut info) })?;
    Ok(info)
}

struct Populating(Vec<Memory>);

impl Work for Populating {
    type Item = ();

    fn results(&mut self) -> Vec<Result<()>> {
        self.0.drain(..).map(|_| Ok(())).collect()
    }
}

/// Starts to populate several memories of one context at once.
pub fn populate(memories: &[Memory]) -> Result<Job<()>> {
    let pointers: Vec<_> = memories.iter().map(Memory::as_ptr).collect();
    let mut job = null_mut();
    let result: c_int =
        unsafe { sys::vfb_memory_populate_start(pointers.as_ptr(), pointers.len(), &mut job) };

    check(result)?;
    Ok(unsafe { Job::new(job, Box::new(Populating(memories.to_vec()))) })
}
