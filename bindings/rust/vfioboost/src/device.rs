use std::ffi::CString;
use std::os::unix::io::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{null, null_mut, NonNull};
use std::sync::{Arc, Mutex};

use vfioboost_sys as sys;

use crate::error::{check, text};
use crate::event::in_callback;
use crate::job::{of_status, BatchOptions, Work};
use crate::{Ctx, Error, Job, Result, Space};

pub(crate) struct DeviceInner {
    raw: NonNull<sys::vfb_device>,
    /// By a job, for several at once.
    closed: bool,
    address: String,
    /// Calls for interrupts of one device must not overlap.
    pub(crate) irqs: Mutex<()>,
    // None: an adopted device without a space.
    space: Option<Space>,
    ctx: Ctx,
    // Of an adopted device: it, and its group.
    files: Vec<OwnedFd>,
}

// The library may be called from any thread.
unsafe impl Send for DeviceInner {}
unsafe impl Sync for DeviceInner {}

impl DeviceInner {
    fn leak(&mut self) {
        std::mem::forget(self.space.take());
        std::mem::forget(self.ctx.clone());
        std::mem::forget(std::mem::take(&mut self.files));
    }
}

impl Drop for DeviceInner {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        // A callback cannot wait until it is closed.
        if in_callback() || unsafe { sys::vfb_device_close(self.raw.as_ptr()) } < 0 {
            self.leak();
        }
    }
}

/// An open VFIO device.
///
/// The last handle closes it, which resets it. [`close_devices()`] closes several in parallel.
#[derive(Clone)]
pub struct Device(pub(crate) Arc<DeviceInner>);

/// Settings for [`Device::adopt()`].
#[derive(Debug, Default)]
pub struct DeviceAdoptOptions {
    /// The PCI address; `None`: derived from the file descriptor, which works for a device node.
    pub address: Option<String>,
    /// The space, from [`Space::adopt()`], that the program has attached the device to.
    pub space: Option<Space>,
    /// The group through which the device was opened: the kernel requires it for bus resets.
    pub group: Option<OwnedFd>,
}

impl Device {
    /// Takes a device that the program, or another process, has opened. It is reset neither now nor
    /// when it is closed, and it stays attached.
    pub fn adopt(ctx: &Ctx, fd: OwnedFd, options: DeviceAdoptOptions) -> Result<Device> {
        let address = options.address.as_deref().map(c_string).transpose()?;
        let mut opts = sys::vfb_device_adopt_opts {
            size: std::mem::size_of::<sys::vfb_device_adopt_opts>(),
            address: address.as_ref().map_or(null(), |address| address.as_ptr()),
            space: options.space.as_ref().map_or(null_mut(), Space::as_ptr),
            ..Default::default()
        };
        let mut raw = null_mut();

        if let Some(group) = &options.group {
            opts.group_fd = group.as_raw_fd();
            opts.flags |= sys::VFB_DEVICE_ADOPT_HAS_GROUP_FD;
        }
        check(unsafe { sys::vfb_device_adopt(ctx.as_ptr(), fd.as_raw_fd(), &opts, &mut raw) })?;
        let files = std::iter::once(fd).chain(options.group).collect();
        Ok(unsafe { Device::from_raw(ctx, raw, options.space, files) })
    }

    /// # Safety
    /// `raw` is a device that nobody else closes.
    unsafe fn from_raw(
        ctx: &Ctx,
        raw: *mut sys::vfb_device,
        space: Option<Space>,
        files: Vec<OwnedFd>,
    ) -> Device {
        let raw = NonNull::new(raw).expect("a device");

        Device(Arc::new(DeviceInner {
            raw,
            closed: false,
            // Valid as long as the device.
            address: unsafe { text(raw_info(raw.as_ptr()).address) },
            irqs: Mutex::new(()),
            space,
            ctx: ctx.clone(),
            files,
        }))
    }

    /// Its PCI address, with the domain.
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// The space that it is open in.
    pub fn space(&self) -> Option<&Space> {
        self.0.space.as_ref()
    }

    /// Its NUMA node, if the host reports it.
    pub fn node(&self) -> Option<u32> {
        u32::try_from(raw_info(self.as_ptr()).node).ok()
    }

    /// Number of its regions.
    pub fn regions(&self) -> u32 {
        raw_info(self.as_ptr()).regions
    }

    /// Whether it is in the state that a reset leaves: opening it has reset it, or the library has
    /// since, so that a VMM need not.
    pub fn was_reset(&self) -> bool {
        raw_info(self.as_ptr()).flags & sys::VFB_DEVICE_WAS_RESET != 0
    }

    /// The group through which it was opened, for KVM; `None`: by its node.
    pub fn group(&self) -> Option<BorrowedFd<'_>> {
        let fd = raw_info(self.as_ptr()).group_fd;
        // The space holds it as long as the device is open.
        (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// Resets the device, which stays open: the mapped memory, regions and interrupts stay, too.
    pub fn reset(&self) -> Result<()> {
        check(unsafe { sys::vfb_device_reset(self.as_ptr()) }).map(drop)
    }

    /// The device, for functions of `vfioboost_sys`. It must not be closed.
    pub fn as_ptr(&self) -> *mut sys::vfb_device {
        self.0.raw.as_ptr()
    }
}

impl AsFd for Device {
    /// The VFIO device file descriptor, for KVM and for what this crate lacks.
    fn as_fd(&self) -> BorrowedFd<'_> {
        unsafe { BorrowedFd::borrow_raw(raw_info(self.as_ptr()).fd) }
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Device").field(&self.address()).finish()
    }
}

fn raw_info(raw: *const sys::vfb_device) -> sys::vfb_device_info {
    let mut info = sys::vfb_device_info {
        size: std::mem::size_of::<sys::vfb_device_info>(),
        ..Default::default()
    };

    // It cannot fail for a size that it knows.
    unsafe { sys::vfb_device_info(raw, &mut info) };
    info
}

fn c_string(address: &str) -> Result<CString> {
    CString::new(address)
        .map_err(|_| Error::new(libc::EINVAL, format!("{address:?} is not a PCI address")))
}

struct Opening {
    raw: Vec<sys::vfb_device_request>,
    space: Space,
    _addresses: Vec<CString>,
}

// The devices in it belong to nobody else.
unsafe impl Send for Opening {}

impl Work for Opening {
    type Item = Device;

    fn results(&mut self) -> Vec<Result<Device>> {
        let device_of = |request: &sys::vfb_device_request| {
            of_status(request.status)?;
            Ok(unsafe {
                Device::from_raw(
                    self.space.ctx(),
                    request.device,
                    Some(self.space.clone()),
                    Vec::new(),
                )
            })
        };

        self.raw.iter().map(device_of).collect()
    }
}

/// Starts to open devices in a space, by their PCI addresses, or paths in sysfs that end so: the kernel resets them, and they can
/// access what is mapped there. Devices that do not share a reset open in parallel. If one fails,
/// all are closed again.
pub fn open_devices(space: &Space, addresses: &[&str]) -> Result<Job<Device>> {
    open_devices_with(space, addresses, &BatchOptions::default())
}

/// As [`open_devices()`], with settings.
pub fn open_devices_with(
    space: &Space,
    addresses: &[&str],
    options: &BatchOptions,
) -> Result<Job<Device>> {
    let addresses = addresses.iter().map(|a| c_string(a)).collect::<Result<Vec<_>>>()?;
    let raw = addresses
        .iter()
        .map(|address| sys::vfb_device_request { address: address.as_ptr(), ..Default::default() })
        .collect();
    let mut work = Box::new(Opening { raw, space: space.clone(), _addresses: addresses });
    let mut job = null_mut();

    check(unsafe {
        sys::vfb_devices_open_start(
            space.as_ptr(),
            work.raw.as_mut_ptr(),
            work.raw.len(),
            &options.as_raw(),
            &mut job,
        )
    })?;
    Ok(unsafe { Job::new(job, work) })
}

/// Keeps what the devices depend on until they are closed.
struct Closing(Vec<DeviceInner>);

impl Work for Closing {
    type Item = ();

    fn results(&mut self) -> Vec<Result<()>> {
        self.0.iter().map(|_| Ok(())).collect()
    }
}

/// Starts to close devices, in parallel where they do not share a reset.
///
/// # Errors
///
/// `EBUSY`: another handle of one of them exists. Whatever the error, the handles that were passed
/// are dropped, so that devices without other handles are closed one after another.
pub fn close_devices(devices: Vec<Device>) -> Result<Job<()>> {
    if let Some(used) = devices.iter().find(|device| Arc::strong_count(&device.0) > 1) {
        let text = format!("{} has another handle: drop that first", used.address());
        return Err(Error::new(libc::EBUSY, text));
    }
    let mut owned: Vec<DeviceInner> = Vec::with_capacity(devices.len());
    for device in devices {
        // Nobody else has a handle to clone.
        owned.extend(Arc::try_unwrap(device.0));
    }
    let mut raw: Vec<_> = owned.iter().map(|device| device.raw.as_ptr()).collect();
    let mut job = null_mut();

    // The entries become NULL: the array is not needed afterwards.
    check(unsafe { sys::vfb_devices_close_start(raw.as_mut_ptr(), raw.len(), null(), &mut job) })?;
    owned.iter_mut().for_each(|device| device.closed = true);
    Ok(unsafe { Job::new(job, Box::new(Closing(owned))) })
}

/// How a device is reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResetMethod {
    /// The fastest way: one bus reset if the batch contains all devices of the bus, else a reset of
    /// each function.
    #[default]
    Auto,
    /// The function alone.
    Function,
    /// The bus or slot, with all devices on it, which must be in the batch.
    Bus,
}

struct Resetting {
    raw: Vec<sys::vfb_reset_request>,
    _devices: Vec<Device>,
}

// The pointers in it are those of the devices that it holds.
unsafe impl Send for Resetting {}

impl Work for Resetting {
    type Item = ResetMethod;

    fn results(&mut self) -> Vec<Result<ResetMethod>> {
        let method_of = |request: &sys::vfb_reset_request| {
            of_status(request.status).map(|()| match request.method {
                sys::VFB_RESET_FUNCTION => ResetMethod::Function,
                sys::VFB_RESET_BUS => ResetMethod::Bus,
                _ => ResetMethod::Auto,
            })
        };

        self.raw.iter().map(method_of).collect()
    }
}

/// Starts to reset devices that stay open, in parallel where they do not share a bus. The job yields
/// how each was reset.
pub fn reset_devices(devices: &[Device], method: ResetMethod) -> Result<Job<ResetMethod>> {
    let method = match method {
        ResetMethod::Auto => sys::VFB_RESET_AUTO,
        ResetMethod::Function => sys::VFB_RESET_FUNCTION,
        ResetMethod::Bus => sys::VFB_RESET_BUS,
    };
    let raw = devices
        .iter()
        .map(|device| sys::vfb_reset_request {
            device: device.as_ptr(),
            method,
            ..Default::default()
        })
        .collect();
    let mut work = Box::new(Resetting { raw, _devices: devices.to_vec() });
    let mut job = null_mut();

    check(unsafe {
        sys::vfb_devices_reset_start(
            work.raw.as_mut_ptr(),
            work.raw.len(),
            &BatchOptions::default().as_raw(),
            &mut job,
        )
    })?;
    Ok(unsafe { Job::new(job, work) })
}
