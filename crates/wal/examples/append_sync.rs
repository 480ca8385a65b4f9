//! What an append and a sync cost: `cargo run --release -p pintle-wal --example
//! append_sync -- DIR`. Prints nanoseconds per entry appended, and microseconds
//! per sync by size of the batch. Shows one writer on an otherwise idle
//! machine; says nothing about a disk shared with a database.

use std::{env, path::Path, time::Instant};

use bytes::Bytes;
use proto::raftpb;
use wal::{Options, Wal};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = env::args().nth(1).ok_or("usage: append_sync DIR")?;
    let dir = Path::new(&dir);
    let payload = Bytes::from((0..300u32).map(|i| i as u8).collect::<Vec<_>>());
    let mut index = 0;
    let mut batch = |n: u64| -> Vec<raftpb::Entry> {
        (0..n)
            .map(|_| {
                index += 1;
                let data = Some(payload.clone());
                raftpb::Entry {
                    r#type: 0,
                    term: 2,
                    index,
                    data,
                }
            })
            .collect()
    };

    let began = Instant::now();
    let mut wal = Wal::create(dir, b"metadata", Options::default())?;
    println!("create: {} us", began.elapsed().as_micros());
    for (count, syncs) in [(1, 1000), (10, 1000), (100, 1000), (1000, 400)] {
        let mut append_ns = 0;
        let (mut micros, mut cuts) = (Vec::new(), Vec::new());
        for _ in 0..syncs {
            let entries = batch(count);
            let state = raftpb::HardState {
                term: 2,
                vote: 1,
                commit: entries[0].index,
            };
            let began = Instant::now();
            wal.append(&entries, Some(&state))?;
            append_ns += began.elapsed().as_nanos();
            let stats = wal.sync()?;
            micros.push((stats.write + stats.sync).as_micros());
            cuts.extend(stats.cut.map(|cut| cut.as_micros()));
        }
        micros.sort_unstable();
        println!(
            "{count:5} entries: append {:4} ns each; sync median {} us, p99 {} us, max {} us; cuts {cuts:?} us",
            append_ns / u128::from(count * syncs),
            micros[micros.len() / 2],
            micros[micros.len() * 99 / 100],
            micros[micros.len() - 1],
        );
    }
    wal.close()?;
    let began = Instant::now();
    let opened = Wal::open(dir, Default::default(), Options::default())?;
    println!(
        "open: {} entries in {} ms",
        opened.entries.len(),
        began.elapsed().as_millis()
    );
    Ok(())
}
