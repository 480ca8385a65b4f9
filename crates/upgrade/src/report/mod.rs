//! One report, three forms: for people, for programs, as a page of its own.

mod html;
mod json;
mod summary;
mod text;

pub use html::html;
pub use json::json;
pub use text::text;
