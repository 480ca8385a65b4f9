//! etcd's messages and services, generated from `proto/*.proto`, and how etcd's own
//! code reads those that end up in the log ([`wire`]); the names of gRPC's codes ([`codes`]) and of
//! entries ([`EntryId`]).
//! Holds no logic beyond that.
//!
//! Messages of the log and of files (`raftpb`, `walpb`, `snappb`, v2 `Request`,
//! `Metadata`) encode as etcd up to 3.6 does: scalars are written even when
//! zero. Everything else is plain proto3.
#![forbid(unsafe_code)]
#![allow(missing_docs, unreachable_pub, clippy::all)]

pub mod codes;
mod entry_id;
mod entry_of;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "json")]
pub mod schema;
pub mod wire;

pub use entry_id::EntryId;

/// Keys, values and events.
pub mod mvccpb {
    include!(concat!(env!("OUT_DIR"), "/mvccpb.rs"));
    #[cfg(feature = "json")]
    include!(concat!(env!("OUT_DIR"), "/mvccpb.serde.rs"));
}

/// Users, roles, permissions.
pub mod authpb {
    include!(concat!(env!("OUT_DIR"), "/authpb.rs"));
    #[cfg(feature = "json")]
    include!(concat!(env!("OUT_DIR"), "/authpb.serde.rs"));
}

/// Membership as raft entries carry it.
pub mod membershippb {
    include!(concat!(env!("OUT_DIR"), "/membershippb.rs"));
    #[cfg(feature = "json")]
    include!(concat!(env!("OUT_DIR"), "/membershippb.serde.rs"));
}

/// The public API, and what travels in raft entries.
pub mod etcdserverpb {
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.rs"));
    #[cfg(feature = "json")]
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.serde.rs"));
}

/// Named locks.
pub mod v3lockpb {
    include!(concat!(env!("OUT_DIR"), "/v3lockpb.rs"));
    #[cfg(feature = "json")]
    include!(concat!(env!("OUT_DIR"), "/v3lockpb.serde.rs"));
}

/// Elections.
pub mod v3electionpb {
    include!(concat!(env!("OUT_DIR"), "/v3electionpb.rs"));
    #[cfg(feature = "json")]
    include!(concat!(env!("OUT_DIR"), "/v3electionpb.serde.rs"));
}

/// What Pintle alone has.
pub mod pintlepb {
    include!(concat!(env!("OUT_DIR"), "/pintlepb.rs"));
}

/// Raft's own messages.
pub mod raftpb {
    include!(concat!(env!("OUT_DIR"), "/raftpb.rs"));
}

/// Records of the write-ahead log.
pub mod walpb {
    include!(concat!(env!("OUT_DIR"), "/walpb.rs"));
}

/// The wrapper of `.snap` files.
pub mod snappb {
    include!(concat!(env!("OUT_DIR"), "/snappb.rs"));
}

/// Profiles of a process.
pub mod profilepb {
    include!(concat!(env!("OUT_DIR"), "/perftools.profiles.rs"));
}

/// What collectors of traces take.
pub mod tracepb {
    include!(concat!(
        env!("OUT_DIR"),
        "/opentelemetry.proto.collector.trace.v1.rs"
    ));
}

/// Leases as stored.
pub mod leasepb {
    include!(concat!(env!("OUT_DIR"), "/leasepb.rs"));
}
