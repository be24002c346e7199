//! The command line.

use std::path::PathBuf;

use crate::host::Pages;
use crate::Result;

pub const USAGE: &str = "\
Usage: minivmm --kernel FILE --init FILE [OPTION]... ADDRESS...

Boots Linux with passed-through NVMe disks, whose first MiB is overwritten.

  --kernel FILE     vmlinux or bzImage
  --init FILE       the guest's first process, the static program of init.c
  --modules DIR     the kernel's modules (/lib/modules/VERSION), for the NVMe driver
  --memory MIB      memory of the guest (default: 512)
  --pages SIZE      its pages: 4k, thp (default) or 2m
  --plain           without libvfioboost
  --add ADDRESS     a device to add and remove while the guest runs
  --rounds N        how often to add and remove memory and that device, in each boot (default: 1)
  --reboots N       how often to reboot the guest (default: 1)
  --until PHASE     stop the guest early: before its first instruction (start), or when it
                    runs its first process (init)
  --append TEXT     more arguments for the kernel
  --verbose         print what the guest prints
  --help            print this
";

/// What the guest lives for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    Start,
    Init,
    End,
}

pub struct Options {
    pub kernel: PathBuf,
    pub init: PathBuf,
    pub modules: Option<PathBuf>,
    pub memory: u64,
    pub pages: Pages,
    pub plain: bool,
    pub add: Option<String>,
    pub rounds: u32,
    pub reboots: u32,
    pub until: Until,
    pub append: String,
    pub verbose: bool,
    pub devices: Vec<String>,
}

fn pages_of(name: &str) -> Result<Pages> {
    match name {
        "4k" => Ok(Pages::Small),
        "thp" => Ok(Pages::Transparent),
        "2m" => Ok(Pages::Huge),
        _ => Err(format!("{name} is no size of pages").into()),
    }
}

fn until_of(name: &str) -> Result<Until> {
    match name {
        "start" => Ok(Until::Start),
        "init" => Ok(Until::Init),
        _ => Err(format!("{name} is no phase to stop at").into()),
    }
}

/// None: the user asks for help.
pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Options>> {
    let mut arguments = arguments;
    let mut options = Options {
        kernel: PathBuf::new(),
        init: PathBuf::new(),
        modules: None,
        memory: 512 << 20,
        pages: Pages::Transparent,
        plain: false,
        add: None,
        rounds: 1,
        reboots: 1,
        until: Until::End,
        append: String::new(),
        verbose: false,
        devices: Vec::new(),
    };

    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--kernel" => options.kernel = value()?.into(),
            "--init" => options.init = value()?.into(),
            "--modules" => options.modules = Some(value()?.into()),
            "--memory" => options.memory = value()?.parse::<u64>()?.saturating_mul(1 << 20),
            "--pages" => options.pages = pages_of(&value()?)?,
            "--plain" => options.plain = true,
            "--add" => options.add = Some(value()?),
            "--rounds" => options.rounds = value()?.parse()?,
            "--reboots" => options.reboots = value()?.parse()?,
            "--until" => options.until = until_of(&value()?)?,
            "--append" => options.append = value()?,
            "--verbose" => options.verbose = true,
            "--help" => return Ok(None),
            _ if argument.starts_with('-') => return Err(format!("unknown {argument}").into()),
            _ => options.devices.push(argument),
        }
    }
    if options.kernel.as_os_str().is_empty() || options.init.as_os_str().is_empty() {
        return Err("--kernel and --init are needed".into());
    }
    if !(128 << 20..=64 << 30).contains(&options.memory) {
        return Err("memory can be between 128 MiB and 64 GiB".into());
    }
    Ok(Some(options))
}
