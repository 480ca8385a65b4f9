//! `check perf` and `check datascale`: write a known load under a prefix of
//! their own, measure, delete it again. They must never write where keys are.

mod datascale;
mod load;
mod measure;
mod memory;
mod perf;
mod prefix;

pub(crate) use datascale::datascale;
pub(crate) use perf::perf;

#[cfg(test)]
mod tests;
