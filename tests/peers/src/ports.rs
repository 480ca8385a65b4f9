//! Ports for servers that come back on the same port. They lie below the range
//! from which the kernel serves `bind(0)` and outgoing connections, so that
//! nothing takes the port of a member that is down. It must never hand one
//! port out twice in one process, nor one of a block that another process has.

use std::{
    fs::{self, File},
    net::TcpListener,
    sync::Mutex,
};

use anyhow::{Context as _, Result, bail};

/// Linux picks ports from 32768 on by itself.
const FIRST: u32 = 11_000;
const COUNT: u32 = 21_000;
/// A process takes so many at once, by a lock that ends with it.
const BLOCK: u32 = 100;
/// With more than this it would leave too few to others; its first ones are free again then.
const BLOCKS_MAX: usize = 20;

/// The blocks of this process.
struct Own {
    blocks: Vec<(u32, File)>,
    next: u32,
}

static OWN: Mutex<Own> = Mutex::new(Own {
    blocks: Vec::new(),
    next: 0,
});

/// A port of 127.0.0.1 that no one listens on.
pub fn claim() -> Result<u16> {
    let mut own = OWN.lock().expect("no panic");
    for _ in 0..COUNT {
        let mut at = usize::try_from(own.next / BLOCK)?;
        if at == own.blocks.len() {
            match free_block(&own)? {
                Some(block) => own.blocks.push(block),
                None => (own.next, at) = (0, 0),
            }
        }
        let Some((block, _)) = own.blocks.get(at) else {
            break;
        };
        let port = u16::try_from(FIRST + block * BLOCK + own.next % BLOCK)?;
        own.next += 1;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {}", FIRST + COUNT)
}

/// A block that no process has, locked; `None` where this one has enough, or all are taken.
fn free_block(own: &Own) -> Result<Option<(u32, File)>> {
    if own.blocks.len() >= BLOCKS_MAX {
        return Ok(None);
    }
    let dir = std::env::temp_dir().join("pintle-test-ports");
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    // Each process starts elsewhere: the ports of one that has just ended may be in use still.
    let start = std::process::id().wrapping_mul(131);
    for turn in 0..COUNT / BLOCK {
        let block = start.wrapping_add(turn) % (COUNT / BLOCK);
        let path = dir.join(block.to_string());
        let file = File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        if file.try_lock().is_ok() {
            return Ok(Some((block, file)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_process_gets_ports_of_its_own_blocks_and_none_twice() {
        let ports: Vec<u16> = (0..250).map(|_| claim().expect("a port")).collect();
        let distinct: BTreeSet<_> = ports.iter().collect();
        assert_eq!(distinct.len(), ports.len());
        let own = OWN.lock().expect("no panic");
        assert!(own.blocks.len() >= 3);
        for (block, _) in &own.blocks {
            let path = std::env::temp_dir().join(format!("pintle-test-ports/{block}"));
            let again = File::options().append(true).open(path).expect("the file");
            assert!(again.try_lock().is_err(), "block {block} is not locked");
        }
    }
}
