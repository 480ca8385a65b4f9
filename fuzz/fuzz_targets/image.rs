//! A layer of an image: the tar archive and the tree of names; and the same with the sums
//! of its headers corrected, so that what is after them is reached.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = image::fuzzing::layer(data);
    let mut corrected = data.to_vec();
    for block in corrected.chunks_exact_mut(512) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    let _ = image::fuzzing::layer(&corrected);
});
