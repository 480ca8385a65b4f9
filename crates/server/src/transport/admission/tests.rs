use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::{Seat, Seats};

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

async fn seated(seats: &Arc<Seats>, count: usize) -> Vec<Seat> {
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(seats.take().await);
    }
    taken
}

#[tokio::test]
async fn the_oldest_silent_connection_makes_room() {
    let seats = Arc::new(Seats::new(3));
    let mut taken = seated(&seats, 3).await;
    let mut leaving: Vec<_> = taken
        .iter_mut()
        .map(|seat| Box::pin(seat.must_leave()))
        .collect();
    // The oldest has sent a request: the next one goes.
    taken[0].keep();
    let mut newcomer = pin!(seats.take());
    assert!(poll(newcomer.as_mut()).is_pending());
    let asked: Vec<bool> = leaving
        .iter_mut()
        .map(|leave| poll(leave.as_mut()).is_ready())
        .collect();
    assert_eq!(asked, [false, true, false]);
    drop(taken.remove(1));
    assert!(poll(newcomer.as_mut()).is_ready());
    assert_eq!(seats.sent_away(), 1);
}

#[tokio::test]
async fn a_newcomer_waits_where_all_have_sent_requests() {
    let seats = Arc::new(Seats::new(2));
    let mut taken = seated(&seats, 2).await;
    taken.iter().for_each(Seat::keep);
    let mut newcomer = pin!(seats.take());
    assert!(poll(newcomer.as_mut()).is_pending());
    assert_eq!((seats.taken(), seats.sent_away()), (2, 0));
    drop(taken.pop());
    assert!(poll(newcomer.as_mut()).is_ready());
}

#[tokio::test]
async fn every_seat_comes_back() {
    let seats = Arc::new(Seats::new(4));
    for _ in 0..100 {
        drop(seated(&seats, 4).await);
    }
    assert_eq!(seats.taken(), 0);
    assert!(seats.silent.lock().is_empty());
}
