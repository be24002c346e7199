//! The declarations agree with the headers: a C compiler checks every constant, the size of every
//! struct and the offset of every field. The tests that bindgen has written check the same numbers
//! on this side.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What stands between two strings.
fn between<'a>(line: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let rest = &line[line.find(begin)? + begin.len()..];
    rest.find(end).map(|at| &rest[..at])
}

/// The number before a text: `16usize, "Size of x"`.
fn number_before(text: &str) -> &str {
    let text = text.trim_end().trim_end_matches("usize,");
    let digits = text.len() - text.bytes().rev().take_while(u8::is_ascii_digit).count();
    &text[digits..]
}

/// One line of C for each fact, and how many there are.
fn c_assertions(bindings: &str) -> (String, usize) {
    let mut facts = Vec::new();

    for line in bindings.lines() {
        if let (Some(name), Some(value)) =
            (between(line, "pub const ", ": "), between(line, "= ", ";"))
        {
            facts.push(format!("{name} == {value}"));
        }
    }
    for (at, _) in bindings.match_indices("\"Size of ") {
        let name = between(&bindings[at..], "\"Size of ", "\"").expect("a name");
        facts.push(format!("sizeof(struct {name}) == {}", number_before(&bindings[..at])));
    }
    for (at, _) in bindings.match_indices("\"Offset of field: ") {
        let field = between(&bindings[at..], "\"Offset of field: ", "\"").expect("a name");
        let (name, member) = field.split_once("::").expect("a field has a struct");
        let offset = number_before(&bindings[..at]);
        facts.push(format!("offsetof(struct {name}, {member}) == {offset}"));
    }
    let mut c = String::new();
    for fact in &facts {
        writeln!(c, "_Static_assert({fact}, \"{fact}\");").unwrap();
    }
    (c, facts.len())
}

/// Functions that the headers declare, in order.
fn declared(headers: &Path, of_fake: bool) -> Vec<String> {
    let mut found = Vec::new();

    for entry in std::fs::read_dir(headers).unwrap() {
        let path = entry.unwrap().path();
        if (path.file_name().unwrap() == "fake.h") != of_fake {
            continue;
        }
        for declaration in std::fs::read_to_string(path).unwrap().split("VFB_API ").skip(1) {
            let name = declaration.split('(').next().unwrap();
            found.extend(name.rsplit(&[' ', '*'][..]).next().map(str::to_owned));
        }
    }
    found.retain(|name| name.starts_with("vfb_"));
    found.sort();
    found
}

/// Where the headers of the library are.
fn includes() -> PathBuf {
    let name = if cfg!(feature = "fake") { "libvfioboost-fake" } else { "libvfioboost" };
    let output =
        Command::new("pkg-config").args(["--cflags-only-I", name]).output().expect("pkg-config");
    let flags = String::from_utf8(output.stdout).unwrap();

    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = flags
        .split_whitespace()
        .map(|flag| flag.trim_start_matches("-I"))
        .chain(["/usr/include", "/usr/local/include"])
        .find(|folder| Path::new(folder).join("vfioboost/fake.h").exists());
    folder.expect("the headers of libvfioboost and libvfioboost-fake").into()
}

fn check(bindings: &str, of_fake: bool) {
    let include = includes();
    let directory =
        std::env::temp_dir().join(format!("vfioboost-{}-{of_fake}", std::process::id()));
    let (assertions, facts) = c_assertions(bindings);
    let mut functions: Vec<String> = bindings
        .lines()
        .filter_map(|line| between(line, "pub fn ", "("))
        .map(str::to_owned)
        .collect();

    functions.sort();
    assert_eq!(functions, declared(&include.join("vfioboost"), of_fake));
    assert!(facts > 20, "only {facts} facts found: has bindgen changed its format?");
    std::fs::create_dir_all(&directory).unwrap();
    let source = directory.join("layout.c");
    std::fs::write(
        &source,
        format!("#include <vfioboost.h>\n#include <vfioboost/fake.h>\n{assertions}"),
    )
    .unwrap();
    let output = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()))
        .args(["-std=c11", "-fsyntax-only", "-I"])
        .arg(include)
        .arg(source)
        .output()
        .expect("a C compiler");
    std::fs::remove_dir_all(directory).unwrap();
    assert!(
        output.status.success(),
        "run bindings/rust/generate: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_library_is_as_declared() {
    check(include_str!("../src/bindings.rs"), false);
}

#[test]
fn the_model_is_as_declared() {
    check(include_str!("../src/fake.rs"), true);
}

#[test]
fn the_version_is_the_librarys() {
    let version = unsafe { std::ffi::CStr::from_ptr(vfioboost_sys::vfb_version()) };
    assert_eq!(version.to_str(), Ok(env!("CARGO_PKG_VERSION")));
}
