//! Arbitrary and damaged bytes: no panic, and never another image than the pinned one.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::{Made, Making, Placed, gzip, sound_layer};
use crate::{
    Verified, layer,
    rootfs::RootFs,
    tar::{Bounds, Reader},
};

static SOUND: LazyLock<(Made, Vec<u8>, Verified)> = LazyLock::new(|| {
    let made = Making::sound().make().docker(&[sound_layer()], true);
    let verified = made.archive().verify(made.index).expect("it is sound");
    (made.clone(), made.bytes(), verified)
});

/// Reads it as a layer, and as an archive with all of its contents.
fn read(bytes: &[u8]) {
    let mut rootfs = RootFs::default();
    let _ = layer::read(bytes, "it", 1 << 20, &[], &mut rootfs);
    let bounds = Bounds {
        bytes: 1 << 20,
        entries: 100,
        total: Some(bytes.len() as u64),
    };
    let mut reader = Reader::new(bytes, bounds);
    while let Ok(Some(_)) = reader.next() {
        let _ = std::io::copy(&mut reader, &mut std::io::sink());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        read(&bytes);
        read(&gzip(&bytes));
        prop_assert!(Placed::file(&bytes).verify(SOUND.0.index).is_err());
        let mut broken = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
        broken.extend_from_slice(&bytes);
        read(&broken);
    }

    /// A header whose sum is right and whose fields are anything.
    #[test]
    fn arbitrary_headers_are_read_or_refused(
        mut block in prop::collection::vec(any::<u8>(), 512),
        kind in prop::sample::select(b"01235xgLKS7\0".to_vec()),
        content in prop::collection::vec(any::<u8>(), 0..1500),
        plain in any::<bool>(),
    ) {
        block[156] = kind;
        if plain {
            block[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block.extend_from_slice(&content);
        block.resize(block.len().next_multiple_of(512) + 1024, 0);
        read(&block);
        let _ = Placed::file(&block).verify(SOUND.0.index);
    }

    #[test]
    fn arbitrary_documents_are_refused(
        name in prop::sample::select(vec!["index.json", "manifest.json", "oci-layout"]),
        text in "[\\[\\]{}\":,0-9a-z]{0,200}",
    ) {
        let mut made = SOUND.0.clone();
        made.parts.insert(name.to_owned(), text.into_bytes());
        prop_assert!(made.archive().verify(made.index).is_err());
    }

    /// Whatever is changed, cut or doubled: what is verified is what was pinned.
    #[test]
    fn a_damaged_archive_is_refused_or_still_the_same_image(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        doubled in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let (made, sound, verified) = &*SOUND;
        let mut bytes = sound.clone();
        for (at, byte) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        if let Some(at) = doubled {
            let at = at.index(bytes.len() / 512) * 512;
            let block = bytes[at..at + 512].to_vec();
            bytes.splice(at..at, block);
        }
        if let Some(at) = cut {
            bytes.truncate(at.index(bytes.len()));
        }
        if let Ok(found) = Placed::file(&bytes).verify(made.index) {
            prop_assert_eq!(found.manifest, verified.manifest);
            prop_assert_eq!(found.config, verified.config);
            prop_assert_eq!(&found.layers, &verified.layers);
            prop_assert_eq!(&found.programs, &verified.programs);
        }
    }

    /// A layer with its digests corrected, as an attacker would: read or refused.
    #[test]
    fn a_damaged_layer_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        packed in any::<bool>(),
    ) {
        let mut layer = sound_layer();
        for (at, byte) in &changes {
            let at = at.index(layer.len());
            layer[at] = *byte;
        }
        if let Some(at) = cut {
            layer.truncate(at.index(layer.len()));
        }
        let mut making = Making::new(vec![layer]);
        making.packed = packed;
        let made = making.make();
        let _ = made.archive().verify(made.index);
    }
}
