//! What a program says of itself: for which machine it is, and whether it needs
//! an interpreter, which is what loads shared libraries.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// The program headers are within this, directly after the first.
const HEAD: u64 = 1 << 16;
/// Kinds of program headers and machines, from the ELF specification.
const PT_INTERP: u32 = 3;
const X86_64: u16 = 62;
const AARCH64: u16 = 183;

/// The architecture in the words of images, and whether the program is static.
pub(super) fn read(path: &Path) -> io::Result<(&'static str, bool)> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD).read_to_end(&mut head)?;
    headers(&head).ok_or_else(|| {
        io::Error::other(format!(
            "{}: it is no 64-bit ELF program for x86-64 or aarch64",
            path.display()
        ))
    })
}

fn headers(head: &[u8]) -> Option<(&'static str, bool)> {
    let u16_at = |at: usize| {
        Some(u16::from_le_bytes(
            head.get(at..)?.get(..2)?.try_into().ok()?,
        ))
    };
    let u32_at = |at: usize| {
        Some(u32::from_le_bytes(
            head.get(at..)?.get(..4)?.try_into().ok()?,
        ))
    };
    // 64 bits, little end first.
    if head.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let architecture = match u16_at(18)? {
        X86_64 => "amd64",
        AARCH64 => "arm64",
        _ => return None,
    };
    let table = u64::from_le_bytes(head.get(32..40)?.try_into().ok()?);
    let (size, count) = (u16_at(54)?, u16_at(56)?);
    for row in 0..usize::from(count) {
        let at = usize::try_from(table)
            .ok()?
            .checked_add(row * usize::from(size))?;
        if u32_at(at)? == PT_INTERP {
            return Some((architecture, false));
        }
    }
    Some((architecture, true))
}

#[cfg(test)]
mod tests {
    #[test]
    fn broken_programs_are_no_programs() {
        let mut head = vec![0; 64];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert_eq!(super::headers(&head), None);
        head[18] = 62;
        assert_eq!(super::headers(&head), Some(("amd64", true)));
        head[32..40].fill(0xff);
        head[56] = 2;
        assert_eq!(super::headers(&head), None);
        assert_eq!(super::headers(&head[..20]), None);
    }
}
