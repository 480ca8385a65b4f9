//! What the process does, as profiles that `go tool pprof` reads (`--enable-pprof`): where its CPU
//! time goes, what its memory is, which threads it has. Only a request for a CPU profile costs
//! anything.

mod cpu;
mod memory;
mod threads;
mod written;

pub use cpu::{Busy, Sampling};
pub use memory::memory;
pub use threads::threads;
