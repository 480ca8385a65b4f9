//! What each failpoint is set to.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    Point,
    terms::{Action, Terms},
};

static TABLE: Mutex<[Option<Terms>; Point::ALL.len()]> =
    Mutex::new([const { None }; Point::ALL.len()]);
/// How many are set: where none is, a failpoint costs no lock.
static SET: AtomicUsize = AtomicUsize::new(0);
/// Held by the listener until it has answered, and by a crash: one that a request sets off must
/// not take its answer with it.
static ANSWERING: Mutex<()> = Mutex::new(());

/// The exit code of a Go program that panicked.
const PANICKED: i32 = 2;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reaches a failpoint: crashes, waits, or returns the text of the error to fail with.
pub fn hit(point: Point) -> Option<String> {
    if SET.load(Ordering::Acquire) == 0 {
        return None;
    }
    let action = lock(&TABLE)[point as usize].as_mut().map(Terms::next)?;
    match action {
        Action::Off => None,
        Action::Return(text) => Some(text),
        Action::Sleep(pause) => {
            thread::sleep(pause);
            None
        }
        Action::Print => {
            eprintln!("failpoint print: {}", point.name());
            None
        }
        Action::Panic => {
            let _answered = lock(&ANSWERING);
            eprintln!("panic: failpoint panic: {}", point.name());
            // Not a panic: one would end its thread alone, and unwind.
            std::process::exit(PANICKED);
        }
    }
}

/// No failpoint crashes the process until this is dropped.
pub(crate) fn answering() -> MutexGuard<'static, ()> {
    lock(&ANSWERING)
}

pub(crate) fn find(name: &str) -> Option<Point> {
    let mut all = Point::ALL.iter().copied();
    all.find(|point| point.name() == name)
}

/// Sets a failpoint, or with `None` switches it off. True if it was set before.
pub(crate) fn set(point: Point, terms: Option<Terms>) -> bool {
    let mut table = lock(&TABLE);
    let before = std::mem::replace(&mut table[point as usize], terms);
    let count = table.iter().flatten().count();
    SET.store(count, Ordering::Release);
    before.is_some()
}

/// What a failpoint is set to, and how often it did something; `None` if it is off.
pub(crate) fn status(point: Point) -> Option<(String, u64)> {
    let table = lock(&TABLE);
    let terms = table[point as usize].as_ref()?;
    Some((terms.text().to_owned(), terms.executed()))
}
