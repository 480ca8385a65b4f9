//! A message that is read by etcd's rules.

use bytes::Bytes;

use super::fields::{Fields, Malformed};

/// A message that is read by etcd's rules.
pub trait Read: Default {
    /// Reads a whole message.
    ///
    /// # Errors
    /// etcd could not read it either.
    fn read(data: &Bytes) -> Result<Self, Malformed> {
        let mut message = Self::default();
        message.fill(Fields::new(data))?;
        Ok(message)
    }

    /// Reads a message that etcd uses as it came. Most requests it writes anew, into
    /// the log, and an end of a range that is there but empty is lost on the way.
    ///
    /// # Errors
    /// etcd could not read it either.
    fn read_used(data: &Bytes) -> Result<Self, Malformed> {
        let mut message = Self::default();
        message.fill(Fields::new(data).used())?;
        Ok(message)
    }

    /// Reads fields into what is there: scalars are replaced, lists grow.
    #[doc(hidden)]
    fn fill(&mut self, from: Fields<'_>) -> Result<(), Malformed>;
}
