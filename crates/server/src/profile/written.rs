//! A profile as it is written: texts, functions and locations once each.

use std::{
    collections::HashMap,
    io::Write as _,
    time::{Duration, SystemTime},
};

use flate2::{Compression, write::GzEncoder};
use prost::Message as _;
use proto::profilepb::{Function, Label, Line, Location, Profile, Sample, ValueType};

/// A function of a stack, and the line in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) function: String,
    pub(super) file: String,
    pub(super) line: i64,
}

/// A profile that grows.
pub(super) struct Written {
    profile: Profile,
    texts: HashMap<String, i64>,
    functions: HashMap<(String, String), u64>,
    locations: HashMap<Vec<Place>, u64>,
}

impl Written {
    /// A profile whose samples have these values: kind and unit.
    pub(super) fn new(values: &[(&str, &str)], now: SystemTime) -> Written {
        let mut written = Written {
            profile: Profile::default(),
            texts: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
        };
        written.text("");
        for (kind, unit) in values {
            let kind = written.value_type(kind, unit);
            written.profile.sample_type.push(kind);
        }
        let since = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        written.profile.time_nanos = nanoseconds(since);
        written
    }

    /// That it was sampled for so long, every `period`.
    pub(super) fn sampled(&mut self, took: Duration, (kind, unit): (&str, &str), period: Duration) {
        self.profile.duration_nanos = nanoseconds(took);
        self.profile.period_type = Some(self.value_type(kind, unit));
        self.profile.period = nanoseconds(period);
    }

    pub(super) fn comment(&mut self, text: &str) {
        let text = self.text(text);
        self.profile.comment.push(text);
    }

    /// Adds a sample: frames from the innermost on, each with what is inlined into it, the
    /// innermost first.
    pub(super) fn sample(&mut self, frames: Vec<Vec<Place>>, values: &[i64], thread: &str) {
        let locations = frames
            .into_iter()
            .map(|frame| self.location(frame))
            .collect();
        let label = Label {
            key: self.text("thread"),
            str: self.text(thread),
        };
        self.profile.sample.push(Sample {
            location_id: locations,
            value: values.to_vec(),
            label: vec![label],
        });
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> ValueType {
        ValueType {
            r#type: self.text(kind),
            unit: self.text(unit),
        }
    }

    fn text(&mut self, text: &str) -> i64 {
        if let Some(at) = self.texts.get(text) {
            return *at;
        }
        let at = self.profile.string_table.len() as i64;
        self.profile.string_table.push(text.to_owned());
        self.texts.insert(text.to_owned(), at);
        at
    }

    fn function(&mut self, place: &Place) -> u64 {
        let known = (place.function.clone(), place.file.clone());
        if let Some(id) = self.functions.get(&known) {
            return *id;
        }
        let id = self.profile.function.len() as u64 + 1;
        let (name, filename) = (self.text(&place.function), self.text(&place.file));
        self.profile.function.push(Function {
            id,
            name,
            system_name: name,
            filename,
            start_line: 0,
        });
        self.functions.insert(known, id);
        id
    }

    fn location(&mut self, frame: Vec<Place>) -> u64 {
        if let Some(id) = self.locations.get(&frame) {
            return *id;
        }
        let id = self.profile.location.len() as u64 + 1;
        let line = frame
            .iter()
            .map(|place| Line {
                function_id: self.function(place),
                line: place.line,
            })
            .collect();
        // There is no mapping: every function has its name already.
        self.profile.location.push(Location {
            id,
            line,
            ..Location::default()
        });
        self.locations.insert(frame, id);
        id
    }

    /// Its bytes, compressed as pprof wants them.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        // Memory takes whatever is written.
        let _ = gzip.write_all(&self.profile.encode_to_vec());
        gzip.finish().unwrap_or_default()
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
