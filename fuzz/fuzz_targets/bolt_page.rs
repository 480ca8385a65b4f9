//! A database file: as it is, and with the checksums of its meta pages made right, without which hardly any input but
//! the seeds would come past them.
#![no_main]

const META_END: usize = 80;

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| {
        (hash ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Makes the checksum of the meta page at `at` right; false where it was.
fn seal(image: &mut [u8], at: usize) -> bool {
    let Some(meta) = image
        .get_mut(at..)
        .and_then(|page| page.get_mut(..META_END))
    else {
        return false;
    };
    let sum = fnv1a(&meta[16..72]).to_le_bytes();
    let wrong = meta[72..] != sum;
    meta[72..].copy_from_slice(&sum);
    wrong
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bolt::fuzzing::fuzz_image(data);
    let mut image = data.to_vec();
    let page_size = match image.get(24..28) {
        Some(bytes) => u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize,
        None => return,
    };
    let changed = [0, page_size].map(|at| seal(&mut image, at));
    if changed.contains(&true) {
        bolt::fuzzing::fuzz_image(&image);
    }
});
