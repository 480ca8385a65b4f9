//! Tests of the whole: a model to compare with, a disk that fails, files written by etcd, planted damage.

mod crash;
mod damage;
mod file;
mod golden;
mod model;

use std::path::Path;

use crate::sim::SimDisk;
use crate::{Db, Options};

/// Options for small databases in memory.
pub(crate) fn small(page_size: u32) -> Options {
    Options {
        page_size: Some(page_size),
        growth_step: 0,
        ..Options::default()
    }
}

pub(crate) fn open(disk: &SimDisk, page_size: u32) -> Result<Db, crate::Error> {
    Db::open_on(Path::new("<memory>"), disk.clone(), small(page_size))
}
