//! Names of servers, and the addresses they had when they were last looked up.
//!
//! The system's own resolver does the looking up, because only it knows all of the machine's ways (`/etc/hosts`,
//! nsswitch.conf, a VPN's or a container's own); it does not say how long an answer is good for, and often keeps none.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// An answer this young is used as it is: what CDNs, behind which the providers are, let others keep one.
const FRESH: Duration = Duration::from_secs(60);
/// The resolver may take so long to renew an older answer before that is used. A resolver nearby that has the answer
/// needs less; one that has to ask around goes on, for the next call. The idea is that of RFC 8767 §5.
const PATIENCE: Duration = Duration::from_millis(20);
/// An answer this old is of no use: the least that RFC 8767 §5 recommends.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// Most names whose addresses are kept: a dialplan may make up names.
const NAMES_MAX: usize = 32;

/// Addresses, without a port, in the resolver's order of preference.
pub(super) type Addresses = Arc<[std::net::SocketAddr]>;
type Answer = Result<Addresses, Arc<str>>;
type Resolver = Box<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<std::net::SocketAddr>>> + Send + Sync>;

/// What is known about names.
pub(super) struct Names {
    resolver: Resolver,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    known: HashMap<String, Known>,
    /// Lookups that are under way; every one who wants the name waits for the same.
    asked: HashMap<String, watch::Receiver<Option<Answer>>>,
}

struct Known {
    addresses: Addresses,
    since: Instant,
}

/// Where a server is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The resolver has just said so.
    Now(Addresses),
    /// It said so earlier.
    Earlier(Addresses),
}

impl Default for Names {
    fn default() -> Self {
        // getaddrinfo blocks: Tokio calls it on threads of its own.
        Self::new(Box::new(|host| Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) })))
    }
}

impl Names {
    pub(super) fn new(resolver: Resolver) -> Self {
        Self { resolver, book: Mutex::default() }
    }

    /// Where `host` is.
    ///
    /// # Errors
    /// The resolver's, when nothing is known from earlier.
    pub(super) async fn find(self: &Arc<Self>, host: &str) -> io::Result<Found> {
        let Some((addresses, age)) = self.known(host) else {
            return self.look_up(host).await.map(Found::Now);
        };
        if age < FRESH {
            return Ok(Found::Earlier(addresses));
        }
        match timeout(PATIENCE, self.look_up(host)).await {
            Ok(Ok(renewed)) => Ok(Found::Now(renewed)),
            _ => Ok(Found::Earlier(addresses)),
        }
    }

    /// Asks the resolver, together with all who are asking it for `host` already. It goes on when nobody waits any more.
    ///
    /// # Errors
    /// The resolver's.
    pub(super) async fn look_up(self: &Arc<Self>, host: &str) -> io::Result<Addresses> {
        let mut answer = self.ask(host);
        let answer = match answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone(),
            Err(_) => Some(Err("the lookup was broken off".into())),
        };
        answer.unwrap_or(Err("there is no answer".into())).map_err(|words| io::Error::other(&*words))
    }

    /// Unlearns where `host` is.
    pub(super) fn forget(&self, host: &str) {
        self.book().known.remove(host);
    }

    fn known(&self, host: &str) -> Option<(Addresses, Duration)> {
        let book = self.book();
        let known = book.known.get(host)?;
        let age = known.since.elapsed();
        (age < STALE).then(|| (known.addresses.clone(), age))
    }

    fn ask(self: &Arc<Self>, host: &str) -> watch::Receiver<Option<Answer>> {
        let mut book = self.book();
        // One whose sender is gone has ended without an answer.
        if let Some(asked) = book.asked.get(host).filter(|asked| asked.has_changed().is_ok()) {
            return asked.clone();
        }
        let (answering, asked) = watch::channel(None);
        book.asked.insert(host.to_owned(), asked.clone());
        let (names, host) = (self.clone(), host.to_owned());
        let lookup = (self.resolver)(host.clone());
        tokio::spawn(async move {
            let answer = match lookup.await {
                Ok(addresses) if addresses.is_empty() => Err("the name has no address".into()),
                Ok(addresses) => Ok(addresses.into()),
                Err(error) => Err(error.to_string().into()),
            };
            names.book().note(host, &answer);
            let _ = answering.send(Some(answer));
        });
        asked
    }

    /// Whoever panicked with the lock held left the book whole.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn note(&mut self, host: String, answer: &Answer) {
        self.asked.remove(&host);
        let Ok(addresses) = answer else { return };
        if self.known.len() >= NAMES_MAX && !self.known.contains_key(&host) {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.since).map(|(name, _)| name.clone());
            oldest.and_then(|name| self.known.remove(&name));
        }
        self.known.insert(host, Known { addresses: addresses.clone(), since: Instant::now() });
    }
}

#[cfg(test)]
mod tests;
