//! The two meta pages: which of them holds the current state, and the bytes of a new one. A meta page is trusted only
//! when magic, version and checksum agree; the rest of its page is not examined.

use crate::disk::Disk;
use crate::id::PageId;
use crate::page::{FLAG_META, PAGE_HEADER, u32_at, u64_at};

pub(crate) const MAGIC: u32 = 0xED0C_DAED;
pub(crate) const VERSION: u32 = 2;
/// Freelist page id of a file that does not store its free pages.
const NO_FREELIST: u64 = u64::MAX;
/// Bytes from the start of a meta page to its end of content.
pub(crate) const META_END: usize = PAGE_HEADER + 64;
/// The largest page size that we look for: the format's probing goes up to 1024 << 14.
pub(crate) const MAX_PAGE_SIZE: u32 = 1024 << 14;

/// The content of a valid meta page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_size: u32,
    pub(crate) root: PageId,
    pub(crate) sequence: u64,
    /// Where the free pages are stored, if they are.
    pub(crate) freelist: Option<PageId>,
    /// First page id that was never allocated.
    pub(crate) hwm: PageId,
    pub(crate) txid: u64,
}

/// FNV-1a, 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| {
        (hash ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)
    })
}

impl Meta {
    /// Reads a meta page from its first [`META_END`] bytes; or says why it is unusable.
    pub(crate) fn decode(head: &[u8; META_END]) -> Result<Meta, String> {
        let magic = u32_at(head, 16);
        if magic != MAGIC {
            return Err(format!("magic is {magic:#010x}, not {MAGIC:#010x}"));
        }
        let version = u32_at(head, 20);
        if version != VERSION {
            return Err(format!("format version is {version}, not {VERSION}"));
        }
        let (found, counted) = (u64_at(head, 72), fnv1a(&head[16..72]));
        if found != counted {
            return Err(format!("checksum is {found:016x}, counted {counted:016x}"));
        }
        let page_size = u32_at(head, 24);
        if !page_size.is_power_of_two() || !(512..=MAX_PAGE_SIZE).contains(&page_size) {
            return Err(format!("page size {page_size} is out of range"));
        }
        Ok(Meta {
            page_size,
            root: PageId::new(u64_at(head, 32)),
            sequence: u64_at(head, 40),
            freelist: Some(u64_at(head, 48))
                .filter(|id| *id != NO_FREELIST)
                .map(PageId::new),
            hwm: PageId::new(u64_at(head, 56)),
            txid: u64_at(head, 64),
        })
    }

    /// The first [`META_END`] bytes of the page `id` (0 or 1) that holds this meta.
    pub(crate) fn encode(&self, id: PageId) -> [u8; META_END] {
        let mut out = [0u8; META_END];
        out[0..8].copy_from_slice(&id.get().to_le_bytes());
        out[8..10].copy_from_slice(&FLAG_META.to_le_bytes());
        out[16..20].copy_from_slice(&MAGIC.to_le_bytes());
        out[20..24].copy_from_slice(&VERSION.to_le_bytes());
        out[24..28].copy_from_slice(&self.page_size.to_le_bytes());
        out[32..40].copy_from_slice(&self.root.get().to_le_bytes());
        out[40..48].copy_from_slice(&self.sequence.to_le_bytes());
        let freelist = self.freelist.map_or(NO_FREELIST, PageId::get);
        out[48..56].copy_from_slice(&freelist.to_le_bytes());
        out[56..64].copy_from_slice(&self.hwm.get().to_le_bytes());
        out[64..72].copy_from_slice(&self.txid.to_le_bytes());
        let sum = fnv1a(&out[16..72]);
        out[72..80].copy_from_slice(&sum.to_le_bytes());
        out
    }
}

/// The content of both meta pages.
#[derive(Debug)]
pub(crate) struct Found {
    /// Meta 0 and meta 1: the meta and its file offset, or why it is unusable.
    pub(crate) slots: [Result<(Meta, u64), String>; 2],
}

impl Found {
    /// The state to use: the valid one, or of two valid ones the one with the larger transaction id.
    pub(crate) fn current(&self) -> Result<Meta, String> {
        match &self.slots {
            [Ok((a, _)), Ok((b, _))] => Ok(if b.txid > a.txid { *b } else { *a }),
            [Ok((m, _)), Err(_)] | [Err(_), Ok((m, _))] => Ok(*m),
            [Err(a), Err(b)] => Err(format!("meta page 0: {a}; meta page 1: {b}")),
        }
    }
}

fn read_at(disk: &dyn Disk, len: u64, at: u64) -> Result<Meta, String> {
    if len < at.saturating_add(META_END as u64) {
        return Err(format!("the file ends at {len}"));
    }
    let mut head = [0u8; META_END];
    disk.pread(at, &mut head)
        .map_err(|e| format!("reading offset {at:#x} failed: {e}"))?;
    Meta::decode(&head)
}

/// Looks at both meta pages. The page size comes from meta 0; where that is unusable, meta 1 is probed for at every
/// page size from 1 KiB up.
pub(crate) fn find(disk: &dyn Disk, len: u64) -> Found {
    let zero = read_at(disk, len, 0).map(|m| (m, 0));
    let one = match &zero {
        Ok((m, _)) => {
            let at = u64::from(m.page_size);
            read_at(disk, len, at).and_then(|other| {
                if other.page_size == m.page_size {
                    Ok((other, at))
                } else {
                    Err(format!(
                        "page size {} contradicts meta page 0",
                        other.page_size
                    ))
                }
            })
        }
        Err(_) => {
            let mut found = Err("not found at any page size".to_owned());
            for shift in 0..15 {
                let at = 1024u64 << shift;
                match read_at(disk, len, at) {
                    Ok(m) if u64::from(m.page_size) == at => {
                        found = Ok((m, at));
                        break;
                    }
                    Ok(_) => {}
                    Err(why) if at == 4096 => found = Err(why),
                    Err(_) => {}
                }
            }
            found
        }
    };
    Found { slots: [zero, one] }
}
