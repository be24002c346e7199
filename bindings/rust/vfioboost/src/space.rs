use std::os::raw::c_int;
use std::os::unix::io::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{null_mut, NonNull};
use std::sync::{Arc, Mutex, MutexGuard};

use vfioboost_sys as sys;

use crate::error::{check, text};
use crate::event::in_callback;
use crate::job::{of_status, BatchOptions, Work};
use crate::{Ctx, Job, Memory, OnDemand, PageSize, Range, Result};

/// The kernel interface behind a space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// sPAPR on POWER; iommufd if the kernel has it and it is not slower, else type1.
    #[default]
    Auto,
    /// A VFIO container with a type1 IOMMU.
    Type1,
    /// An I/O address space of iommufd.
    Iommufd,
    /// No IOMMU and no devices: ranges are populated and can be translated.
    None,
    /// A VFIO container with the IOMMU of POWER (sPAPR).
    Spapr,
}

/// How iommufd maps memory that has a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapBy {
    /// By file if possible, else by address.
    #[default]
    Best,
    /// By address.
    Address,
    /// By file, or fail.
    File,
}

/// Settings of a [`Space`].
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct SpaceOptions {
    pub backend: Backend,
    pub map_by: MapBy,
    /// iommufd: keep the IOMMU domain when the last device is closed. The mapped memory stays
    /// pinned, so that reopening a device costs only its reset.
    pub keep_domain: bool,
    /// Devices can be tracked: see [`Space::track_dirty()`].
    pub dirty: bool,
    /// For [`Space::adopt()`]: the ID of a domain of the program's that is tracked, too; 0: none.
    pub dirty_domain: u32,
    /// For [`Backend::Auto`]: the pages of most of the memory that will be mapped.
    pub page_size: PageSize,
    /// Map memory in blocks of at most this many bytes, which [`Memory::discard`] can discard one by
    /// one: a power of two from 2 MiB to 1 GiB. 0: as few mappings as possible.
    pub block_bytes: u64,
    /// How ranges with [`Range::on_demand()`] are mapped.
    pub on_demand: OnDemand,
    /// [`OnDemand::Fault`]: threads that handle faults, at most 64; 0: 2.
    pub fault_threads: u32,
    /// [`OnDemand::Fault`]: the most windows that are mapped ahead of a device that reads on.
    pub fault_ahead: u32,
    /// [`OnDemand::Fault`]: faults that take longer are denied, in milliseconds; 0: 10 seconds.
    pub fault_timeout_ms: u32,
}

impl SpaceOptions {
    fn flags(&self) -> u32 {
        let mut flags = 0;
        if self.keep_domain {
            flags |= sys::VFB_SPACE_KEEP_DOMAIN;
        }
        if self.dirty {
            flags |= sys::VFB_SPACE_DIRTY;
        }
        flags
    }

    fn as_raw(&self) -> sys::vfb_space_opts {
        sys::vfb_space_opts {
            size: std::mem::size_of::<sys::vfb_space_opts>(),
            backend: match self.backend {
                Backend::Auto => sys::VFB_BACKEND_AUTO,
                Backend::Type1 => sys::VFB_BACKEND_TYPE1,
                Backend::Iommufd => sys::VFB_BACKEND_IOMMUFD,
                Backend::None => sys::VFB_BACKEND_NONE,
                Backend::Spapr => sys::VFB_BACKEND_SPAPR,
            },
            map_by: match self.map_by {
                MapBy::Best => sys::VFB_MAP_BY_BEST,
                MapBy::Address => sys::VFB_MAP_BY_ADDRESS,
                MapBy::File => sys::VFB_MAP_BY_FILE,
            },
            flags: self.flags(),
            page_size: self.page_size.as_raw(),
            dirty_domain: self.dirty_domain,
            block_bytes: self.block_bytes,
            on_demand: self.on_demand.as_raw(),
            fault_threads: self.fault_threads,
            fault_ahead: self.fault_ahead,
            fault_timeout_ms: self.fault_timeout_ms,
            ..Default::default()
        }
    }
}

/// State of a [`Space`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SpaceInfo {
    /// The backend in use.
    pub backend: Backend,
    /// Number of devices that are open.
    pub devices: usize,
    /// Number of mapped ranges, and their bytes.
    pub mappings: usize,
    #[allow(missing_docs)]
    pub mapped_bytes: u64,
    /// How many bytes of the ranges are discarded.
    pub discarded_bytes: u64,
    /// Number of mappings that the kernel still allows; `None`: no limit, or not known.
    pub entries_left: Option<u64>,
    /// Why this backend was chosen.
    pub reason: String,
    /// The ID of the IOAS of an iommufd.
    pub ioas: u32,
}

/// A range that may be mapped: the memory behind it must stay until it is unmapped.
struct Mapping {
    /// Of the batch that maps it, and the entry in it.
    id: (u64, usize),
    iova: u64,
    bytes: u64,
    _memory: Memory,
}

#[derive(Default)]
struct Mappings {
    batches: u64,
    list: Vec<Mapping>,
}

pub(crate) struct SpaceInner {
    raw: NonNull<sys::vfb_space>,
    mappings: Mutex<Mappings>,
    // Of an adopted space.
    owner: Option<OwnedFd>,
    ctx: Ctx,
}

// The library may be called from any thread.
unsafe impl Send for SpaceInner {}
unsafe impl Sync for SpaceInner {}

impl SpaceInner {
    fn mappings(&self) -> MutexGuard<'_, Mappings> {
        self.mappings.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Keeps the memory of a batch that is about to be mapped.
    fn keep(&self, ranges: &[Range]) -> u64 {
        let mut mappings = self.mappings();
        let batch = mappings.batches;

        mappings.batches += 1;
        mappings.list.extend(ranges.iter().enumerate().map(|(entry, range)| Mapping {
            id: (batch, entry),
            iova: range.raw.iova,
            bytes: range.raw.bytes,
            _memory: range.memory.clone(),
        }));
        batch
    }

    /// Learns where the ranges of a batch are, and drops those that were not mapped. Memory is
    /// dropped, and so possibly destroyed, without the lock.
    fn settle(&self, batch: u64, raw: &[sys::vfb_range]) {
        let mut mappings = self.mappings();
        let (mut dropped, mut kept) = (Vec::new(), Vec::new());

        for mut mapping in mappings.list.drain(..) {
            let (of, entry) = mapping.id;
            match raw.get(entry).filter(|_| of == batch) {
                Some(range) if range.status < 0 => {
                    dropped.push(mapping);
                    continue;
                }
                Some(range) => mapping.iova = range.iova,
                None => (),
            }
            kept.push(mapping);
        }
        mappings.list = kept;
        drop(mappings);
        drop(dropped);
    }

    /// Drops what has been unmapped.
    fn forget(&self, iova: u64, bytes: u64) {
        let mut mappings = self.mappings();
        let (dropped, kept): (Vec<_>, Vec<_>) = mappings.list.drain(..).partition(|mapping| {
            iova <= mapping.iova
                && mapping.bytes <= bytes
                && mapping.iova - iova <= bytes - mapping.bytes
        });

        mappings.list = kept;
        drop(mappings);
        drop(dropped);
    }

    fn as_ptr(&self) -> *mut sys::vfb_space {
        self.raw.as_ptr()
    }
}

impl Drop for SpaceInner {
    fn drop(&mut self) {
        // What cannot be destroyed is leaked, along with what it depends on.
        if in_callback() || unsafe { sys::vfb_space_destroy(self.as_ptr()) } < 0 {
            std::mem::forget(std::mem::take(&mut self.mappings().list));
            std::mem::forget(self.owner.take());
            std::mem::forget(self.ctx.clone());
        }
    }
}

/// An I/O address space: what devices see, and how memory is mapped into it.
///
/// The last handle unmaps everything.
#[derive(Clone)]
pub struct Space(pub(crate) Arc<SpaceInner>);

impl Space {
    /// Creates an empty space with default settings.
    pub fn new(ctx: &Ctx) -> Result<Space> {
        Space::with_options(ctx, &SpaceOptions::default())
    }

    /// Creates an empty space.
    pub fn with_options(ctx: &Ctx, options: &SpaceOptions) -> Result<Space> {
        let mut raw = null_mut();

        check(unsafe { sys::vfb_space_create(ctx.as_ptr(), &options.as_raw(), &mut raw) })?;
        Ok(Space::from_raw(ctx, raw, None))
    }

    /// Creates a space from a type1 container, or from an iommufd and the ID of an IOAS in it, that
    /// the program has opened and continues to use: pass a duplicate, `fd.try_clone()`. The library
    /// maps and unmaps its own ranges beside those of the program. `ioas` is 0 for a container; with
    /// an iommufd 0 means the IOAS that it uses for groups.
    pub fn adopt(ctx: &Ctx, fd: OwnedFd, ioas: u32, options: &SpaceOptions) -> Result<Space> {
        let mut raw = null_mut();

        check(unsafe {
            sys::vfb_space_adopt(ctx.as_ptr(), fd.as_raw_fd(), ioas, &options.as_raw(), &mut raw)
        })?;
        Ok(Space::from_raw(ctx, raw, Some(fd)))
    }

    fn from_raw(ctx: &Ctx, raw: *mut sys::vfb_space, owner: Option<OwnedFd>) -> Space {
        Space(Arc::new(SpaceInner {
            raw: NonNull::new(raw).expect("a space"),
            mappings: Mutex::default(),
            owner,
            ctx: ctx.clone(),
        }))
    }

    /// Starts to populate and map ranges, so that devices can access them. The job yields the IOVA
    /// of each. If one fails, all are unmapped again.
    pub fn map(&self, ranges: &[Range]) -> Result<Job<u64>> {
        self.map_with(ranges, &BatchOptions::default())
    }

    /// As [`map()`](Space::map), with settings.
    pub fn map_with(&self, ranges: &[Range], options: &BatchOptions) -> Result<Job<u64>> {
        let mut work = Box::new(Mapped {
            raw: ranges.iter().map(|range| range.raw).collect(),
            batch: self.0.keep(ranges),
            space: self.clone(),
            _memory: ranges.iter().map(|range| range.memory.clone()).collect(),
        });
        let mut job = null_mut();
        let result = check(unsafe {
            sys::vfb_space_map_start(
                self.as_ptr(),
                work.raw.as_mut_ptr(),
                work.raw.len(),
                &options.as_raw(),
                &mut job,
            )
        });

        if let Err(error) = result {
            work.raw.iter_mut().for_each(|range| range.status = -error.errno());
            work.results();
            return Err(error);
        }
        Ok(unsafe { Job::new(job, work) })
    }

    /// Starts to unmap ranges: IOVA and length of each, as they were mapped. Devices must have
    /// stopped using them.
    pub fn unmap(&self, ranges: &[(u64, u64)]) -> Result<Job<()>> {
        let raw = ranges
            .iter()
            .map(|&(iova, bytes)| sys::vfb_range { iova, bytes, ..Default::default() })
            .collect();
        let mut work = Box::new(Unmapped { raw, space: self.clone() });
        let mut job = null_mut();

        check(unsafe {
            sys::vfb_space_unmap_start(
                self.as_ptr(),
                work.raw.as_mut_ptr(),
                work.raw.len(),
                &BatchOptions::default().as_raw(),
                &mut job,
            )
        })?;
        Ok(unsafe { Job::new(job, work) })
    }

    /// Unmaps everything that was mapped through this space.
    pub fn unmap_all(&self) -> Result<()> {
        check(unsafe { sys::vfb_space_unmap_all(self.as_ptr()) })?;
        let dropped = std::mem::take(&mut self.0.mappings().list);
        drop(dropped);
        Ok(())
    }

    /// Its state.
    pub fn info(&self) -> Result<SpaceInfo> {
        let raw = self.raw_info()?;

        Ok(SpaceInfo {
            backend: match raw.backend {
                sys::VFB_BACKEND_TYPE1 => Backend::Type1,
                sys::VFB_BACKEND_IOMMUFD => Backend::Iommufd,
                sys::VFB_BACKEND_NONE => Backend::None,
                sys::VFB_BACKEND_SPAPR => Backend::Spapr,
                _ => Backend::Auto,
            },
            devices: raw.devices,
            mappings: raw.mappings,
            mapped_bytes: raw.mapped_bytes,
            discarded_bytes: raw.discarded_bytes,
            entries_left: Some(raw.entries_left).filter(|left| *left != u64::MAX),
            // Valid as long as the space.
            reason: unsafe { text(raw.reason) },
            ioas: raw.ioas,
        })
    }

    fn raw_info(&self) -> Result<sys::vfb_space_info> {
        let mut raw = sys::vfb_space_info {
            size: std::mem::size_of::<sys::vfb_space_info>(),
            ..Default::default()
        };

        check(unsafe { sys::vfb_space_info(self.as_ptr(), &mut raw) })?;
        Ok(raw)
    }

    /// The container or iommufd: for KVM, and for another process. None without an IOMMU.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        let fd: c_int = self.raw_info().ok()?.fd;
        // It stays open as long as the space.
        (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// The IOVA ranges that all devices of the space can use, both ends inclusive.
    pub fn iova_ranges(&self) -> Result<Vec<std::ops::RangeInclusive<u64>>> {
        let mut ranges = Vec::new();

        // Other threads may open a device in between.
        loop {
            let capacity: usize = ranges.len();
            let count = check(unsafe {
                sys::vfb_space_iova_ranges(self.as_ptr(), ranges.as_mut_ptr(), capacity)
            })? as usize;
            if count <= capacity {
                ranges.truncate(count);
                return Ok(ranges.iter().map(|range| range.first..=range.last).collect());
            }
            ranges.resize(count, sys::vfb_iova_range::default());
        }
    }

    /// Where a buffer of IOVAs is in the process. Any number of threads may translate while others
    /// map and unmap. Whoever uses the addresses must make sure that the range is not unmapped
    /// meanwhile.
    pub fn translate(&self, iova: u64, bytes: u64) -> Result<Vec<Piece>> {
        let mut pieces = vec![sys::vfb_translation::default()];

        loop {
            let count = check(unsafe {
                sys::vfb_space_translate(
                    self.as_ptr(),
                    iova,
                    bytes,
                    pieces.as_mut_ptr(),
                    pieces.len(),
                )
            })? as usize;
            if count <= pieces.len() {
                pieces.truncate(count);
                return Ok(pieces.iter().map(Piece::from_raw).collect());
            }
            pieces.resize(count, sys::vfb_translation::default());
        }
    }

    /// The space, for functions of `vfioboost_sys`. It must not be destroyed, and what is mapped
    /// through this crate must be unmapped through it.
    pub fn as_ptr(&self) -> *mut sys::vfb_space {
        self.0.as_ptr()
    }

    pub(crate) fn ctx(&self) -> &Ctx {
        &self.0.ctx
    }
}

impl std::fmt::Debug for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Space").field(&self.info()).finish()
    }
}

/// A part of a buffer that is contiguous both for devices and in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Piece {
    pub address: *mut u8,
    pub iova: u64,
    pub bytes: u64,
    /// Whether devices may write to it.
    pub writable: bool,
}

impl Piece {
    fn from_raw(raw: &sys::vfb_translation) -> Piece {
        Piece {
            address: raw.address.cast(),
            iova: raw.iova,
            bytes: raw.bytes,
            writable: raw.flags & sys::VFB_RANGE_WRITE != 0,
        }
    }
}

struct Mapped {
    raw: Vec<sys::vfb_range>,
    batch: u64,
    space: Space,
    _memory: Vec<Memory>,
}

// The pointers in it are those of the memory that it holds.
unsafe impl Send for Mapped {}

impl Work for Mapped {
    type Item = u64;

    fn results(&mut self) -> Vec<Result<u64>> {
        self.space.0.settle(self.batch, &self.raw);
        self.raw.iter().map(|range| of_status(range.status).map(|()| range.iova)).collect()
    }
}

struct Unmapped {
    raw: Vec<sys::vfb_range>,
    space: Space,
}

// There is no memory in its ranges.
unsafe impl Send for Unmapped {}

impl Work for Unmapped {
    type Item = ();

    fn results(&mut self) -> Vec<Result<()>> {
        for range in self.raw.iter().filter(|range| range.status == 0) {
            self.space.0.forget(range.iova, range.bytes);
        }
        self.raw.iter().map(|range| of_status(range.status)).collect()
    }
}
