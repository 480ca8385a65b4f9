//! Failpoints: named places in the code where a test build can be made to crash, to wait or to
//! fail. Only a build with the feature `on` has them; in any other, [`failpoint!`] checks that the
//! name is in the list and leaves nothing behind.
//!
//! They have the names of etcd's own and are set as those are, by the protocol of gofail: initial
//! values in `GOFAIL_FAILPOINTS`, and an HTTP listener on `GOFAIL_HTTP` ([`start`]). So what tests
//! etcd at its failpoints tests Pintle at the same ones.
//!
//! | module | what it is |
//! |---|---|
//! | [`point`] | the one list |
//! | [`terms`] | what a failpoint does when it is reached, and how that is written |
//! | [`table`] | what each is set to |
//! | [`settings`] | several of these in one text |
//! | [`start`] | the settings that a process starts with |
//! | [`http`] | the listener |

#![forbid(unsafe_code)]

#[cfg(feature = "on")]
mod http;
mod point;
#[cfg(feature = "on")]
mod settings;
#[cfg(feature = "on")]
mod start;
#[cfg(feature = "on")]
mod table;
#[cfg(feature = "on")]
mod terms;
#[cfg(test)]
mod tests;

pub use point::Point;
#[cfg(feature = "on")]
pub use start::start;
#[cfg(feature = "on")]
pub use table::hit;
#[cfg(feature = "on")]
pub use terms::ParseDuration;

/// Begins to take settings, in a build that has failpoints: nothing, in this one.
///
/// # Errors
/// None here.
#[cfg(not(feature = "on"))]
pub const fn start(_: fn(&str) -> Option<std::time::Duration>) -> std::io::Result<()> {
    Ok(())
}

/// The place of a failpoint.
///
/// `failpoint!(Name)` crashes or waits there, if the failpoint is set to do so. With `if condition`
/// it is reached only where that holds; the condition is not evaluated in a build without
/// failpoints. With `, |text| action` the failpoint can be set to `return("text")` as well, and the
/// action follows.
#[cfg(feature = "on")]
#[macro_export]
macro_rules! failpoint {
    ($point:ident) => {{
        let _ = $crate::hit($crate::Point::$point);
    }};
    ($point:ident if $condition:expr) => {
        if $condition {
            let _ = $crate::hit($crate::Point::$point);
        }
    };
    ($point:ident, |$text:ident| $action:expr) => {
        if let Some($text) = $crate::hit($crate::Point::$point) {
            $action
        }
    };
}

/// The place of a failpoint: none, in this build.
#[cfg(not(feature = "on"))]
#[macro_export]
macro_rules! failpoint {
    ($point:ident $($rest:tt)*) => {{
        const _: $crate::Point = $crate::Point::$point;
    }};
}
