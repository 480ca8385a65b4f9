//! What is packed is the same wherever it is packed, and is what it says.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Form, Names,
    pack::{Packed, Recipe, pack},
    tar::{Bounds, Kind, Reader},
};

/// A program of nothing but the head of one, and the texts that we look for.
fn program(dir: &Path) -> PathBuf {
    let mut bytes = vec![0; 64];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[18] = 62;
    bytes.extend_from_slice(b"3.5.30 and 0.1.0");
    let path = dir.join("program");
    fs::write(&path, bytes).unwrap();
    path
}

const BOUNDS: Bounds = Bounds {
    bytes: 1 << 20,
    entries: 100,
    total: None,
};

const METADATA: &[u8] = br#"{"packages": [
    {"id": "path+file:///somewhere/pintle", "name": "pintle", "version": "0.1.0", "license": "Apache-2.0", "source": null},
    {"id": "a", "name": "a", "version": "1.0.0+x", "license": "MIT/Apache-2.0", "source": "registry"},
    {"id": "b", "name": "b", "version": "2.0.0", "license": null, "source": "registry"},
    {"id": "t", "name": "t", "version": "3.0.0", "license": "MIT", "source": "registry"}],
  "resolve": {"nodes": [
    {"id": "path+file:///somewhere/pintle", "deps": [
      {"pkg": "a", "dep_kinds": [{"kind": null}]}, {"pkg": "t", "dep_kinds": [{"kind": "dev"}]}]},
    {"id": "a", "deps": [{"pkg": "b", "dep_kinds": [{"kind": "build"}]}]},
    {"id": "b", "deps": []}, {"id": "t", "deps": []}]}}"#;
const LOCK: &str = "[[package]]\nname = \"a\"\nversion = \"1.0.0+x\"\nchecksum = \"c0ffee\"\n\n[[package]]\nname = \"b\"\nversion = \"2.0.0\"\n";

fn packed(dir: &Path, time: u64) -> Packed {
    let binary = program(dir);
    let linked = [(
        "glibc".to_owned(),
        "2.36".to_owned(),
        "LGPL-2.1-or-later".to_owned(),
    )];
    pack(&Recipe {
        binary: &binary,
        out: &dir.join("out"),
        repository: "localhost/pintle/etcd",
        tag: "3.5.30-0",
        etcd: "3.5.30",
        pintle: "0.1.0",
        revision: Some("abc"),
        time,
        sources: Some((METADATA, LOCK)),
        linked: &linked,
        dynamic: false,
    })
    .unwrap()
}

#[test]
fn two_folders_get_the_same_bytes_and_another_time_gets_others() {
    let (a, b, c) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let (first, second) = (
        packed(a.path(), 1_700_000_000),
        packed(b.path(), 1_700_000_000),
    );
    assert_eq!(first.digest, second.digest);
    assert_eq!(first.sums, second.sums);
    let other = packed(c.path(), 1_700_000_001);
    assert_ne!(first.digest, other.digest);
    let listed = fs::read_to_string(a.path().join("out/SHA256SUMS")).unwrap();
    for (name, digest) in &first.sums {
        assert_eq!(
            *digest,
            crate::Digest::of(&fs::read(a.path().join("out").join(name)).unwrap())
        );
        assert!(
            listed.contains(&format!("{}  {name}\n", digest.digits())),
            "{name}"
        );
    }
    assert!(first.sums.is_sorted());
    let mut reader = Reader::new(fs::File::open(&first.archive).unwrap(), BOUNDS);
    let mut names = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        names.push(entry.name);
    }
    let last = names.pop();
    assert_eq!(last.as_deref(), Some("manifest.json"));
    assert!(names.is_sorted(), "{names:?}");
    assert_eq!(
        first.sums.len(),
        9,
        "archive, line, SBOM, two files and four blobs of the layout"
    );
}

#[test]
fn what_is_packed_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let packed = packed(dir.path(), 1_700_000_000);
    for (path, form) in [
        (packed.archive.clone(), Form::OciAndDockerArchive),
        (dir.path().join("out/oci"), Form::OciFolder),
    ] {
        let found = super::verify(&path, packed.digest).unwrap();
        assert_eq!((found.form, found.names), (form, Names::Index));
        assert!(found.unpinned.is_empty(), "{:?}", found.unpinned);
        let names: Vec<&str> = found.programs.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "etcd",
                "etcdctl",
                "etcdutl",
                "/usr/local/bin/etcd",
                "pintle"
            ]
        );
        assert!(found.programs.iter().all(|p| p.path.is_some()));
        assert_eq!(found.versions.len(), 4);
    }
    let line = fs::read_to_string(dir.path().join("out/images.yaml")).unwrap();
    assert_eq!(
        line,
        format!(
            "- name: etcd\n  dmap:\n    \"{}\": [\"3.5.30-0\"]\n",
            packed.digest
        )
    );
}

#[test]
fn the_layer_belongs_to_root_and_has_one_time() {
    let dir = tempfile::tempdir().unwrap();
    let packed = packed(dir.path(), 1_700_000_000);
    let found = super::verify(&packed.archive, packed.digest).unwrap();
    let blob = dir
        .path()
        .join("out/oci/blobs/sha256")
        .join(found.layers[0].digest.digits());
    let mut layer = Vec::new();
    let stored = fs::read(blob).unwrap();
    assert_eq!(
        stored[3..9],
        [0, 0, 0, 0, 0, 2],
        "gzip: no name, no time, slowest"
    );
    std::io::copy(&mut flate2::read::GzDecoder::new(&stored[..]), &mut layer).unwrap();
    let mut reader = Reader::new(&layer[..], BOUNDS);
    let mut names = Vec::new();
    loop {
        let at = usize::try_from(reader.at()).unwrap().next_multiple_of(512);
        let Some(entry) = reader.next().unwrap() else {
            break;
        };
        let header = &layer[at..at + 512];
        assert_eq!(&header[108..124], b"0000000\x000000000\0", "{}", entry.name);
        assert_eq!(
            &header[136..147],
            format!("{:011o}", 1_700_000_000).as_bytes()
        );
        if entry.kind == Kind::HardLink {
            assert_eq!(entry.link, "usr/local/bin/pintle");
        }
        std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
        names.push((entry.name, entry.mode));
    }
    let mode = |name: &str| names.iter().find(|(n, _)| n == name).map(|(_, mode)| *mode);
    assert_eq!(mode("tmp/"), Some(0o1777));
    assert_eq!(mode("var/lib/etcd/"), Some(0o700));
    assert_eq!(mode("etc/passwd"), Some(0o644));
    assert_eq!(mode("usr/local/bin/etcd"), Some(0o755));
}

#[test]
fn the_sbom_names_what_is_in_the_program() {
    let dir = tempfile::tempdir().unwrap();
    packed(dir.path(), 1_700_000_000);
    let text = fs::read_to_string(dir.path().join("out/sbom.spdx.json")).unwrap();
    assert!(!text.contains("/somewhere"), "a folder of the machine");
    let sbom: serde_json::Value = serde_json::from_str(&text).unwrap();
    let packages = sbom["packages"].as_array().unwrap();
    let names: Vec<_> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    assert_eq!(
        names,
        ["a", "b", "glibc", "pintle"],
        "and not what only tests use"
    );
    assert_eq!(packages[0]["licenseDeclared"], "MIT OR Apache-2.0");
    assert_eq!(packages[0]["checksums"][0]["checksumValue"], "c0ffee");
    assert_eq!(packages[0]["SPDXID"], "SPDXRef-a-1.0.0-x");
    let relations = sbom["relationships"].as_array().unwrap();
    for (from, kind, to) in [
        ("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-pintle-0.1.0"),
        ("SPDXRef-pintle-0.1.0", "DEPENDS_ON", "SPDXRef-a-1.0.0-x"),
        (
            "SPDXRef-b-2.0.0",
            "BUILD_DEPENDENCY_OF",
            "SPDXRef-a-1.0.0-x",
        ),
        ("SPDXRef-pintle-0.1.0", "STATIC_LINK", "SPDXRef-glibc-2.36"),
    ] {
        assert!(
            relations.iter().any(|r| r["spdxElementId"] == from
                && r["relationshipType"] == kind
                && r["relatedSpdxElement"] == to),
            "{from} {kind} {to}"
        );
    }
}

#[test]
fn a_program_that_needs_libraries_is_not_packed() {
    let dir = tempfile::tempdir().unwrap();
    // This test is one.
    let own = std::env::current_exe().unwrap();
    let recipe = Recipe {
        binary: &own,
        out: &dir.path().join("out"),
        repository: "localhost/pintle/etcd",
        tag: "3.5.30-0",
        etcd: "3.5.30",
        pintle: "0.1.0",
        revision: None,
        time: 0,
        sources: None,
        linked: &[],
        dynamic: false,
    };
    let told = pack(&recipe).unwrap_err().to_string();
    assert!(told.contains("needs shared libraries"), "{told}");
    let script = dir.path().join("script");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    let told = pack(&Recipe {
        binary: &script,
        ..recipe
    })
    .unwrap_err()
    .to_string();
    assert!(told.contains("no 64-bit ELF"), "{told}");
}

/// Another reader takes the archive for what it is.
#[test]
fn tar_lists_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let packed = packed(dir.path(), 1_700_000_000);
    let Ok(listed) = Command::new("tar").arg("-tf").arg(&packed.archive).output() else {
        println!("SKIP: no tar on this machine");
        return;
    };
    assert!(
        listed.status.success(),
        "{}",
        String::from_utf8_lossy(&listed.stderr)
    );
    assert!(String::from_utf8_lossy(&listed.stdout).contains("manifest.json"));
}
