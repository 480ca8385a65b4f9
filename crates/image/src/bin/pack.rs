//! The program that `packaging/build` runs: packs a binary, verifies what it packed,
//! and says by which digest to pin it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use cli::flags::{self, Flag, Kind, Parsed};
use image::{pack, verify_for, versions::Versions};

const FLAGS: &[Flag] = &[
    Flag::new("binary", Kind::Text, "", "the static program").required(),
    Flag::new(
        "out",
        Kind::Text,
        "",
        "folder; one of an earlier build is replaced",
    )
    .required(),
    Flag::new(
        "tree",
        Kind::Text,
        "",
        "folder with versions.toml and Cargo.lock",
    )
    .required(),
    Flag::new(
        "metadata",
        Kind::Text,
        "",
        "what `cargo metadata` printed; without it, no SBOM",
    ),
    Flag::new(
        "linked",
        Kind::List,
        "",
        "what was linked in: name=version=licence",
    ),
    Flag::new("revision", Kind::Text, "", "the commit"),
    Flag::new(
        "repository",
        Kind::Text,
        "localhost/pintle/etcd",
        "the image's name without a tag",
    ),
    Flag::switch(
        "dynamic",
        "take a program that the image cannot run (for tests)",
    ),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pintle-pack: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let words: Vec<Vec<u8>> = std::env::args().skip(1).map(String::into_bytes).collect();
    let parsed = flags::parse(&words, FLAGS.iter()).map_err(io::Error::other)?;
    if let Some(missing) = parsed.missing(FLAGS.iter()) {
        return Err(io::Error::other(missing));
    }
    let tree = Path::new(parsed.text("tree"));
    let text = fs::read_to_string(tree.join("versions.toml"))?;
    let versions = Versions::parse(&text).map_err(io::Error::other)?;
    let version = |name: &str| {
        versions
            .get(name)
            .ok_or_else(|| io::Error::other(format!("versions.toml has no {name}")))
    };
    let time = std::env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| "0".to_owned());
    let time = time
        .parse()
        .map_err(|_| io::Error::other("SOURCE_DATE_EPOCH is no number"))?;
    let sources = match parsed.text("metadata") {
        "" => None,
        path => Some((
            fs::read(path)?,
            fs::read_to_string(tree.join("Cargo.lock"))?,
        )),
    };
    let linked = linked(&parsed)?;
    let out = emptied(&parsed)?;
    let packed = pack::pack(&pack::Recipe {
        binary: Path::new(parsed.text("binary")),
        out: &out,
        repository: parsed.text("repository"),
        tag: version("image")?,
        etcd: version("etcd")?,
        pintle: version("pintle")?,
        revision: Some(parsed.text("revision")).filter(|r| !r.is_empty()),
        time,
        sources: sources
            .as_ref()
            .map(|(metadata, lock)| (metadata.as_slice(), lock.as_str())),
        linked: &linked,
        dynamic: parsed.bool("dynamic"),
    })?;
    for path in [&packed.archive, &out.join("oci")] {
        let platform = image::this_platform();
        verify_for(path, &packed.digest.to_string(), &platform).map_err(io::Error::other)?;
    }
    println!(
        "{} {}:{}",
        packed.digest,
        parsed.text("repository"),
        version("image")?
    );
    for (name, digest) in &packed.sums {
        println!("{}  {}", digest.digits(), out.join(name).display());
    }
    Ok(())
}

/// What was linked in.
fn linked(parsed: &Parsed) -> io::Result<Vec<(String, String, String)>> {
    let parts = parsed.list("linked").into_iter().map(|word| {
        let mut parts = word.splitn(3, '=').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(version), Some(licence)) => Ok((name, version, licence)),
            _ => Err(io::Error::other(format!(
                "--linked {word}: not name=version=licence"
            ))),
        }
    });
    parts.collect()
}

/// The folder to write to, without what an earlier build left there.
fn emptied(parsed: &Parsed) -> io::Result<PathBuf> {
    let out = PathBuf::from(parsed.text("out"));
    if out.join("SHA256SUMS").is_file() && out.join("oci/oci-layout").is_file() {
        fs::remove_dir_all(&out)?;
    }
    Ok(out)
}
