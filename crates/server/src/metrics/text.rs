//! Families as text, with every number as Go prints a float: what compares a bound or a value as
//! text, relabelling rules above all, finds what it finds on etcd.

use std::fmt::{self, Write as _};

use prometheus::proto::{Metric, MetricFamily, MetricType};

/// A number as Go's shortest `%g` has it: with an exponent from a million on, and below a ten
/// thousandth.
pub(super) struct GoFloat(pub(super) f64);

impl fmt::Display for GoFloat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if value.is_infinite() {
            return f.write_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        }
        let shortest = format!("{value:e}");
        let exponent = shortest.split_once('e');
        let exponent =
            exponent.and_then(|(digits, exponent)| Some((digits, exponent.parse::<i32>().ok()?)));
        match exponent {
            Some((digits, exponent)) if !(-4..6).contains(&exponent) => {
                let sign = if exponent < 0 { '-' } else { '+' };
                write!(f, "{digits}e{sign}{:02}", exponent.unsigned_abs())
            }
            _ => write!(f, "{value}"),
        }
    }
}

/// Appends a family.
pub(super) fn write(out: &mut String, family: &MetricFamily) {
    let (name, kind) = (family.name(), family.get_field_type());
    let help = family.help().replace('\\', r"\\").replace('\n', r"\n");
    let kind_name = match kind {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY => "summary",
        MetricType::UNTYPED => "untyped",
    };
    // Writing into a string cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind_name}");
    for metric in family.get_metric() {
        match kind {
            MetricType::COUNTER => sample(
                out,
                (name, ""),
                metric,
                None,
                metric.get_counter().get_value(),
            ),
            MetricType::HISTOGRAM => histogram(out, name, metric),
            _ => sample(
                out,
                (name, ""),
                metric,
                None,
                metric.get_gauge().get_value(),
            ),
        }
    }
}

fn histogram(out: &mut String, name: &str, metric: &Metric) {
    let histogram = metric.get_histogram();
    let count = histogram.get_sample_count() as f64;
    let bucket = (name, "_bucket");
    for at in histogram.get_bucket() {
        let below = at.cumulative_count() as f64;
        sample(out, bucket, metric, Some(at.upper_bound()), below);
    }
    sample(out, bucket, metric, Some(f64::INFINITY), count);
    sample(
        out,
        (name, "_sum"),
        metric,
        None,
        histogram.get_sample_sum(),
    );
    sample(out, (name, "_count"), metric, None, count);
}

fn sample(
    out: &mut String,
    (name, of): (&str, &str),
    metric: &Metric,
    bound: Option<f64>,
    value: f64,
) {
    let _ = write!(out, "{name}{of}");
    let mut before = '{';
    for label in metric.get_label() {
        let text = label.value();
        let _ = write!(out, "{before}{}=\"", label.name());
        for part in text.chars() {
            match part {
                '\\' => out.push_str(r"\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str(r"\n"),
                part => out.push(part),
            }
        }
        out.push('"');
        before = ',';
    }
    if let Some(bound) = bound {
        let _ = write!(out, "{before}le=\"{}\"", GoFloat(bound));
        before = ',';
    }
    if before == ',' {
        out.push('}');
    }
    let _ = writeln!(out, " {}", GoFloat(value));
}

#[cfg(test)]
mod tests {
    use super::GoFloat;

    #[test]
    fn numbers_are_go_s() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-17.0, "-17"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (1_048_576.0, "1.048576e+06"),
            (1.844_674_407_370_955_2e19, "1.8446744073709552e+19"),
            (0.000_1, "0.0001"),
            (6.793_1e-5, "6.7931e-05"),
            (1e100, "1e+100"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(GoFloat(value).to_string(), text);
        }
    }
}
