//! Domains in URIs and constraints.

/// Whether Go takes it for a domain; `as_constraint` allows a dot in front.
pub(super) fn is_domain(text: &str, as_constraint: bool) -> bool {
    let body = match text.strip_prefix('.') {
        Some(rest) if as_constraint => rest,
        _ => text,
    };
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| (33..=126).contains(&b));
    text.is_empty() || body.split('.').all(is_label)
}
