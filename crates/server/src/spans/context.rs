//! Which trace a span belongs to.

/// A span of a trace, as the next below it needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
    pub(super) is_sampled: bool,
}

/// Spans to record, per million.
const MILLION: u64 = 1_000_000;

impl Context {
    /// Reads a `traceparent` (W3C Trace Context, 3.2): version, trace, span and flags. `None` for
    /// what is none; then the call begins a trace.
    pub fn parse(header: &str) -> Option<Context> {
        let mut parts = header.split('-');
        let version = hex::<1>(parts.next()?)?;
        let (trace, span) = (hex::<16>(parts.next()?)?, hex::<8>(parts.next()?)?);
        let flags = hex::<1>(parts.next()?)?;
        let is_over = parts.next().is_none();
        // Later versions may say more.
        let is_known = version[0] != 0xff && (version[0] != 0 || is_over && flags[0] <= 3);
        let is_there = trace != [0; 16] && span != [0; 8];
        (is_known && is_there).then_some(Context {
            trace,
            span,
            is_sampled: flags[0] & 1 != 0,
        })
    }

    /// A new trace, recorded at this rate per million. The choice depends on the trace alone, so
    /// that all who see it choose alike.
    pub(super) fn begin(rate: u64) -> Context {
        let trace: [u8; 16] = rand::random();
        let mut low = [0; 8];
        low.copy_from_slice(&trace[8..]);
        let number = u128::from(u64::from_be_bytes(low) >> 1);
        Context {
            trace,
            span: [0; 8],
            is_sampled: number * u128::from(MILLION) < u128::from(rate) << 63,
        }
    }

    /// A span below this one.
    pub(super) fn child(self) -> Context {
        Context {
            span: rand::random(),
            ..self
        }
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let is_lower = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != 2 * N || !digits.iter().all(is_lower) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_or_begins_nothing() {
        let context = Context::parse(GOOD).expect("good");
        assert_eq!((context.trace[0], context.span[7]), (0x4b, 0xb7));
        assert!(context.is_sampled);
        assert!(
            !Context::parse(&GOOD.replace("-01", "-00"))
                .expect("good")
                .is_sampled
        );
        assert!(
            Context::parse(&GOOD.replacen("00-", "cc-", 1).replace("-01", "-01-more")).is_some()
        );
        for bad in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD[..54],
            &format!("{GOOD}-more"),
            &GOOD.replacen("00-", "ff-", 1),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(Context::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_rate_decides_about_new_traces() {
        let sampled = |rate| {
            (0..1000)
                .filter(|_| Context::begin(rate).is_sampled)
                .count()
        };
        assert_eq!((sampled(0), sampled(MILLION)), (0, 1000));
        assert!((300..700).contains(&sampled(MILLION / 2)));
    }
}
