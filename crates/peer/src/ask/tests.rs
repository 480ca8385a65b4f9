use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{LocalSet, spawn_local},
};

use super::{LINKS_MAX, Links};
use crate::{Connect, NoTls};

/// Answers `answers` questions on one connection and hangs up.
async fn serve(mut stream: TcpStream, answers: usize) {
    let mut bytes = [0; 1024];
    for _ in 0..answers {
        // The questions of these tests come in one piece.
        if stream.read(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(answer).await.expect("written");
    }
}

const QUESTIONS: usize = 120;

/// How many connections a member sees that answers `answers` questions on each.
async fn connections(answers: usize, at_once: bool) -> usize {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let accepted = Rc::new(Cell::new(0));
    let count = accepted.clone();
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.set(count.get() + 1);
            spawn_local(serve(stream, answers));
        }
    });
    let connect: Arc<dyn Connect> = Arc::new(NoTls);
    let links = Links::default();
    let ask = async || {
        let request = Request::post("/leases")
            .body(Bytes::from_static(b"renew"))
            .expect("a request");
        let reply = links
            .call(&connect, &url, request, Duration::from_secs(5))
            .await
            .expect("an answer");
        assert_eq!((reply.status, &*reply.body), (StatusCode::OK, &b"ok"[..]));
    };
    match at_once {
        true => drop(join_all((0..QUESTIONS).map(|_| ask())).await),
        false => {
            for _ in 0..QUESTIONS {
                ask().await;
            }
        }
    }
    accepted.get()
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_serves_many_questions() {
    assert_eq!(LocalSet::new().run_until(connections(1000, false)).await, 1);
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_that_was_closed_meanwhile_is_replaced() {
    assert_eq!(LocalSet::new().run_until(connections(30, false)).await, 4);
}

#[tokio::test(flavor = "current_thread")]
async fn many_questions_at_once_share_the_connections_there_may_be() {
    let seen = LocalSet::new().run_until(connections(1000, true)).await;
    assert_eq!(seen, LINKS_MAX);
}
