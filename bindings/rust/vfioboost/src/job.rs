use std::os::raw::c_int;
use std::os::unix::io::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::time::Duration;

use vfioboost_sys as sys;

use crate::error::{check, Error, Result};
use crate::event::in_callback;

/// For the library, whose longest time is `u64::MAX` nanoseconds: forever.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Settings of one batch. The default is a good one.
#[derive(Clone, Debug, Default)]
pub struct BatchOptions {
    /// The most entries to process at a time, and the most pieces to split one entry into. 0: as
    /// many as the machine and the kernel benefit from.
    pub width: u32,
    /// Keep the entries that succeeded when another one fails. Otherwise a failure undoes the batch.
    pub best_effort: bool,
    /// Merge ranges that are adjacent both in IOVA and in memory into one mapping of the kernel.
    /// They can then only be unmapped together.
    pub coalesce: bool,
    /// Time limit, after which the job is cancelled and fails with `ETIMEDOUT`.
    pub timeout: Option<Duration>,
    /// The threads work on batches of a higher priority first.
    pub priority: i32,
}

impl BatchOptions {
    pub(crate) fn as_raw(&self) -> sys::vfb_batch_opts {
        let mut flags = 0;
        if self.best_effort {
            flags |= sys::VFB_BATCH_BEST_EFFORT;
        }
        if self.coalesce {
            flags |= sys::VFB_BATCH_COALESCE;
        }
        sys::vfb_batch_opts {
            size: std::mem::size_of::<sys::vfb_batch_opts>(),
            width: self.width,
            flags,
            // 0 would mean that there is none.
            timeout_ns: self.timeout.map_or(0, |timeout| nanoseconds(timeout).max(1)),
            priority: self.priority,
            reserved: 0,
        }
    }
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Entries of the batch, and how many have finished, whether or not they failed.
    pub entries: u64,
    #[allow(missing_docs)]
    pub entries_done: u64,
    /// Bytes to process, and processed so far; 0 for jobs on devices.
    pub bytes: u64,
    #[allow(missing_docs)]
    pub bytes_done: u64,
    /// Bytes per second since the first call for this job; 0: not known yet.
    pub bytes_per_s: u64,
    /// How long the rest takes at that rate.
    pub remaining: Option<Duration>,
}

/// What a job works on, and keeps: arrays that the library writes to, and handles of objects.
pub(crate) trait Work: Send {
    type Item;
    /// The result of each entry, once the job has ended.
    fn results(&mut self) -> Vec<Result<Self::Item>>;
}

/// The part of [`Work`] that a [`Job`] needs.
trait AnyWork<T>: Send {
    fn results(&mut self) -> Vec<Result<T>>;
}

impl<W: Work> AnyWork<W::Item> for W {
    fn results(&mut self) -> Vec<Result<W::Item>> {
        Work::results(self)
    }
}

/// Work in progress: `T` is what it yields for each entry of its batch.
///
/// Dropping it cancels it, if it can be cancelled, and waits until it has ended. [`AsFd`] gives a
/// file descriptor for `poll(2)` and `epoll(7)`, which becomes readable when the job has ended; do
/// not read or close it.
pub struct Job<T> {
    raw: NonNull<sys::vfb_job>,
    // None once it was taken.
    work: Option<Box<dyn AnyWork<T>>>,
}

// A job may be used from any thread.
unsafe impl<T> Send for Job<T> {}
unsafe impl<T> Sync for Job<T> {}

impl<T> Job<T> {
    /// # Safety
    /// `raw` is a job that has just been started, and `work` owns what it works on.
    pub(crate) unsafe fn new<W>(raw: *mut sys::vfb_job, work: Box<W>) -> Job<T>
    where
        W: Work<Item = T> + 'static,
    {
        Job { raw: NonNull::new(raw).expect("a job"), work: Some(work) }
    }

    fn wait_raw(&self, timeout_ns: u64) -> Result<()> {
        check(unsafe { sys::vfb_job_wait(self.raw.as_ptr(), timeout_ns) }).map(drop)
    }

    /// Frees the job, which has ended.
    fn finish(mut self) -> Vec<Result<T>> {
        let results = self.work.take().map_or_else(Vec::new, |mut work| work.results());

        unsafe { sys::vfb_job_destroy(self.raw.as_ptr()) };
        std::mem::forget(self);
        results
    }

    /// Waits until the job has ended, and returns what its entries yield, in their order; or the
    /// error of the entry that failed first.
    ///
    /// In a callback, where nothing may wait, it fails with `EDEADLK`, and the job is cancelled.
    pub fn wait(self) -> Result<Vec<T>> {
        self.wait_raw(u64::MAX)?;
        self.finish().into_iter().collect()
    }

    /// Waits until the job has ended, and returns the result of each entry: for batches with
    /// [`BatchOptions::best_effort`]. The first part is the result of the job, with the text of the
    /// first error.
    pub fn wait_each(self) -> (Result<()>, Vec<Result<T>>) {
        let result = self.wait_raw(u64::MAX);

        if self.is_running() {
            return (result, Vec::new());
        }
        (result, self.finish())
    }

    /// Waits for some time. `Ok(true)`: it has ended; [`Job::wait()`] returns at once.
    pub fn wait_for(&self, timeout: Duration) -> Result<bool> {
        if let Err(error) = self.wait_raw(nanoseconds(timeout)) {
            if error.errno() != libc::ETIMEDOUT {
                return Ok(true);
            }
        }
        Ok(!self.is_running())
    }

    /// Whether it has not ended yet.
    pub fn is_running(&self) -> bool {
        let mut poll = libc::pollfd {
            fd: unsafe { sys::vfb_job_fd(self.raw.as_ptr()) },
            events: libc::POLLIN,
            revents: 0,
        };

        // The eventfd is signalled when the job has ended.
        unsafe { libc::poll(&mut poll, 1, 0) == 0 }
    }

    /// Waits until every range is mapped except those with [`Range::background()`].
    ///
    /// [`Range::background()`]: crate::Range::background()
    pub fn wait_ready(&self) -> Result<()> {
        check(unsafe { sys::vfb_job_wait_ready(self.raw.as_ptr(), u64::MAX) }).map(drop)
    }

    /// Waits until one entry has finished. `Ok(false)`: not within this time.
    pub fn wait_entry(&self, entry: usize, timeout: Duration) -> Result<bool> {
        let timeout = nanoseconds(timeout);

        match check(unsafe { sys::vfb_job_wait_entry(self.raw.as_ptr(), entry, timeout) }) {
            Err(error) if error.errno() == libc::ETIMEDOUT => Ok(false),
            result => result.map(|_| true),
        }
    }

    /// Asks the job to stop, without waiting. It undoes what it has done, and ends with `ECANCELED`.
    /// Jobs that close or unmap run to their end.
    pub fn cancel(&self) {
        unsafe { sys::vfb_job_cancel(self.raw.as_ptr()) };
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        let mut raw = sys::vfb_job_progress {
            size: std::mem::size_of::<sys::vfb_job_progress>(),
            ..Default::default()
        };

        // It cannot fail for a size that it knows.
        unsafe { sys::vfb_job_progress(self.raw.as_ptr(), &mut raw) };
        Progress {
            entries: raw.entries,
            entries_done: raw.entries_done,
            bytes: raw.bytes,
            bytes_done: raw.bytes_done,
            bytes_per_s: raw.bytes_per_s,
            remaining: Some(raw.remaining_ns)
                .filter(|ns| *ns != u64::MAX)
                .map(Duration::from_nanos),
        }
    }

    /// A file descriptor that becomes readable when the job is ready, see [`Job::wait_ready()`].
    pub fn ready_fd(&self) -> BorrowedFd<'_> {
        unsafe { BorrowedFd::borrow_raw(sys::vfb_job_ready_fd(self.raw.as_ptr())) }
    }
}

impl<T> AsFd for Job<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        unsafe { BorrowedFd::borrow_raw(sys::vfb_job_fd(self.raw.as_ptr())) }
    }
}

impl<T> std::fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Job").field(&self.progress()).finish()
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        let mut work = self.work.take();

        self.cancel();
        if in_callback() && self.is_running() {
            // It cannot be waited for here, and goes on.
            std::mem::forget(work);
            return;
        }
        // Waits. What it has opened or mapped nonetheless is then released.
        unsafe { sys::vfb_job_destroy(self.raw.as_ptr()) };
        if let Some(work) = &mut work {
            drop(work.results());
        }
    }
}

/// The result of an entry without anything to return.
pub(crate) fn of_status(status: c_int) -> Result<()> {
    if status < 0 {
        Err(Error::of_status(status))
    } else {
        Ok(())
    }
}
