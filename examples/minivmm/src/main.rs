//! A small VMM: it boots Linux with passed-through NVMe disks, below a filter of system calls. The
//! guest writes to the disks and reads from them, memory and a device are added and removed, and the
//! guest is rebooted. See README.md.

mod boost;
mod boot;
mod filter;
mod function;
mod guest;
mod host;
mod irq;
mod machine;
mod options;
mod pci;
mod plain;
mod usage;

use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn run(options: &options::Options) -> Result<()> {
    filter::install()?;
    guest::Guest::start(options)?.run()
}

fn main() -> ExitCode {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("minivmm: {error}; see minivmm --help");
            return ExitCode::from(2);
        }
    };

    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("minivmm: {error}");
            ExitCode::FAILURE
        }
    }
}
