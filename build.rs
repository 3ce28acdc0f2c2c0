//! Passes the link arguments of the addon to cargo: napi's, and the entry point that makes it a program too.

use std::env;

/// The systems whose start of a program `crate/launcher/entry.rs` knows.
const OS: &str = "linux";
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];
const LIBRARIES: [&str; 2] = ["gnu", "musl"];

fn main() {
    napi_build::setup();
    println!("cargo:rerun-if-changed=build.rs");
    let target = |what: &str| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if target("OS") == OS
        && ARCHITECTURES.contains(&target("ARCH").as_str())
        && LIBRARIES.contains(&target("ENV").as_str())
    {
        println!("cargo:rustc-cfg=launcher");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-e,containerd_shim_start");
    }
}
