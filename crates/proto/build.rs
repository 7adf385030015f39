//! Compiles the protobuf definitions with protox, so that no `protoc` has to be installed.

use std::error::Error;

const FILES: [&str; 6] = [
    "proto/ambit.proto",
    "proto/workload.proto",
    "proto/authorization.proto",
    "proto/zds.proto",
    "proto/certificate.proto",
    "proto/discovery.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".envoy.service.discovery.v3")
        .bytes(".google.protobuf.Any")
        // Equal content is to have equal bytes.
        .btree_map(".ambit.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
