//! A message that is read by etcd's rules.

use bytes::Bytes;

use super::fields::{Fields, Malformed, Rules};

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

    /// Reads a message by the rules of a line.
    ///
    /// # Errors
    /// They could not read it either.
    fn read_as(data: &Bytes, rules: Rules) -> Result<Self, Malformed> {
        let mut message = Self::default();
        message.fill(Fields::new(data).by(rules))?;
        Ok(message)
    }

    /// The same of a message that etcd uses as it came. Most requests it writes anew, into the log,
    /// and an end of a range that is there but empty is lost on the way.
    ///
    /// # Errors
    /// As [`Read::read_as`].
    fn read_used_as(data: &Bytes, rules: Rules) -> Result<Self, Malformed> {
        let mut message = Self::default();
        message.fill(Fields::new(data).by(rules).used())?;
        Ok(message)
    }

    /// Reads fields into what is there: scalars are replaced, lists grow.
    #[doc(hidden)]
    fn fill(&mut self, from: Fields<'_>) -> Result<(), Malformed>;
}
