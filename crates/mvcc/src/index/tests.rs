use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// All steps of all keys, naively, and the create revision of every put.
#[derive(Default)]
struct Model(BTreeMap<Vec<u8>, Vec<Step>>, BTreeMap<Revision, i64>);

impl Model {
    fn at(&self, key: &[u8], main: i64) -> Option<Revision> {
        let steps = self.0.get(key)?;
        let step = steps.iter().rev().find(|s| s.revision.main <= main)?;
        (!step.tombstone).then_some(step.revision)
    }

    fn range(&self, span: Span<'_>, main: i64) -> Vec<Revision> {
        let inside = |key: &[u8]| key >= span.from && span.to.is_none_or(|to| key < to);
        let keys = self.0.keys().filter(|key| inside(key));
        keys.filter_map(|key| self.at(key, main)).collect()
    }

    /// The rule of docs/design/store.md, by generations.
    fn compact(&mut self, main: i64) -> (Vec<Step>, bool) {
        let (mut dropped, mut keeps) = (vec![], false);
        for steps in self.0.values_mut() {
            let mut generations: Vec<Vec<Step>> = vec![vec![]];
            for &step in steps.iter() {
                generations.last_mut().expect("one at least").push(step);
                if step.tombstone {
                    generations.push(vec![]);
                }
            }
            let last = generations.len() - 1;
            let chosen = generations[..last]
                .iter()
                .position(|g| g.last().expect("closed").revision.main >= main)
                .unwrap_or(last);
            let generation = &generations[chosen];
            let keep = generation.iter().rposition(|s| s.revision.main <= main);
            keeps |= keep.is_some();
            let before: usize = generations[..chosen].iter().map(Vec::len).sum();
            let cut = before + keep.unwrap_or(0);
            dropped.extend(steps.drain(..cut));
        }
        self.0.retain(|_, steps| !steps.is_empty());
        dropped.sort_unstable();
        (dropped, keeps)
    }
}

#[derive(Clone, Debug)]
enum Op {
    Put(u16),
    Delete(u16),
    Compact(u8),
}

/// Keys that share beginnings of many lengths, end early, or hold zeros.
fn key(n: u16) -> Vec<u8> {
    let mut key = b"/registry/".to_vec();
    match n % 4 {
        0 => key.extend(format!("pods/{:04}", n / 4).bytes()),
        1 => key.extend(format!("pods/{:04}/x", n / 4).bytes()),
        2 => key.extend((n / 4).to_be_bytes()),
        _ => key = vec![(n / 4) as u8; usize::from(n / 4 % 20)],
    }
    key
}

fn check(index: &Index, model: &Model, current: i64, compacted: i64, span: Span<'_>) {
    let mut live = vec![];
    index.visit_live(span, |_, entry| {
        live.push(entry.newest().revision);
        true
    });
    assert_eq!(live, model.range(span, current));
    assert_eq!(index.count(span), live.len());
    for main in compacted.max(0)..=current {
        let want = model.range(span, main);
        assert_eq!(index.count_at(span, main), want.len(), "count at {main}");
        let mut got = vec![];
        index.visit_at(span, main, |revision| {
            got.push(revision);
            true
        });
        assert_eq!(got, want, "range at {main}");
    }
}

fn apply(index: &mut Index, model: &mut Model, n: u16, main: i64, put: bool) {
    let key = key(n);
    let revision = Revision::new(main, 0);
    let id = index.find(&key);
    let live = id.is_some_and(|id| index.entry(id).is_live());
    assert_eq!(live, model.at(&key, main).is_some());
    let step = Step {
        revision,
        tombstone: !put,
    };
    if put {
        let created = match id {
            Some(id) if live => index.entry(id).created(),
            _ => main,
        };
        index.put(&key, id, revision, created, 1, false);
        model.1.insert(revision, created);
    } else if live {
        index.tombstone(id.expect("live"), revision);
    } else {
        return;
    }
    model.0.entry(key).or_default().push(step);
}

fn rebuild(model: &Model) -> Index {
    let mut all: Vec<(Step, &[u8])> = model
        .0
        .iter()
        .flat_map(|(key, steps)| steps.iter().map(|s| (*s, &key[..])))
        .collect();
    all.sort_unstable();
    let mut builder = Builder::new(10);
    for (step, key) in all {
        let created = model.1.get(&step.revision).copied().unwrap_or(0);
        builder
            .push(key, step, created, 1, false)
            .expect("ascending");
    }
    builder.finish()
}

fn compact_all(index: &mut Index, main: i64, chunk: usize) -> (Vec<Step>, bool) {
    let (mut dropped, mut keeps) = (vec![], false);
    let mut from = Some(Box::default());
    while let Some(key) = from {
        let (ids, next) = index.some_entries(&key, chunk);
        keeps |= index.compact(&ids, main, &mut dropped);
        from = next;
    }
    dropped.sort_unstable();
    (dropped, keeps)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_naive_model(
        keys in prop_oneof![Just(6u16), Just(300), Just(2000)],
        ops in proptest::collection::vec(
            prop_oneof![
                12 => any::<u16>().prop_map(Op::Put),
                6 => any::<u16>().prop_map(Op::Delete),
                1 => any::<u8>().prop_map(Op::Compact),
            ],
            1..600,
        ),
        spans in proptest::collection::vec((any::<u16>(), proptest::option::of(any::<u16>())), 1..4),
    ) {
        let (mut index, mut model) = (Index::default(), Model::default());
        let (mut main, mut compacted) = (1, -1);
        for op in ops {
            match op {
                Op::Put(n) => {
                    main += 1;
                    apply(&mut index, &mut model, n % keys, main, true);
                }
                Op::Delete(n) => {
                    main += 1;
                    apply(&mut index, &mut model, n % keys, main, false);
                }
                Op::Compact(back) => {
                    let at = main - i64::from(back % 30);
                    if at > compacted {
                        compacted = at;
                        prop_assert_eq!(
                            compact_all(&mut index, at, 1 + usize::from(back)),
                            model.compact(at)
                        );
                    }
                }
            }
        }
        prop_assert_eq!(index.len(), model.0.len());
        let everything = Span { from: b"", to: None };
        prop_assert_eq!(index.live_len(), model.range(everything, main).len());
        let old = (main - 12).max(compacted);
        for (from, to) in spans {
            let (from, to) = (key(from % keys), to.map(|to| key(to % keys)));
            let span = Span { from: &from, to: to.as_deref() };
            check(&index, &model, main, old, span);
            check(&rebuild(&model), &model, main, old, span);
        }
        check(&index, &model, main, old, everything);
    }
}

#[test]
fn many_keys_in_order_and_shuffled() {
    for shuffle in [false, true] {
        let mut order: Vec<u32> = (0..20_000).collect();
        if shuffle {
            order.sort_by_key(|n| n.wrapping_mul(0x9e37_79b9));
        }
        let mut index = Index::default();
        for (i, n) in order.iter().enumerate() {
            let key = format!("/registry/pods/{n:06}");
            index.put(
                key.as_bytes(),
                None,
                Revision::new(2 + i as i64, 0),
                1,
                1,
                false,
            );
        }
        let span = |from: &'static str, to: Option<&'static str>| Span {
            from: from.as_bytes(),
            to: to.map(str::as_bytes),
        };
        assert_eq!(index.count(span("", None)), 20_000);
        assert_eq!(
            index.count(span("/registry/pods/000100", Some("/registry/pods/0012"))),
            1100
        );
        let mut seen = 0;
        index.visit_live(span("/registry/pods/01", None), |_, entry| {
            assert_eq!(
                entry.key(),
                format!("/registry/pods/{:06}", 10_000 + seen).as_bytes()
            );
            seen += 1;
            true
        });
        assert_eq!(seen, 10_000);
        // Everything goes, in chunks, and the tree shrinks to nothing.
        for n in 0..20_000 {
            let id = index
                .find(format!("/registry/pods/{n:06}").as_bytes())
                .expect("there");
            index.tombstone(id, Revision::new(30_000, n));
        }
        assert_eq!(index.live_len(), 0);
        assert_eq!(index.count_at(span("", None), 29_999), 20_000);
        let (dropped, _) = compact_all(&mut index, 30_001, 777);
        assert_eq!(dropped.len(), 40_000);
        assert_eq!(index.len(), 0);
        assert_eq!(index.count_at(span("", None), 29_999), 0);
    }
}

#[test]
fn a_tombstone_at_the_compacted_revision_stays() {
    let mut index = Index::default();
    index.put(b"k", None, Revision::new(2, 0), 2, 1, false);
    let id = index.find(b"k").expect("put");
    index.tombstone(id, Revision::new(3, 0));
    let (dropped, keeps) = compact_all(&mut index, 3, 8);
    assert_eq!(dropped.len(), 1);
    assert!(keeps);
    assert_eq!(index.len(), 1);
    let (dropped, keeps) = compact_all(&mut index, 4, 8);
    assert_eq!(
        dropped,
        [Step {
            revision: Revision::new(3, 0),
            tombstone: true
        }]
    );
    assert!(!keeps);
    assert_eq!(index.len(), 0);
}

#[test]
fn an_entry_costs_what_the_budget_says() {
    assert_eq!(size_of::<Entry>(), 48);
}
