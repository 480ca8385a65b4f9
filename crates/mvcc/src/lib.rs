//! Under construction.

pub mod events;
