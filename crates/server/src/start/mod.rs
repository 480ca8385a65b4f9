//! From a configuration to a server that runs, and to its end.
//!
//! | module | what it is |
//! |---|---|
//! | [`descriptors`] | how the file descriptors of the process are shared |
//! | [`data_dir`] | the data directory as a place: made, checked, locked |
//! | [`discovery`] | who founds the cluster, asked of the DNS or of another etcd |
//! | [`found`] | what the log of a new member begins with; other members compared with this one |
//! | [`database`] | the files of a member as [`member`] asks for them |
//! | [`open`] | from a data directory to the parts of a member |
//! | [`running`] | the threads of a server, from the first to the last |
//! | [`runtimes`] | those that serve, and the one of the other members |
//! | [`ending`] | why a server ends, and how it takes leave |

mod data_dir;
mod database;
mod descriptors;
mod discovery;
mod ending;
mod found;
mod open;
mod running;
mod runtimes;

pub use descriptors::Descriptors;
pub use ending::{Ending, notify_init};
pub use running::Running;
