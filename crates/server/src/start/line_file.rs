//! The line that a member was founded with, until it hears from its cluster: a file in the member
//! directory, which etcd leaves alone. What the cluster says counts from then on.

use std::{fs, io::Write as _, path::Path};

use line::{Choice, Line};
use member::{At as _, Error};

const NAME: &str = "pintle-line";

/// The line that was written; `None` where there is none.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub(crate) fn read(member_dir: &Path) -> Result<Option<Line>, Error> {
    let path = member_dir.join(NAME);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at("cannot read", &path),
    };
    match Choice::parse(text.trim()) {
        Some(Choice::Fixed(line)) => Ok(Some(line)),
        Some(Choice::Auto) | None => Err(Error(format!(
            "{}: holds no line; write 3.5, 3.6 or 3.7 into it, as the member was started with",
            path.display()
        ))),
    }
}

/// Writes the line, before there is a log.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write(member_dir: &Path, line: Line) -> Result<(), Error> {
    let path = member_dir.join(NAME);
    let mut file = fs::File::create(&path).at("cannot create", &path)?;
    writeln!(file, "{line}")
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::File::open(member_dir)?.sync_all())
        .at("cannot write", &path)
}
