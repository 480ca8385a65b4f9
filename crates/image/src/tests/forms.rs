//! Images in all forms that they are stored in, pinned by all that they can be.

use serde_json::json;

use super::{Item, MANIFEST, Making, PROGRAM, refusal, sound_layer, tar_of};
use crate::{Digest, Error, Form, Names};

#[test]
fn a_layout_is_verified_as_folder_and_as_archive_by_each_of_its_digests() {
    let made = Making::sound().make();
    for (placed, form) in [
        (made.folder(), Form::OciFolder),
        (made.archive(), Form::OciArchive),
    ] {
        for (digest, names) in [
            (made.index, Names::Index),
            (made.manifest, Names::Manifest),
            (made.config, Names::ImageId),
        ] {
            let found = placed.verify(digest).unwrap();
            assert_eq!((found.form, found.names), (form, names));
            assert_eq!(
                (found.manifest, found.config),
                (Some(made.manifest), made.config)
            );
            assert_eq!(found.platform, "linux/amd64");
            assert_eq!(found.layers.len(), 1);
            assert_eq!(found.layers[0].diff_id, Digest::of(&sound_layer()));
            let programs: Vec<_> = found
                .programs
                .iter()
                .map(|p| (p.name.as_str(), p.size))
                .collect();
            let size = PROGRAM.len() as u64;
            assert_eq!(
                programs,
                [
                    ("etcd", size),
                    ("etcdctl", size),
                    ("etcdutl", size),
                    ("/usr/local/bin/etcd", size)
                ]
            );
            assert_eq!(found.versions.len(), 3);
            assert!(found.unpinned.is_empty(), "{:?}", found.unpinned);
        }
        assert_eq!(placed.verify(made.index).unwrap().tags, ["3.5.30-0"]);
    }
}

#[test]
fn an_old_docker_archive_can_be_pinned_by_its_image_id_alone() {
    let layers = [sound_layer()];
    let made = Making::sound().make().docker(&layers, false);
    let found = made.archive().verify(made.config).unwrap();
    assert_eq!(
        (found.form, found.names),
        (Form::DockerArchive, Names::ImageId)
    );
    assert_eq!(found.tags, ["etcd:3.5.30-0"]);
    let told = refusal(&made.archive(), made.index);
    assert!(told.contains("only the image ID sha256:"), "{told}");
}

#[test]
fn an_archive_of_both_kinds_has_to_say_the_same_twice() {
    let made = Making::sound().make().docker(&[sound_layer()], true);
    let found = made.archive().verify(made.index).unwrap();
    assert_eq!(found.form, Form::OciAndDockerArchive);
    assert_eq!(found.tags, ["3.5.30-0", "etcd:3.5.30-0"]);
    // Who loads it by manifest.json would get this layer.
    let other = tar_of(&[Item::File("usr/local/bin/etcd", 0o755, b"other")]);
    let made = Making::sound().make().docker(&[other], true);
    let told = refusal(&made.archive(), made.index);
    assert!(told.contains("manifest.json lists other layers"), "{told}");
}

#[test]
fn images_beside_the_pinned_one_are_told() {
    let mut made = Making::sound().make();
    let mut making = Making::sound();
    making.labels = json!({"other": "yes"});
    let other = making.make();
    made.parts.extend(
        other
            .parts
            .iter()
            .filter(|(name, _)| name.starts_with("blobs/"))
            .map(|(name, bytes)| (name.clone(), bytes.clone())),
    );
    let entry = |made: &super::Made| {
        let bytes = &made.parts[&format!("blobs/sha256/{}", made.manifest.digits())];
        json!({"mediaType": MANIFEST, "digest": made.manifest, "size": bytes.len()})
    };
    let top = json!({"schemaVersion": 2, "manifests": [entry(&made), entry(&other)]});
    made.parts
        .insert("index.json".into(), serde_json::to_vec(&top).unwrap());
    let found = made.archive().verify(made.manifest).unwrap();
    assert_eq!(found.unpinned, [format!("manifest {}", other.manifest)]);
    // An image that only docker would load.
    let made = Making::sound().make();
    let mut both = made.docker(&[sound_layer()], true);
    let evil = format!("blobs/sha256/{}", other.config.digits());
    both.parts.insert(evil.clone(), other.parts[&evil].clone());
    let list = json!([{"Config": evil, "RepoTags": ["etcd:3.5.30-0"], "Layers": ["0/layer.tar"]}]);
    both.parts
        .insert("manifest.json".into(), serde_json::to_vec(&list).unwrap());
    let found = both.archive().verify(made.index).unwrap();
    assert_eq!(found.unpinned.len(), 1, "{:?}", found.unpinned);
    assert!(found.unpinned[0].contains(&other.config.to_string()));
}

#[test]
fn a_platform_that_is_listed_and_not_here_is_told() {
    let mut making = Making::sound();
    let whole = making.make();
    making.change = |_, _, index| {
        index["manifests"] = json!([
            {"mediaType": MANIFEST, "digest": Digest::of(b"arm"), "size": 3,
             "platform": {"os": "linux", "architecture": "arm64"}},
            {"mediaType": MANIFEST, "digest": "x", "size": 0,
             "platform": {"os": "linux", "architecture": "amd64"}},
        ]);
    };
    // The digest of the manifest is known only now.
    let made = making.make();
    let name = format!("blobs/sha256/{}", whole.manifest.digits());
    let size = whole.parts[&name].len();
    let index =
        String::from_utf8(made.parts[&format!("blobs/sha256/{}", made.index.digits())].clone())
            .unwrap();
    let index = index
        .replace("\"digest\":\"x\",\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"platform\":{\"architecture\":\"amd64\",\"os\":\"linux\"},\"size\":0",
            &format!("\"digest\":\"{}\",\"mediaType\":\"{MANIFEST}\",\"platform\":{{\"architecture\":\"amd64\",\"os\":\"linux\"}},\"size\":{size}", whole.manifest));
    let mut made = whole.clone();
    made.index = Digest::of(index.as_bytes());
    let top = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": super::INDEX, "digest": made.index, "size": index.len()}]});
    made.parts
        .remove(&format!("blobs/sha256/{}", whole.index.digits()));
    made.parts.insert(
        format!("blobs/sha256/{}", made.index.digits()),
        index.into_bytes(),
    );
    made.parts
        .insert("index.json".into(), serde_json::to_vec(&top).unwrap());
    let placed = made.archive();
    let found = placed.verify(made.index).unwrap();
    assert_eq!(found.other_platforms, [("linux/arm64".to_owned(), false)]);
    let pin = made.index.to_string();
    let told = crate::verify_for(&placed.path, &pin, "linux/arm64").unwrap_err();
    assert!(matches!(told, Error::Damaged(_)), "{told}");
    let told = crate::verify_for(&placed.path, &pin, "linux/s390x").unwrap_err();
    assert!(matches!(told, Error::WrongPlatform { .. }), "{told}");
}

#[test]
fn layers_may_be_stored_as_they_are_and_links_lead_across_them() {
    let lower = tar_of(&[
        Item::Dir("usr/bin"),
        Item::Sym("bin", "usr/bin"),
        Item::File("usr/bin/etcd", 0o755, b"old"),
    ]);
    let upper = tar_of(&[
        Item::File("bin/.wh.etcd", 0o644, b""),
        Item::File("bin/pintle", 0o755, PROGRAM),
        Item::Sym("usr/bin/etcd", "/bin/pintle"),
    ]);
    let mut making = Making::new(vec![lower, upper]);
    making.packed = false;
    making.labels = json!({"pintle.programs": "etcd=3.5.30"});
    making.change = |config, _, _| config["config"]["Cmd"] = json!(["etcd"]);
    let made = making.make();
    let found = made.archive().verify(made.index).unwrap();
    assert_eq!(found.programs[0].path.as_deref(), Some("/usr/bin/etcd"));
    assert_eq!(found.programs[0].size, PROGRAM.len() as u64);
    assert_eq!(found.programs[1].path, None, "no etcdctl");
}
