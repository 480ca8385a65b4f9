//! A layer of an image: the tar archive and the tree of names; and the same with the sums
//! of its headers mended, so that what stands behind them is reached.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = image::fuzzing::layer(data);
    let mut mended = data.to_vec();
    for block in mended.chunks_exact_mut(512) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    let _ = image::fuzzing::layer(&mended);
});
