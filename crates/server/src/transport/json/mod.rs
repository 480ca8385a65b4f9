//! JSON as etcd's gateway reads it.

mod scanner;

pub(super) use scanner::Finder;

#[cfg(test)]
mod tests;
