//! Images that are not what they say, or would do harm.

use std::fs;

use serde_json::json;

use super::{Item, Making, PROGRAM, Placed, gzip, refusal, sound_layer, tar_of};
use crate::{Digest, Error};

/// An image whose only layer holds these entries beside what belongs there.
fn with(items: &[Item<'_>]) -> Making {
    let mut layer = sound_layer();
    layer.truncate(layer.len() - 1024);
    layer.extend(tar_of(items));
    Making::new(vec![layer])
}

#[test]
fn another_digest_is_refused_with_those_that_it_has() {
    let made = Making::sound().make();
    let error = made.archive().verify(Digest::of(b"other")).unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }) && error.is_verdict());
    let told = error.to_string();
    for digest in [made.index, made.manifest] {
        assert!(told.contains(&digest.to_string()), "{told}");
    }
}

#[test]
fn what_is_no_digest_is_not_asked_for() {
    let placed = Making::sound().make().archive();
    for digest in [
        "",
        "sha256:",
        "sha256:12",
        "sha512:00",
        &format!("sha256:{}", "G".repeat(64)),
    ] {
        let error = crate::verify(&placed.path, digest).unwrap_err();
        assert!(
            matches!(error, Error::Question(_)) && !error.is_verdict(),
            "{error}"
        );
    }
}

#[test]
fn what_is_no_image_is_told_so() {
    let pin = Digest::of(b"");
    let empty_tar = tar_of(&[]);
    let other_tar = tar_of(&[Item::File("README", 0o644, b"hello")]);
    let sound = Making::sound().make().bytes();
    for (bytes, why) in [
        (&b""[..], "the file is empty"),
        (b"hello", "shorter than the header"),
        (&[b'x'; 4096], "does not begin with the header of a tar"),
        (&gzip(&sound), "gunzip"),
        (&empty_tar, "the tar archive is empty"),
        (&other_tar, "neither the index.json"),
    ] {
        let placed = Placed::file(bytes);
        let error = placed.verify(pin).unwrap_err();
        assert!(matches!(error, Error::NotAnImage { .. }), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let error = super::verify(dir.path(), pin).unwrap_err();
    assert!(matches!(error, Error::NotAnImage { .. }), "{error}");
    let error = super::verify(&dir.path().join("none"), pin).unwrap_err();
    assert!(
        matches!(error, Error::Unreadable { .. }) && !error.is_verdict(),
        "{error}"
    );
}

#[test]
fn a_truncated_archive_is_refused_wherever_it_ends() {
    let made = Making::sound().make();
    let bytes = made.bytes();
    // The last block of zeros may be missing: the one before it is mark enough.
    let between_two = bytes.len() - 1024;
    for length in (512..bytes.len() - 512).step_by(97).chain([between_two]) {
        let error = Placed::file(&bytes[..length])
            .verify(made.index)
            .unwrap_err();
        assert!(matches!(error, Error::Damaged(_)), "{length}: {error}");
        assert!(error.to_string().contains("truncated"), "{length}: {error}");
    }
}

#[test]
fn a_blob_that_is_not_its_name_is_refused() {
    let mut made = Making::sound().make();
    let name = format!("blobs/sha256/{}", made.config.digits());
    made.parts.get_mut(&name).unwrap().push(b' ');
    for placed in [made.archive(), made.folder()] {
        let told = refusal(&placed, made.index);
        assert!(told.contains("holds bytes whose digest is"), "{told}");
    }
    made.parts.remove(&name);
    let told = refusal(&made.archive(), made.index);
    assert!(told.contains("is missing"), "{told}");
}

#[test]
fn documents_that_contradict_each_other_are_refused() {
    let cases: [(super::Change, &str); 11] = [
        (
            |config, _, _| config["rootfs"]["diff_ids"] = json!([Digest::of(b"x")]),
            "unpacks to",
        ),
        (
            |config, _, _| config["rootfs"]["diff_ids"] = json!([]),
            "there are 1 layers",
        ),
        (
            |config, _, _| config["architecture"] = json!("arm64"),
            "for linux/arm64",
        ),
        (
            |_, manifest, _| manifest["layers"][0]["size"] = json!(1),
            "says 1",
        ),
        (
            |_, manifest, _| manifest["layers"][0]["size"] = json!(-1),
            "not what it should be",
        ),
        (
            |_, manifest, _| manifest["mediaType"] = json!("application/x"),
            "calls itself",
        ),
        (
            |_, _, index| index["manifests"] = json!(7),
            "not what it should be",
        ),
        (
            |_, _, index| index["manifests"] = json!([]),
            "the pinned index is missing",
        ),
        (
            |_, manifest, _| manifest["layers"][0]["digest"] = json!("sha512:00"),
            "sha256 is read here",
        ),
        (
            |_, manifest, _| manifest["layers"][0]["digest"] = json!("../../etc/passwd"),
            "is not a digest",
        ),
        (
            |_, manifest, _| {
                manifest["layers"][0]["digest"] = json!(format!("sha256:../../{}", "0".repeat(58)));
            },
            "is not a digest",
        ),
    ];
    for (change, why) in cases {
        let mut making = Making::sound();
        making.change = change;
        let made = making.make();
        let told = refusal(&made.archive(), made.index);
        assert!(told.contains(why), "{why}: {told}");
    }
}

#[test]
fn an_image_without_etcd_cannot_run_it() {
    let named = |name| {
        let layer = tar_of(&[Item::File(name, 0o755, PROGRAM)]);
        let mut making = Making::new(vec![layer]);
        making.labels = json!({});
        making.make()
    };
    let made = named("usr/local/bin/etcdctl");
    let told = refusal(&made.archive(), made.index);
    assert!(told.contains("etcd is no program on its path"), "{told}");
    // On the path, but not where the image's own command looks.
    let made = named("usr/bin/etcd");
    let told = refusal(&made.archive(), made.index);
    assert!(
        told.contains("\"/usr/local/bin/etcd\" is no program in it"),
        "{told}"
    );
    let layer = tar_of(&[Item::File("usr/local/bin/etcd", 0o644, PROGRAM)]);
    let made = Making::new(vec![layer]).make();
    let told = refusal(&made.archive(), made.index);
    assert!(
        told.contains("no program on its path"),
        "not executable: {told}"
    );
}

#[test]
fn a_program_of_another_version_than_the_label_says_is_refused() {
    let mut making = Making::sound();
    making.labels = json!({"pintle.programs": "etcd=3.5.30 etcdctl=3.6.14"});
    let made = making.make();
    let error = made.archive().verify(made.index).unwrap_err();
    assert!(
        matches!(&error, Error::WrongVersion { program, .. } if program == "etcdctl"),
        "{error}"
    );
    making.labels = json!({"pintle.programs": "other=1"});
    let made = making.make();
    assert!(refusal(&made.archive(), made.index).contains("the label names other"));
    making.labels = json!({"pintle.programs": "etcd"});
    let made = making.make();
    assert!(refusal(&made.archive(), made.index).contains("not program=version"));
}

#[test]
fn names_that_lead_out_are_refused() {
    let made = Making::sound().make();
    for name in ["../evil", "/etc/passwd", "blobs/../../evil"] {
        let mut made = made.clone();
        made.parts.insert(name.to_owned(), b"x".to_vec());
        let error = made.archive().verify(made.index).unwrap_err();
        assert!(matches!(error, Error::Unsafe(_)), "{name}: {error}");
    }
    let mut bytes = made.bytes();
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(tar_of(&[Item::Sym(
        "blobs/sha256/x",
        "../../../etc/passwd",
    )]));
    let error = Placed::file(&bytes).verify(made.index).unwrap_err();
    assert!(matches!(error, Error::Unsafe(_)), "{error}");
    for item in [
        Item::File("usr/../../evil", 0o644, b"x"),
        Item::Sym("../evil", "x"),
        Item::Hard("etc/shadow", "../../etc/shadow"),
    ] {
        let made = with(&[item]).make();
        let error = made.archive().verify(made.index).unwrap_err();
        assert!(matches!(error, Error::Unsafe(_)), "{error}");
    }
    // Where a link in a root file system leads is up to the container.
    let made = with(&[Item::Sym("etc/mtab", "../../../proc/mounts")]).make();
    made.archive().verify(made.index).unwrap();
}

#[test]
fn a_name_that_occurs_twice_is_refused() {
    let made = Making::sound().make();
    let mut bytes = made.bytes();
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(tar_of(&[Item::File("index.json", 0o644, b"{}")]));
    let told = refusal(&Placed::file(&bytes), made.index);
    assert!(told.contains("twice"), "{told}");
}

/// Writes a size into the first header, in binary, and corrects its sum.
fn claim(archive: &mut [u8], size: u64) {
    archive[124] = 0x80;
    archive[125..128].fill(0);
    archive[128..136].copy_from_slice(&size.to_be_bytes());
    archive[148..156].fill(b' ');
    let sum: u32 = archive[..512].iter().map(|byte| u32::from(*byte)).sum();
    archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn sizes_that_are_only_claimed_cost_nothing() {
    let made = Making::sound().make();
    for size in [1 << 40, i64::MAX as u64, u64::MAX - 511, u64::MAX] {
        let mut bytes = made.bytes();
        claim(&mut bytes, size);
        let told = refusal(&Placed::file(&bytes), made.index);
        assert!(
            told.contains("truncated") && told.contains("are left"),
            "{told}"
        );
        let mut layer = tar_of(&[Item::File("usr/local/bin/etcd", 0o755, PROGRAM)]);
        claim(&mut layer, size);
        let made = Making::new(vec![layer]).make();
        let error = made.archive().verify(made.index).unwrap_err();
        assert!(matches!(error, Error::TooLarge(_)), "{error}");
    }
}

#[test]
fn what_unpacks_to_more_than_it_may_is_left_off() {
    let bomb = gzip(&tar_of(&[Item::File("zeros", 0o644, &vec![0; 4 << 20])]));
    let mut rootfs = crate::rootfs::RootFs::default();
    let error = crate::layer::read(&bomb[..], "the layer", 1 << 20, &[], &mut rootfs).unwrap_err();
    assert!(matches!(error, Error::TooLarge(_)), "{error}");
    // Behind the end mark, where no header claims anything.
    let mut layer = sound_layer();
    layer.extend(vec![0; 4 << 20]);
    let bomb = gzip(&layer);
    let error = crate::layer::read(&bomb[..], "the layer", 1 << 20, &[], &mut rootfs).unwrap_err();
    assert!(matches!(error, Error::TooLarge(_)), "{error}");
}

#[test]
fn a_document_that_is_too_large_is_not_read() {
    let mut making = Making::sound();
    making.change = |config, _, _| config["history"] = json!(["x".repeat(5 << 20)]);
    let made = making.make();
    let error = made.archive().verify(made.index).unwrap_err();
    assert!(matches!(error, Error::TooLarge(_)), "{error}");
}

#[test]
fn documents_nested_without_end_are_refused() {
    let mut made = Making::sound().make();
    let deep = "[".repeat(100_000);
    made.parts.insert(
        "index.json".into(),
        format!("{{\"schemaVersion\":2,\"x\":{deep}").into(),
    );
    let error = made.archive().verify(made.index).unwrap_err();
    assert!(matches!(error, Error::Inconsistent(_)), "{error}");
}

#[test]
fn a_pipe_in_a_layout_is_not_waited_for() {
    let made = Making::sound().make();
    let folder = made.folder();
    let name = folder
        .path
        .join(format!("blobs/sha256/{}", made.config.digits()));
    fs::remove_file(&name).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &name,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let error = folder.verify(made.index).unwrap_err();
    assert!(matches!(error, Error::Unsafe(_)), "{error}");
    let error = super::verify(&name, made.index).unwrap_err();
    assert!(matches!(error, Error::NotAnImage { .. }), "{error}");
}
