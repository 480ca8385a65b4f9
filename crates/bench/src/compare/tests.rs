//! Ratios, medians and the choice of rows, without a server.

use super::*;

fn target(name: &str) -> Target {
    Target {
        name: name.into(),
        how: Reach::Running(String::new()),
    }
}

#[test]
fn cells_hold_the_median_and_the_ratio_to_the_first() {
    let mut rows = rows::table(1.0);
    rows.retain(|row| row.id == "put-256");
    let mut results = Results::default();
    results
        .values
        .insert((0, Metric::ServerCpu, 0), vec![60.0, 50.0, 90.0]);
    results
        .values
        .insert((0, Metric::ServerCpu, 1), vec![15.0, 45.0]);
    results.values.insert((0, Metric::PerSecond, 1), vec![7.0]);
    let targets = [target("etcd"), target("pintle")];
    let cells = cells(&rows, &targets, &results);
    let told: Vec<(&str, &str, f64, Option<f64>)> = cells
        .iter()
        .map(|cell| (cell.metric, cell.target.as_str(), cell.median, cell.ratio))
        .collect();
    assert_eq!(
        told,
        [
            ("server CPU", "etcd", 60.0, None),
            ("server CPU", "pintle", 30.0, Some(0.5)),
            ("per second", "pintle", 7.0, None),
        ]
    );
    let text = table(&rows, &targets, &results, &cells);
    assert!(text.contains("60.00 us [50.00 us to 90.00 us]"), "{text}");
    assert!(text.contains("0.50"), "{text}");
}

#[test]
fn every_row_passes_the_check_of_its_flags() {
    for scale in [0.001, 1.0] {
        for row in rows::table(scale) {
            assert_eq!(
                Load {
                    endpoints: vec!["x".into()],
                    ..row.load.clone()
                }
                .check(),
                Ok(()),
                "{}",
                row.id
            );
        }
    }
}
