//! Compiles `proto/*.proto` without protoc: messages always, client stubs and
//! the JSON mapping when their feature is on.

#[path = "build/raw.rs"]
mod raw;
#[path = "build/schema.rs"]
mod schema;

use std::{env, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build");
    let mut files: Vec<PathBuf> = fs::read_dir("proto")?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let descriptors = protox::compile(&files, ["proto"])?;

    let mut config = prost_build::Config::new();
    config.bytes(["."]);
    // A oneof is as large as its largest operation; the hot ones stay inline.
    let client = env::var_os("CARGO_FEATURE_CLIENT").is_some();
    tonic_prost_build::configure()
        .bytes(".")
        .build_server(false)
        .build_client(client)
        .build_transport(false)
        .compile_fds_with_config(raw::as_bytes(&descriptors), config)?;

    if env::var_os("CARGO_FEATURE_JSON").is_some() {
        pbjson_build::Builder::new()
            .register_descriptors(&descriptors.encode_to_vec())?
            .preserve_proto_field_names()
            .ignore_unknown_fields()
            // As bytes they would be base64; `src/json.rs` has those that are answers.
            .exclude(raw::RAW.map(|(message, _)| message))
            .build(&[
                ".etcdserverpb",
                ".mvccpb",
                ".authpb",
                ".membershippb",
                ".v3lockpb",
                ".v3electionpb",
            ])?;
        let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
        fs::write(out.join("schema.rs"), schema::tables(&descriptors))?;
    }
    Ok(())
}
