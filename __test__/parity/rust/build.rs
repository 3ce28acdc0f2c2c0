//! Generates the messages that the Node package has but the crates do not compile: two whose .proto files
//! containerd-shim-protos ships without using them, and those of the package's own proto/.

use std::{
    env,
    error::Error,
    path::{Path, PathBuf},
    process::Command,
};

fn main() -> Result<(), Box<dyn Error>> {
    let own = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../../proto");
    let vendor = crate_folder("containerd-shim-protos", "0.12.")?.join("vendor");
    let api = vendor.join("github.com/containerd/containerd/api");
    println!("cargo::rerun-if-changed={}", own.display());
    protobuf_codegen::Codegen::new()
        .pure()
        .includes([&api, &vendor, &own])
        .inputs([
            api.join("types/descriptor.proto"),
            api.join("types/sandbox.proto"),
            own.join("streaming.proto"),
            own.join("runtimeoptions.proto"),
        ])
        .cargo_out_dir("protos")
        .run()?;
    Ok(())
}

/// Where cargo keeps the sources of a dependency.
fn crate_folder(name: &str, version: &str) -> Result<PathBuf, Box<dyn Error>> {
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform"])
        .arg(env::var("TARGET")?)
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| {
            package["name"] == name
                && package["version"].as_str().is_some_and(|found| found.starts_with(version))
        })
        .and_then(|package| Path::new(package["manifest_path"].as_str()?).parent())
        .map(Path::to_path_buf)
        .ok_or_else(|| format!("{name} {version}x is not among the dependencies").into())
}
