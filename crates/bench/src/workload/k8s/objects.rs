//! The objects of the sample cluster: how many of each resource, how large,
//! how often written, and what is known of each.

use prost::Message as _;

use super::cluster::Cluster;
use crate::keys::Random;
use crate::options::Load;
use crate::wire::Transacted;

/// Kubernetes attaches one lease to this many objects before it asks for another.
pub(super) const OBJECTS_PER_LEASE: u64 = 1000;

/// `--event-ttl` of one hour and the part for which the lease is reused, in seconds.
const EVENT_LEASE_TTL: i64 = 3660;

/// Every stored object begins so.
const MAGIC: &[u8] = b"k8s\0";

/// Percent of writes to existing objects that delete.
const DELETES: u64 = 5;

/// Name, share of objects and of writes in percent, smallest and largest size
/// in bytes. Node leases are most of the writes of a quiet cluster, pods most
/// of the bytes; events are only ever created, under a lease.
const RESOURCES: [(&str, u64, u64, u64, u64, bool); 7] = [
    ("leases/kube-node-lease", 10, 40, 200, 400, false),
    ("pods", 45, 25, 2_000, 20_000, false),
    ("events", 1, 15, 500, 1_000, true),
    ("minions", 4, 5, 10_000, 30_000, false),
    (
        "discovery.k8s.io/endpointslices",
        10,
        5,
        1_000,
        100_000,
        false,
    ),
    ("configmaps", 15, 3, 500, 50_000, false),
    ("example.com/widgets", 15, 7, 1_000, 10_000, false),
];

/// What is done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Action {
    /// Reads the object.
    #[default]
    Get,
    /// Reads the key of the resource itself, for the store's revision.
    Current,
    Create,
    Update,
    /// An update with a revision that is not the last.
    Stale,
    Delete,
}

impl Action {
    pub(super) fn reads(self) -> bool {
        matches!(self, Self::Get | Self::Current)
    }
}

/// One request: what, on which object, and its revision.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Write {
    pub(super) action: Action,
    pub(super) resource: usize,
    pub(super) object: usize,
    pub(super) revision: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Object {
    /// Last mod revision; 0 while it does not exist.
    revision: i64,
    /// A request for it is outstanding.
    busy: bool,
}

/// The objects of one resource.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) prefix: Vec<u8>,
    pub(super) leased: bool,
    /// Writes that succeeded, and so the events that every watch must get.
    pub(super) written: u64,
    share: u64,
    low: u64,
    high: u64,
    objects: Vec<Object>,
    created: usize,
}

impl Resource {
    pub(super) fn count(&self) -> u64 {
        self.objects.len() as u64
    }

    pub(super) fn key(&self, object: usize, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(format!("namespace-{}/object-{object:06}", object % 10).as_bytes());
    }

    pub(super) fn size(&self, random: &mut Random) -> usize {
        random.log_between(self.low, self.high) as usize
    }

    /// Takes in the answer to a transaction and checks it against what is known.
    pub(super) fn answered(&mut self, write: Write, answer: &Transacted<'_>) -> Result<(), String> {
        let object = &mut self.objects[write.object];
        let due = write.action != Action::Stale;
        if answer.succeeded {
            self.written += 1;
            object.revision = if write.action == Action::Delete {
                0
            } else {
                answer.revision
            };
        } else {
            let found = answer.found.map_or(0, |kv| kv.mod_revision);
            if write.action != Action::Create && found != object.revision {
                return Err(format!(
                    "a conflict shows revision {found}, the last write was {}",
                    object.revision
                ));
            }
        }
        if answer.succeeded == due {
            return Ok(());
        }
        Err(format!(
            "{:?} at revision {}: succeeded is {}",
            write.action, write.revision, answer.succeeded
        ))
    }

    pub(super) fn release(&mut self, write: Write) {
        if write.action != Action::Current {
            self.objects[write.object].busy = false;
        }
    }
}

/// The resources, with `--keys` objects in all.
pub(super) fn resources(load: &Load) -> Vec<Resource> {
    let make =
        |(name, objects, share, low, high, leased): (&str, u64, u64, u64, u64, bool)| Resource {
            prefix: format!("{}{name}/", load.prefix).into_bytes(),
            leased,
            written: 0,
            share,
            low,
            high,
            objects: vec![Object::default(); (load.keys * objects / 100).max(1) as usize],
            created: 0,
        };
    RESOURCES.into_iter().map(make).collect()
}

/// The creation of the next object that does not exist yet.
pub(super) fn fill(resources: &mut [Resource]) -> Option<Write> {
    let resource = resources
        .iter()
        .position(|resource| resource.created < resource.objects.len())?;
    let object = resources[resource].created;
    resources[resource].created += 1;
    resources[resource].objects[object].busy = true;
    Some(Write {
        action: Action::Create,
        resource,
        object,
        revision: 0,
    })
}

/// The next request of a running cluster; nothing while the object that was
/// chosen and all its neighbours are busy.
pub(super) fn choose(
    resources: &mut [Resource],
    random: &mut Random,
    cluster: &Cluster,
) -> Option<Write> {
    let reads = random.below(100) < cluster.gets;
    let mut mark = random.below(100);
    let share = |resource: &Resource| {
        let within = mark < resource.share;
        mark = mark.saturating_sub(resource.share);
        within
    };
    let index = resources.iter().position(share).unwrap_or(0);
    let resource = &mut resources[index];
    if reads && random.below(2) == 0 {
        return Some(Write {
            action: Action::Current,
            resource: index,
            object: 0,
            revision: 0,
        });
    }
    if resource.leased && !reads {
        resource.objects.push(Object {
            revision: 0,
            busy: true,
        });
        let object = resource.objects.len() - 1;
        return Some(Write {
            action: Action::Create,
            resource: index,
            object,
            revision: 0,
        });
    }
    let count = resource.objects.len();
    let first = random.below(count as u64) as usize;
    let object = (0..count)
        .map(|step| (first + step) % count)
        .find(|&at| !resource.objects[at].busy)?;
    let state = &mut resource.objects[object];
    state.busy = true;
    let revision = state.revision;
    let (action, revision) = match revision {
        _ if reads => (Action::Get, revision),
        0 => (Action::Create, 0),
        _ if random.below(100) < cluster.conflicts => (Action::Stale, revision - 1),
        _ if random.below(100) < DELETES => (Action::Delete, revision),
        _ => (Action::Update, revision),
    };
    Some(Write {
        action,
        resource: index,
        object,
        revision,
    })
}

/// Writes a stored object that has the number of its write.
pub(super) fn value(number: u64, noise: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&noise[(MAGIC.len() + 8).min(noise.len())..]);
}

/// The number that [`value`] wrote.
pub(super) fn number(value: &[u8]) -> Option<u64> {
    value
        .strip_prefix(MAGIC)?
        .first_chunk()
        .map(|head| u64::from_le_bytes(*head))
}

/// A `LeaseGrantRequest` for events.
pub(super) fn grant(out: &mut Vec<u8>) {
    let request = proto::etcdserverpb::LeaseGrantRequest {
        ttl: EVENT_LEASE_TTL,
        id: 0,
    };
    out.extend_from_slice(&request.encode_to_vec());
}
