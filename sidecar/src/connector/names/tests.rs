//! With a resolver that counts, and a clock that is wound forward.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::{advance, sleep};

use super::*;

/// What a resolver says, after how long.
#[derive(Clone, Copy)]
struct Says(Result<u8, &'static str>, Duration);

/// A resolver that says what is in `says`, and how often it was asked.
fn names(says: &Arc<Mutex<Says>>) -> (Arc<Names>, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let (says, count) = (says.clone(), asked.clone());
    let names = Names::new(Box::new(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        let Says(answer, after) = *says.lock().expect("nobody panicked");
        Box::pin(async move {
            sleep(after).await;
            answer.map(|last| addresses(last).to_vec()).map_err(io::Error::other)
        })
    }));
    (Arc::new(names), asked)
}

fn addresses(last: u8) -> Addresses {
    [SocketAddr::from(([192, 0, 2, last], 0))].into()
}

fn says(answer: Result<u8, &'static str>, after_ms: u64) -> Arc<Mutex<Says>> {
    Arc::new(Mutex::new(Says(answer, Duration::from_millis(after_ms))))
}

impl Says {
    fn change(says: &Mutex<Self>, answer: Result<u8, &'static str>, after_ms: u64) {
        *says.lock().expect("nobody panicked") = Self(answer, Duration::from_millis(after_ms));
    }
}

#[tokio::test(start_paused = true)]
async fn a_fresh_answer_is_used_and_an_older_one_renewed() {
    let says = says(Ok(1), 5);
    let (names, asked) = names(&says);
    assert_eq!(names.find("a").await.expect("found"), Found::Now(addresses(1)));
    Says::change(&says, Ok(2), 5);
    advance(FRESH - Duration::from_secs(1)).await;
    assert_eq!(names.find("a").await.expect("found"), Found::Earlier(addresses(1)));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    advance(Duration::from_secs(2)).await;
    assert_eq!(names.find("a").await.expect("found"), Found::Now(addresses(2)));
    assert_eq!(names.find("a").await.expect("found"), Found::Earlier(addresses(2)));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    names.find("b").await.expect("found");
    assert_eq!(asked.load(Ordering::Relaxed), 3, "another name is another lookup");
}

#[tokio::test(start_paused = true)]
async fn a_slow_resolver_is_not_waited_for_when_an_older_answer_is_there() {
    let says = says(Ok(1), 400);
    let (names, asked) = names(&says);
    names.find("a").await.expect("found");
    Says::change(&says, Ok(2), 400);
    advance(2 * FRESH).await;
    let begun = Instant::now();
    assert_eq!(names.find("a").await.expect("found"), Found::Earlier(addresses(1)));
    assert!(begun.elapsed() <= PATIENCE + Duration::from_millis(1), "{:?}", begun.elapsed());
    sleep(Duration::from_millis(500)).await;
    assert_eq!(names.find("a").await.expect("found"), Found::Earlier(addresses(2)), "it was renewed meanwhile");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failing_resolver_leaves_the_older_answer_for_a_day() {
    let says = says(Ok(1), 5);
    let (names, _) = names(&says);
    names.find("a").await.expect("found");
    Says::change(&says, Err("no such name"), 5);
    advance(STALE - Duration::from_secs(1)).await;
    assert_eq!(names.find("a").await.expect("found"), Found::Earlier(addresses(1)));
    advance(Duration::from_secs(1)).await;
    assert_eq!(names.find("a").await.expect_err("nothing is known").to_string(), "no such name");
    Says::change(&says, Ok(3), 5);
    assert_eq!(names.find("a").await.expect("found"), Found::Now(addresses(3)), "a failure is not kept");
}

#[tokio::test(start_paused = true)]
async fn who_asks_at_the_same_time_asks_once() {
    let says = says(Ok(1), 100);
    let (names, asked) = names(&says);
    let all = (0..20).map(|_| names.find("a"));
    let found = futures_util::future::join_all(all).await;
    assert!(found.iter().all(|found| matches!(found, Ok(Found::Now(at)) if *at == addresses(1))));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_goes_on_when_nobody_waits_any_more() {
    let says = says(Ok(1), 100);
    let (names, asked) = names(&says);
    timeout(Duration::from_millis(10), names.find("a")).await.expect_err("the caller hangs up");
    sleep(Duration::from_millis(100)).await;
    assert_eq!(names.find("a").await.expect("found"), Found::Earlier(addresses(1)));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_is_looked_up_and_the_longest_known_name_makes_room() {
    let says = says(Ok(1), 0);
    let (names, asked) = names(&says);
    names.find("a").await.expect("found");
    names.forget("a");
    assert_eq!(names.find("a").await.expect("found"), Found::Now(addresses(1)));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    for other in 0..NAMES_MAX {
        advance(Duration::from_millis(1)).await;
        names.find(&other.to_string()).await.expect("found");
    }
    assert_eq!(names.book().known.len(), NAMES_MAX);
    assert_eq!(names.find("a").await.expect("found"), Found::Now(addresses(1)));
    assert_eq!(names.find("31").await.expect("found"), Found::Earlier(addresses(1)));
}

#[tokio::test]
async fn the_systems_resolver_is_asked() {
    let names = Arc::<Names>::default();
    let Found::Now(addresses) = names.find("localhost").await.expect("every machine knows it") else {
        panic!("it was not asked");
    };
    assert!(addresses.iter().all(|address| address.ip().is_loopback()), "{addresses:?}");
    assert!(names.find("no-such-name.invalid").await.is_err());
}
