//! Finds the library: libvfioboost, or libvfioboost-fake with the feature `fake`.

fn main() {
    let fake = std::env::var_os("CARGO_FEATURE_FAKE").is_some();
    let name = if fake { "libvfioboost-fake" } else { "libvfioboost" };
    let version = env!("CARGO_PKG_VERSION");
    // Until 1.0 the interface may change in any minor version.
    let next = format!("0.{}", env!("CARGO_PKG_VERSION_MINOR").parse::<u32>().unwrap() + 1);

    if let Err(error) = pkg_config::Config::new().range_version(version..next.as_str()).probe(name)
    {
        eprintln!(
            "{error}\n\nvfioboost-sys needs {name} {version}: build and install it with `meson setup \
             build && meson install -C build`, or set PKG_CONFIG_PATH to where {name}.pc is"
        );
        std::process::exit(1);
    }
}
