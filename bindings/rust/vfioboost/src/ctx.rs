use std::ffi::CStr;
use std::ptr::{null_mut, NonNull};
use std::sync::Arc;

use vfioboost_sys as sys;

use crate::error::check;
use crate::event::{in_callback, Filter, Span, Subscription};
use crate::{Event, Result};

/// Settings of a [`Ctx`].
#[derive(Clone, Debug, Default)]
pub struct CtxOptions {
    /// Number of worker threads that populate and map memory. 0: one per CPU that the calling
    /// thread may use, within the CPU quota of its cgroup.
    pub threads: u32,
    /// For how many devices at a time to have threads, at most 64. If it is not 0, all threads that
    /// the context will ever have are created with it: see [`seccomp_calls()`].
    pub devices: u32,
    /// Report every system call to subscribers of [`Phase::Syscall`](crate::Phase::Syscall).
    pub syscalls: bool,
}

pub(crate) struct CtxInner(NonNull<sys::vfb_ctx>);

// The library may be called from any thread.
unsafe impl Send for CtxInner {}
unsafe impl Sync for CtxInner {}

impl CtxInner {
    pub(crate) fn as_ptr(&self) -> *mut sys::vfb_ctx {
        self.0.as_ptr()
    }
}

impl Drop for CtxInner {
    fn drop(&mut self) {
        // A callback must not destroy its context. Otherwise -EBUSY means that something which
        // depends on it could not be destroyed: it then stays, too.
        if !in_callback() {
            unsafe { sys::vfb_ctx_destroy(self.as_ptr()) };
        }
    }
}

/// One instance of the library: its workers, subscribers and settings.
///
/// A process may have several. Everything that is created with a context keeps it alive.
#[derive(Clone)]
pub struct Ctx(pub(crate) Arc<CtxInner>);

impl Ctx {
    /// Creates a context with default settings, and starts its workers.
    pub fn new() -> Result<Ctx> {
        Ctx::with_options(&CtxOptions::default())
    }

    /// Creates a context.
    pub fn with_options(options: &CtxOptions) -> Result<Ctx> {
        let opts = sys::vfb_ctx_opts {
            size: std::mem::size_of::<sys::vfb_ctx_opts>(),
            threads: options.threads,
            devices: options.devices,
            flags: if options.syscalls { sys::VFB_CTX_SYSCALLS } else { 0 },
        };
        let mut ctx = null_mut();

        check(unsafe { sys::vfb_ctx_create(&opts, &mut ctx) })?;
        Ok(Ctx(Arc::new(CtxInner(NonNull::new(ctx).expect("a context")))))
    }

    /// Limits the rate at which all workers together populate memory, in bytes per second, at least
    /// 1 MiB. `None` removes the limit.
    pub fn set_populate_rate(&self, bytes_per_s: Option<u64>) -> Result<()> {
        let rate = bytes_per_s.unwrap_or(u64::MAX);
        check(unsafe { sys::vfb_ctx_set_populate_rate(self.as_ptr(), rate) }).map(drop)
    }

    /// Calls a closure for every step of the library that ends, until the [`Subscription`] is
    /// dropped. It runs in the thread in which the step happened, possibly in several at a time. If
    /// it panics, the panic ends there: see [`Subscription::panics()`].
    ///
    /// The closure may call the library, except for functions that wait: those return `EDEADLK`.
    /// What it would destroy there, and cannot, is leaked.
    ///
    /// ```no_run
    /// # let ctx = vfioboost::Ctx::new()?;
    /// let subscription = ctx.subscribe(&Default::default(), |event| {
    ///     println!("{} took {:?}", event.operation(), event.duration());
    /// })?;
    /// # Ok::<(), vfioboost::Error>(())
    /// ```
    pub fn subscribe<F>(&self, filter: &Filter, callback: F) -> Result<Subscription>
    where
        F: Fn(&Event<'_>) + Send + Sync + 'static,
    {
        Subscription::new(self, filter, Box::new(callback))
    }

    /// Begins a span of the caller's own on the timeline of the library's steps, which ends when it
    /// is dropped. Steps of the library in this thread become its children.
    pub fn span(&self, name: &str) -> Span {
        Span::new(self, name)
    }

    /// The context, for functions of `vfioboost_sys`. It must not be destroyed.
    pub fn as_ptr(&self) -> *mut sys::vfb_ctx {
        self.0.as_ptr()
    }
}

/// Whose system calls [`seccomp_calls()`] lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeccompRole {
    /// The threads of the library.
    Thread,
    /// A thread that creates a context, or uses one without [`CtxOptions::devices`].
    Create,
    /// A thread that uses a context with [`CtxOptions::devices`].
    Caller,
}

/// A system call of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeccompCall {
    /// Its number on this architecture.
    pub number: u32,
    /// Of `ioctl(2)`: the request. There is one entry for each.
    pub request: Option<u64>,
    /// Its name, or that of the request.
    pub name: &'static str,
}

/// The system calls that threads make for the library, for filters. A thread inherits the filter of
/// the thread that creates it: create the context, with [`CtxOptions::devices`], before the filter
/// is installed.
pub fn seccomp_calls(role: SeccompRole) -> Vec<SeccompCall> {
    let role = match role {
        SeccompRole::Thread => sys::VFB_SECCOMP_THREAD,
        SeccompRole::Create => sys::VFB_SECCOMP_CREATE,
        SeccompRole::Caller => sys::VFB_SECCOMP_CALLER,
    };
    // The list does not change.
    let count = unsafe { sys::vfb_seccomp_calls(role, null_mut(), 0) }.max(0) as usize;
    let mut raw = vec![sys::vfb_seccomp_call::default(); count];

    unsafe { sys::vfb_seccomp_calls(role, raw.as_mut_ptr(), count) };
    raw.iter()
        .map(|call| SeccompCall {
            number: call.number,
            request: Some(call.request).filter(|request| *request != 0),
            // The string is static.
            name: unsafe { CStr::from_ptr(call.name) }.to_str().unwrap_or("unknown"),
        })
        .collect()
}

/// The version of the library that is loaded.
pub fn version() -> &'static str {
    unsafe { CStr::from_ptr(sys::vfb_version()) }.to_str().unwrap_or("unknown")
}
