//! TCP to a server that has a name, or an address, or several.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::select_ok;
use futures_util::stream::FuturesUnordered;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::names::{Addresses, Found, Names};

/// An address that has not answered by then gets company (RFC 8305 §5, "Connection Attempt Delay").
const NEXT_AFTER: Duration = Duration::from_millis(250);
/// When none of the addresses of earlier has answered by then, the name is looked up again.
const DOUBT_AFTER: Duration = Duration::from_millis(1000);
/// The kernel takes no more than this before it has sent what it has. Left to itself it queues megabytes, minutes of
/// speech, and a server behind a slow line would hear the caller ever later. [bytes]
const UNSENT_MAX: u32 = 16 << 10;

/// A TCP connection to `host`, fit for speech.
///
/// # Errors
/// What the resolver or the last of the addresses said, with host and port.
pub(super) async fn dial(names: &Arc<Names>, host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = reach(names, host, port)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("cannot reach {host}:{port}: {error}")))?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_MAX)?;
    Ok(stream)
}

async fn reach(names: &Arc<Names>, host: &str, port: u16) -> io::Result<TcpStream> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return TcpStream::connect((address, port)).await;
    }
    let known = match names.find(host).await? {
        Found::Now(addresses) => return race(&addresses, port).await,
        Found::Earlier(addresses) => addresses,
    };
    let mut first = Box::pin(race(&known, port));
    match timeout(DOUBT_AFTER, &mut first).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => anew(names, host, port, &known).await.map_err(|_| error),
        Err(_) => {
            let second = Box::pin(anew(names, host, port, &known));
            let attempts: [std::pin::Pin<Box<dyn Future<Output = _> + Send>>; 2] = [first, second];
            select_ok(attempts).await.map(|(stream, _)| stream)
        }
    }
}

/// Connects to those addresses of `host` that it had not when it was `known`.
async fn anew(names: &Arc<Names>, host: &str, port: u16, known: &Addresses) -> io::Result<TcpStream> {
    let addresses = names.look_up(host).await?;
    let others: Vec<_> = addresses.iter().filter(|address| !known.contains(address)).copied().collect();
    race(&others, port).await
}

/// Connects to the first of `addresses` that answers: the next one is tried as soon as one has failed or is slow, and
/// who has answered wins (RFC 8305 §5).
async fn race(addresses: &[SocketAddr], port: u16) -> io::Result<TcpStream> {
    let mut waiting = in_turns(addresses).into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::new(io::ErrorKind::AddrNotAvailable, "there is no other address");
    loop {
        match waiting.next() {
            Some(mut address) => {
                address.set_port(port);
                attempts.push(TcpStream::connect(address));
            }
            None if attempts.is_empty() => return Err(failure),
            None => (),
        }
        match timeout(NEXT_AFTER, attempts.next()).await {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => failure = error,
            Ok(None) | Err(_) => (),
        }
    }
}

/// `addresses` with IPv6 and IPv4 taking turns, the kind that comes first in the resolver's order beginning (RFC 8305 §4):
/// when one kind does not work on this network, the other is tried after one delay and not after many.
fn in_turns(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let starts = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (some, others): (Vec<_>, Vec<_>) = addresses.iter().partition(|address| address.is_ipv6() == starts);
    let mut others = others.into_iter();
    let turns = some.into_iter().flat_map(|address| [Some(address), others.next()]).flatten().collect::<Vec<_>>();
    turns.into_iter().chain(others).collect()
}

#[cfg(test)]
mod tests;
