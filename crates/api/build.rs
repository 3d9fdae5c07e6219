//! Makes Rust of `proto/overtap.proto`, without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/overtap.proto");
    let files = protox::compile(["proto/overtap.proto"], ["proto"])?;
    // Packets travel without being copied out of what was received.
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}
