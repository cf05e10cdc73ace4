//! From the listening socket to requests.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::{Desk, FOLLOWERS_MAX, Parts, router};
use crate::call_log::CallLog;
use crate::settings::Http;

/// Most connections at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// Longest a client may take for the head of a request, or between two requests.
const HEAD_MAX: Duration = Duration::from_secs(15);
/// Most headers of a request.
const HEADERS_MAX: usize = 64;
/// Largest head of a request. [bytes]
const HEAD_BYTES_MAX: usize = 16 << 10;
/// A client that has not taken what was sent for so long is gone.
const UNTAKEN_MAX: Duration = Duration::from_secs(30);
/// What may wait in the kernel for a client that does not read: what there is more shows that it is slow. [bytes]
const UNSENT_MAX: u32 = 128 << 10;
/// Longest to wait for clients to hear that it is over.
const GOODBYE_MAX: Duration = Duration::from_millis(300);

/// The API while it listens.
pub(crate) struct Server {
    accepting: JoinHandle<()>,
    followers: Arc<Semaphore>,
    /// Dropped to tell the connections.
    over: watch::Sender<()>,
}

impl Server {
    /// Listens as `http` says, unless it says nowhere.
    ///
    /// # Errors
    /// When the address is taken or is none of this machine.
    pub(crate) fn start(parts: Parts, call_log: Option<Arc<CallLog>>, http: &Http) -> io::Result<Option<Self>> {
        let Some(address) = http.bind else { return Ok(None) };
        let listener = listen(address)?;
        let (over, ending) = watch::channel(());
        let desk = Desk::new(parts, call_log, http, ending.clone());
        let followers = desk.followers.clone();
        let router = router(Arc::new(desk), http);
        let accepting = tokio::spawn(accept(listener, router, ending));
        info!("AI: the control API listens on {address}");
        Ok(Some(Self { accepting, followers, over }))
    }

    /// Listens no more, lets the connections finish the requests they have, and says goodbye to those who follow.
    pub(crate) async fn end(self) {
        self.accepting.abort();
        // Until then the address is taken.
        let _ = self.accepting.await;
        drop(self.over);
        let _ = timeout(GOODBYE_MAX, self.followers.acquire_many(FOLLOWERS_MAX as u32)).await;
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn accept(listener: TcpListener, router: Router, ending: watch::Receiver<()>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { unreachable!("nobody closes it") };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (router, ending) = (router.clone(), ending.clone());
                tokio::spawn(async move {
                    serve(stream, router, ending).await;
                    drop(place);
                });
            }
            Err(problem) => {
                // A connection that was gone before it was taken, or no more descriptors: neither is the end.
                warn!("AI: the control API could not take a connection: {problem}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router, mut ending: watch::Receiver<()>) {
    let socket = SockRef::from(&stream);
    // Without them the API works, too.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_user_timeout(Some(UNTAKEN_MAX));
    let _ = socket.set_tcp_notsent_lowat(UNSENT_MAX);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        // What a client does wrong is its own affair.
        _ = &mut connection => return,
        _ = ending.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
