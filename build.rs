//! Passes napi's link arguments for the addon to cargo.

fn main() {
    napi_build::setup();
}
