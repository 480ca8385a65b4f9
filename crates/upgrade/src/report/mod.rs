//! One report, three forms: for people, for programs, as a page of its own.

mod context;
mod html;
mod json;
mod summary;
mod text;

pub use context::Context;
pub use html::html;
pub use json::{join, json};
pub use text::text;
