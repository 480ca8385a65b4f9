//! Buckets cover every value once, and quantiles stay within the promised error.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn a_value_is_within_its_bucket(value in any::<u64>(), shift in 0u32..64) {
        let value = value >> shift;
        let index = bucket(value);
        prop_assert!(index < BUCKETS);
        prop_assert!(value <= highest(index));
        prop_assert!(index == 0 || value > highest(index - 1));
        prop_assert!((highest(index) - value) as f64 <= value as f64 / 127.0);
    }

    #[test]
    fn quantiles_agree_with_a_sorted_list(mut values in proptest::collection::vec(0u64..10_000_000, 1..300)) {
        let mut histogram = Histogram::default();
        for &value in &values {
            histogram.record(Duration::from_nanos(value));
        }
        values.sort_unstable();
        for quantile in [0.5, 0.9, 0.99, 0.999, 1.0] {
            let rank = ((quantile * values.len() as f64).ceil() as usize).max(1);
            let exact = values[rank - 1];
            let told = histogram.quantile(quantile).as_nanos() as u64;
            prop_assert!(told >= exact && (told - exact) as f64 <= exact as f64 / 127.0);
        }
        prop_assert_eq!(histogram.max().as_nanos() as u64, *values.last().unwrap());
    }
}

#[test]
fn an_empty_set_tells_zero() {
    let histogram = Histogram::default();
    assert_eq!(histogram.quantile(0.99), Duration::ZERO);
    assert_eq!(histogram.bars(), "");
}

#[test]
fn bars_count_every_value() {
    let mut histogram = Histogram::default();
    for micros in [3u64, 3, 900] {
        histogram.record(Duration::from_micros(micros));
    }
    let bars = histogram.bars();
    assert_eq!(bars.lines().count(), 2, "{bars}");
    assert!(
        bars.contains("66.67 %") && bars.contains("33.33 %"),
        "{bars}"
    );
}
