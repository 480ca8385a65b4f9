//! A cluster of real processes: any mix of programs on free ports of
//! 127.0.0.1, started together or joined later, whose members are stopped,
//! killed, paused, cut off, or given another program on the same data
//! directory. It waits for conditions with deadlines. It must never hide a
//! member that ended by itself, and it ends every process it started.

mod agreement;
mod changes;
pub mod links;
mod processes;

pub use agreement::{Agreement, Listed};
pub use changes::Role;
pub use processes::{Cluster, Member, Plan, WITHIN};
pub use until::ok as until;
