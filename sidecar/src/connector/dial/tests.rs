//! Real sockets on loopback, and names that lead where a test wants.

use std::net::TcpListener;
use std::sync::Mutex;
use std::time::Instant;

use super::*;

/// Names that lead to what stands in `places`.
fn names(places: &Arc<Mutex<Vec<&'static str>>>) -> Arc<Names> {
    let places = places.clone();
    Arc::new(Names::new(Box::new(move |_| {
        let now = places.lock().expect("nobody panicked").clone();
        Box::pin(async move { Ok(now.iter().map(|ip| SocketAddr::new(ip.parse().expect("an address"), 0)).collect()) })
    })))
}

/// Servers at the same port of each of these addresses.
fn listen(ips: &[&str]) -> (Vec<TcpListener>, u16) {
    let first = TcpListener::bind((ips[0], 0)).expect("a port is free");
    let port = first.local_addr().expect("bound").port();
    let others = ips[1..].iter().map(|ip| TcpListener::bind((*ip, port)).expect("the port is free there, too"));
    (std::iter::once(first).chain(others).collect(), port)
}

/// A server at this address and port that does not answer: its queue is full.
fn deaf(ip: &str, port: u16) -> (socket2::Socket, Vec<std::net::TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let address = SocketAddr::new(ip.parse().expect("an address"), port);
    socket.bind(&address.into()).expect("the port is free there, too");
    socket.listen(0).expect("it listens");
    let attempt = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok();
    let queued = std::iter::from_fn(attempt).collect();
    (socket, queued)
}

async fn peer(names: &Arc<Names>, port: u16) -> (String, Duration) {
    let begun = Instant::now();
    let stream = dial(names, "the.server", port).await.expect("it connects");
    (stream.peer_addr().expect("it is connected").ip().to_string(), begun.elapsed())
}

#[tokio::test]
async fn an_address_that_refuses_costs_no_time() {
    let (_servers, port) = listen(&["127.0.0.3"]);
    let names = names(&Arc::new(Mutex::new(vec!["127.0.0.1", "127.0.0.2", "127.0.0.3"])));
    let (peer, time) = peer(&names, port).await;
    assert_eq!(peer, "127.0.0.3");
    assert!(time < NEXT_AFTER, "{time:?}");
}

#[tokio::test]
async fn an_address_that_does_not_answer_costs_one_delay() {
    let (_servers, port) = listen(&["127.0.0.3"]);
    let _deaf = deaf("127.0.0.2", port);
    let names = names(&Arc::new(Mutex::new(vec!["127.0.0.2", "127.0.0.3"])));
    let (peer, time) = peer(&names, port).await;
    assert_eq!(peer, "127.0.0.3");
    assert!((NEXT_AFTER..2 * NEXT_AFTER).contains(&time), "{time:?}");
}

#[tokio::test]
async fn a_server_that_has_moved_is_found_where_it_is_now() {
    let places = Arc::new(Mutex::new(vec!["127.0.0.2"]));
    let names = names(&places);
    let (servers, port) = listen(&["127.0.0.2"]);
    assert_eq!(peer(&names, port).await.0, "127.0.0.2");
    drop(servers);
    *places.lock().expect("nobody panicked") = vec!["127.0.0.3"];
    let _new = TcpListener::bind(("127.0.0.3", port)).expect("the port is free there, too");
    let (now, time) = peer(&names, port).await;
    assert_eq!(now, "127.0.0.3", "the old address refuses");
    assert!(time < NEXT_AFTER, "{time:?}");

    *places.lock().expect("nobody panicked") = vec!["127.0.0.4"];
    drop(_new);
    let _deaf = deaf("127.0.0.3", port);
    let _newest = TcpListener::bind(("127.0.0.4", port)).expect("the port is free there, too");
    let (now, time) = peer(&names, port).await;
    assert_eq!(now, "127.0.0.4", "the old address is silent");
    assert!((DOUBT_AFTER..2 * DOUBT_AFTER).contains(&time), "{time:?}");
}

#[tokio::test]
async fn when_no_address_answers_the_reason_is_the_servers_own() {
    let names = names(&Arc::new(Mutex::new(vec!["127.0.0.2"])));
    let (servers, port) = listen(&["127.0.0.2"]);
    peer(&names, port).await;
    drop(servers);
    for _ in 0..2 {
        let error = dial(&names, "the.server", port).await.expect_err("nobody is there");
        let expected = format!("cannot reach the.server:{port}: Connection refused");
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}

#[test]
fn the_kinds_of_addresses_take_turns() {
    let addresses = |ips: &[&str]| -> Vec<SocketAddr> {
        ips.iter().map(|ip| SocketAddr::new(ip.parse().expect("an address"), 0)).collect()
    };
    for (given, expected) in [
        (&["::1", "::2", "::3", "192.0.2.1"][..], &["::1", "192.0.2.1", "::2", "::3"][..]),
        (&["192.0.2.1", "::1", "::2", "::3"], &["192.0.2.1", "::1", "::2", "::3"]),
        (&["192.0.2.1", "192.0.2.2"], &["192.0.2.1", "192.0.2.2"]),
        (&[], &[]),
    ] {
        assert_eq!(in_turns(&addresses(given)), addresses(expected));
    }
}
