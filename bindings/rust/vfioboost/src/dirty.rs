use std::os::raw::c_int;
use std::ptr::null_mut;

use vfioboost_sys as sys;

use crate::error::{check, Error};
use crate::job::{of_status, Work};
use crate::{Job, Result, Space};

const WORD_BITS: u64 = 64;

/// The pages of an area that devices have written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirty {
    /// Where the area begins, and its length.
    pub iova: u64,
    #[allow(missing_docs)]
    pub bytes: u64,
    /// One bit per base page: bit N % 64 of word N / 64 is page N of the area.
    pub bitmap: Vec<u64>,
}

impl Dirty {
    /// The numbers of the pages that were written to, in order.
    pub fn pages(&self) -> impl Iterator<Item = u64> + '_ {
        self.bitmap.iter().zip(0..).flat_map(|(word, index)| {
            (0..WORD_BITS).filter(move |bit| word >> bit & 1 != 0).map(move |bit| index * 64 + bit)
        })
    }
}

struct Reading {
    raw: Vec<sys::vfb_dirty_area>,
    bitmaps: Vec<Vec<u64>>,
    _space: Space,
}

// The pointers in it are those of the bitmaps that it holds.
unsafe impl Send for Reading {}

impl Work for Reading {
    type Item = Dirty;

    fn results(&mut self) -> Vec<Result<Dirty>> {
        let bitmaps = std::mem::take(&mut self.bitmaps);

        self.raw
            .iter()
            .zip(bitmaps)
            .map(|(area, bitmap)| {
                of_status(area.status)?;
                Ok(Dirty { iova: area.iova, bytes: area.bytes, bitmap })
            })
            .collect()
    }
}

fn base_page() -> u64 {
    // It cannot fail for a value that every system has.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(4096) as u64
}

/// Which pages devices write to, for live migration. What else writes to memory is not tracked.
impl Space {
    /// Begins or ends tracking what devices write to; the space needs
    /// [`SpaceOptions::dirty`](crate::SpaceOptions::dirty). Afterwards all pages are clean.
    pub fn track_dirty(&self, on: bool) -> Result<()> {
        check(unsafe { sys::vfb_space_track_dirty(self.as_ptr(), c_int::from(on)) }).map(drop)
    }

    /// Starts to read, and clear, which pages of areas (IOVA and length of each) devices have
    /// written to since the last time. With type1 that is all that is mapped. Do not unmap them
    /// meanwhile.
    pub fn dirty(&self, areas: &[(u64, u64)]) -> Result<Job<Dirty>> {
        let page = base_page();
        let words = |bytes: u64| {
            usize::try_from((bytes / page + WORD_BITS - 1) / WORD_BITS)
                .map_err(|_| Error::new(libc::ENOMEM, "an area is too large for its bitmap"))
        };
        let mut bitmaps = Vec::new();

        for &(_, bytes) in areas {
            let (count, mut bitmap) = (words(bytes)?, Vec::new());
            bitmap
                .try_reserve_exact(count)
                .map_err(|_| Error::new(libc::ENOMEM, "no memory for the bitmap of an area"))?;
            bitmap.resize(count, 0);
            bitmaps.push(bitmap);
        }
        let raw = areas
            .iter()
            .zip(&mut bitmaps)
            .map(|(&(iova, bytes), bitmap)| sys::vfb_dirty_area {
                iova,
                bytes,
                bitmap: bitmap.as_mut_ptr(),
                ..Default::default()
            })
            .collect();
        let mut work = Box::new(Reading { raw, bitmaps, _space: self.clone() });
        let mut job = null_mut();

        check(unsafe {
            sys::vfb_space_dirty_start(
                self.as_ptr(),
                work.raw.as_mut_ptr(),
                work.raw.len(),
                &mut job,
            )
        })?;
        Ok(unsafe { Job::new(job, work) })
    }
}
