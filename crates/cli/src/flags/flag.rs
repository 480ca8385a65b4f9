//! A flag as data.

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// After the dashes.
    pub name: &'static str,
    /// After one dash.
    pub short: Option<char>,
    /// What it takes.
    pub kind: Kind,
    /// Which values of that kind.
    pub values: Values,
    /// The default as it would be typed.
    pub default: &'static str,
    /// Whether its command does not run without it.
    pub required: bool,
    /// One line for the help page.
    pub help: &'static str,
}

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, or `=true`, `=false`.
    Bool,
    /// An `i64`; the prefix (`0x`) says the base.
    Int,
    /// A `u64`; the prefix says the base.
    Uint,
    /// An `f64`.
    Float,
    /// Anything.
    Text,
    /// Separated by commas; given twice, it adds up.
    List,
    /// One text each time it is given; commas are part of it.
    Array,
    /// As Go writes them: `1m30s`.
    Duration,
}

/// Which values of its kind a flag takes.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// All of them.
    Any,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Those for which this says nothing.
    Checked(fn(&str) -> Result<(), String>),
}

impl Flag {
    /// A flag with a value.
    pub const fn new(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            short: None,
            kind,
            values: Values::Any,
            default,
            required: false,
            help,
        }
    }

    /// A flag that is on or off, and off by default.
    pub const fn switch(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Bool, "false", help)
    }

    /// The same flag with a short form.
    #[must_use]
    pub const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    /// The same flag, which now must be given.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The same flag for fewer values.
    #[must_use]
    pub const fn values(mut self, values: Values) -> Self {
        self.values = values;
        self
    }
}

/// The name under which [`Parsed`](super::Parsed) reports `--help` and `-h`.
pub const HELP: &str = "help";
