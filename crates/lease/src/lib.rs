//! The lessor: which leases exist, when they end, and which keys go with them.
//!
//! A [`Lessor`] is plain data. It has no clock, no thread and no lock: time
//! comes in as milliseconds of one monotonic clock, durable changes go out into
//! a [`bolt::Batch`], and whoever owns it decides about locking. It must never
//! end a lease by itself: it only names leases whose time is over, so that the
//! leader can send the revocation through the log.
//!
//! **Sharing.** Put it into one `RwLock`. The apply thread takes the write side
//! once per run of entries; everyone else reads. Renewing a lease, the most
//! frequent call by far, needs only `&self`, hence the read side: the expiry is
//! an atomic, and the schedule finds out about the new expiry when the old one
//! comes up.
//!
//! | file | what it holds |
//! |---|---|
//! | `lessor.rs` | grants, renewals, attached keys, expiry, leadership |
//! | `spread.rs` | keeps leases of a new leader from ending all at once |
//! | `record.rs` | the `lease` bucket |
//! | `id.rs` | the id of a lease |
//! | `error.rs` | what can go wrong |

#![forbid(unsafe_code)]

mod error;
mod id;
mod lessor;
mod record;
mod spread;

pub use error::{Error, RecoverError};
pub use id::LeaseId;
pub use lessor::{
    CHECKPOINT_BATCH, CHECKPOINT_INTERVAL_SECS, Checkpoint, EXPIRY_CHECK_MS, Lessor, MAX_TTL_SECS,
    Options, REVOKE_RETRY_MS, REVOKES_PER_SECOND, Renewal, TimeToLive,
};
pub use record::BUCKET;
