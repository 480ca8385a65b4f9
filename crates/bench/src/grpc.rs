//! Names of gRPC: the methods that are called and the status a call ends with.

/// A method of etcd's API that the generator calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// `KV.Range`
    Range,
    /// `KV.RangeStream`, since etcd 3.7
    RangeStream,
    /// `KV.Put`
    Put,
    /// `KV.DeleteRange`
    DeleteRange,
    /// `KV.Txn`
    Txn,
    /// `KV.Compact`
    Compact,
    /// `Watch.Watch`
    Watch,
    /// `Lease.LeaseGrant`
    LeaseGrant,
    /// `Maintenance.Status`
    Status,
}

impl Method {
    /// The `:path` of the call.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Range => "/etcdserverpb.KV/Range",
            Self::RangeStream => "/etcdserverpb.KV/RangeStream",
            Self::Put => "/etcdserverpb.KV/Put",
            Self::DeleteRange => "/etcdserverpb.KV/DeleteRange",
            Self::Txn => "/etcdserverpb.KV/Txn",
            Self::Compact => "/etcdserverpb.KV/Compact",
            Self::Watch => "/etcdserverpb.Watch/Watch",
            Self::LeaseGrant => "/etcdserverpb.Lease/LeaseGrant",
            Self::Status => "/etcdserverpb.Maintenance/Status",
        }
    }
}

const UNKNOWN: u32 = 2;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    /// gRPC's number; 0 is success.
    pub(crate) code: u32,
    /// The server's text, or our own where it said nothing.
    pub(crate) message: String,
}

impl Status {
    /// Whether the call succeeded.
    pub(crate) fn ok(&self) -> bool {
        self.code == 0
    }

    /// An error found on our side of the call.
    pub(crate) fn wrong(message: impl Into<String>) -> Self {
        Self {
            code: UNKNOWN,
            message: message.into(),
        }
    }

    /// The answer ended without `grpc-status`.
    pub(crate) fn missing() -> Self {
        Self {
            code: INTERNAL,
            message: "the answer ended without a status".to_owned(),
        }
    }

    /// The answer has an HTTP status that is not 200.
    pub(crate) fn from_http(status: u16) -> Self {
        let code = if matches!(status, 429 | 502..=504) {
            UNAVAILABLE
        } else {
            UNKNOWN
        };
        Self {
            code,
            message: format!("HTTP status {status}"),
        }
    }

    /// The server reset the stream; HTTP/2's codes as gRPC maps them.
    pub(crate) fn from_reset(code: u32) -> Self {
        let grpc = match code {
            7 => UNAVAILABLE,
            8 => 1,
            11 => 8,
            12 => 7,
            _ => INTERNAL,
        };
        Self {
            code: grpc,
            message: format!("the server reset the stream (HTTP/2 error {code})"),
        }
    }

    /// The text of `grpc-message`, whose bytes outside printable ASCII are percent-coded.
    pub(crate) fn unescape(value: &[u8]) -> String {
        let mut out = Vec::with_capacity(value.len());
        let mut rest = value;
        while let Some((&first, tail)) = rest.split_first() {
            let coded = tail
                .get(..2)
                .and_then(|digits| std::str::from_utf8(digits).ok());
            match coded.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(byte) if first == b'%' => {
                    out.push(byte);
                    rest = &tail[2..];
                }
                _ => {
                    out.push(first);
                    rest = tail;
                }
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    /// gRPC's name of the code.
    pub(crate) fn name(&self) -> &'static str {
        let name = proto::codes::NAMES.get(self.code as usize);
        name.copied().unwrap_or("Unknown")
    }
}
