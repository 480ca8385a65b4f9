//! What a disk may leave after the last record of a log that was not closed: a
//! server starts with all its keys, as a real etcd does on the same bytes, and the
//! one can take over from the other. The full set runs with `PINTLE_MATRIX=full`.

use std::{fs, os::unix::fs::FileExt as _, path::Path};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api, dirs, mixes,
    peer::{self, Program},
    server::Launch,
    workload::Dice,
};

/// Made for the given room.
type Garbage = fn(&mut Dice, usize) -> Vec<u8>;

/// Kinds of garbage.
const TAILS: [(&str, Garbage); 8] = [
    ("ones to the end", |_, rest| vec![0xff; rest]),
    ("a length of zero, then random bytes", |dice, _| {
        [vec![0; 8], random(dice, 9000)].concat()
    }),
    ("random bytes, and no more", |dice, _| random(dice, 777)),
    ("0x55 to the end", |_, rest| vec![0x55; rest]),
    ("random bytes to the end", random),
    ("a length beyond the file", |_, rest| {
        (rest as u64 + 10).to_le_bytes().to_vec()
    }),
    ("a negative length without padding", |_, _| {
        (1u64 << 63 | 16).to_le_bytes().to_vec()
    }),
    ("some ones, and no more", |_, _| vec![0xff; 100]),
];

fn random(dice: &mut Dice, len: usize) -> Vec<u8> {
    (0..len).map(|_| dice.below(256) as u8).collect()
}

const KEYS: usize = 60;

async fn keys(program: &Program, dir: &Path) -> Result<usize> {
    let server = Launch::new(program, dir).start().await?;
    let found = server.api().everything(0).await?.kvs.len();
    server.kill().await?;
    Ok(found)
}

/// Where the last record of a segment ends.
fn records_end(bytes: &[u8]) -> Result<usize> {
    let mut at = 0;
    while let Some(field) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let field = u64::from_le_bytes(*field);
        if field == 0 {
            break;
        }
        let length = wal::frame::Length::parse(field).context("a length field")?;
        at += length.frame() as usize;
    }
    Ok(at)
}

#[test]
fn garbage_behind_the_last_record_costs_no_key() {
    let (Some(subject), Some(etcd)) = (peer::subject(), peer::etcd(peer::REFERENCE)) else {
        return;
    };
    let tails = if mixes::is_full() {
        &TAILS[..]
    } else {
        &TAILS[..2]
    };
    peers::run(120, async {
        let temp = tempfile::tempdir()?;
        let home = temp.path().join("home");
        let server = Launch::new(&subject, &home).start().await?;
        for i in 0..KEYS {
            let put = api::put(format!("key/{i}"), vec![b'v'; 10 + i]);
            server.api().put(put).await?;
        }
        server.kill().await?;
        for (name, tail) in tails {
            let mut dice = Dice::new(peers::seed(4));
            let dir = temp.path().join("data");
            dirs::copy(&home, &dir)?;
            let segments = dirs::segments(&dir)?;
            let segment = segments.last().context("a segment")?;
            let bytes = fs::read(segment)?;
            let end = records_end(&bytes)?;
            let garbage = tail(&mut dice, bytes.len() - end);
            let file = fs::OpenOptions::new().write(true).open(segment)?;
            file.write_all_at(&garbage, end as u64)?;
            if name.ends_with("no more") {
                file.set_len((end + garbage.len()) as u64)?;
            }
            let read = wal::read_all(&dir.join("member/wal"), proto::walpb::Snapshot::default())?;
            let torn = read.torn.map(|(_, offset)| offset);
            ensure!(
                torn == Some(end as u64),
                "{name}: torn at {torn:?}, not {end}"
            );

            let etcds = temp.path().join("etcd");
            dirs::copy(&dir, &etcds)?;
            let reference = keys(&etcd, &etcds).await.context(*name)?;
            let found = keys(&subject, &dir).await.context(*name)?;
            ensure!(
                found == KEYS && reference == KEYS,
                "{name}: {found}, {reference}"
            );
            // What was cut off stays readable, and etcd takes over what is left.
            ensure!(
                segment.with_extension("wal.broken").exists(),
                "{name}: no copy"
            );
            ensure!(keys(&etcd, &dir).await.context(*name)? == KEYS, "{name}");
            fs::remove_dir_all(&dir)?;
            fs::remove_dir_all(&etcds)?;
        }
        Ok(())
    });
    peer::say("RAN: garbage after the last record of a log");
}
