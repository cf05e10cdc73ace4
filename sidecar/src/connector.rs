//! The way to a provider: its name, a TCP connection, TLS. Runs on the call's task.
//!
//! ```text
//!  Uri ─► Names ─► dial ─► TLS ─► Connection ─► WebSocket or HTTP
//!         remembers        remembers
//!         addresses        sessions
//! ```
//!
//! A profile has one connector and a reload makes new ones, so nothing that is remembered outlives the trust it was
//! learned with: a session of a profile that verifies nothing is never resumed by one that does.

mod dial;
mod names;

use std::fmt;
use std::io;
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_openssl::client::legacy::{HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use openssl::error::ErrorStack;
use openssl::ssl::{ConnectConfiguration, SslConnector, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::X509;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::Outcome;
use crate::transport::{describe, unreachable_host};
use names::Names;

/// Most TLS sessions a profile keeps.
///
/// A server gives one or two with every connection and a TLS 1.3 session is good for one, so this many calls can begin at
/// the same moment and all resume. The oldest is used first: were there many more, it would always have expired.
const SESSIONS_MAX: i32 = 8;

/// A connection to a provider, with or without TLS.
pub(crate) type Connection = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Connects to providers as one profile trusts them. Cheap to clone; the clones share what they remember.
///
/// The default one has no TLS.
#[derive(Clone, Default)]
pub(crate) struct Connector {
    names: Arc<Names>,
    tls: Option<HttpsConnector<Dialer>>,
}

impl Connector {
    /// A connector with TLS 1.2 or later that trusts `authorities` beside the system's own; without `verify` it trusts
    /// everybody.
    ///
    /// # Errors
    /// When OpenSSL refuses an authority, or the system's defaults.
    pub(crate) fn with_tls(authorities: Vec<X509>, verify: bool) -> Result<Self, ErrorStack> {
        let mut builder = SslConnector::builder(SslMethod::tls_client())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        builder.set_session_cache_size(SESSIONS_MAX);
        for authority in authorities {
            builder.cert_store_mut().add_cert(authority)?;
        }
        if !verify {
            builder.set_verify(SslVerifyMode::NONE);
        }
        let names = Arc::<Names>::default();
        let mut tls = HttpsConnector::with_connector(Dialer(names.clone()), builder)?;
        tls.set_callback(move |config, uri| expect_name(config, uri, verify));
        Ok(Self { names, tls: Some(tls) })
    }

    /// Connects to the server of `uri`: with TLS for `wss` and `https`, without for anything else. The time limit is the
    /// caller's.
    ///
    /// # Errors
    /// An [`Outcome`] for the dialplan, without anything of `uri` but host and port.
    pub(crate) async fn connect(&self, uri: &Uri) -> Result<Connection, Outcome> {
        let (host, port) = server(uri);
        if !is_secure(uri) {
            let stream = dial::dial(&self.names, &host, port).await.map_err(|error| failed(&error))?;
            return Ok(MaybeHttpsStream::Http(TokioIo::new(stream)));
        }
        let mut tls = self.tls.clone().ok_or_else(|| unreachable_host("there is no TLS"))?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let target = Uri::builder().scheme("https").authority(authority).path_and_query("/").build();
        let target = target.map_err(|error| failed(&error))?;
        tls.call(target).await.map_err(|error| {
            if !error.is::<io::Error>() {
                // TCP connects and TLS does not: perhaps somebody else has the address now.
                self.names.forget(&host);
            }
            failed(&*error)
        })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}

/// The lower half of [`HttpsConnector`]: TCP.
#[derive(Clone)]
struct Dialer(Arc<Names>);

impl Service<Uri> for Dialer {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let names = self.0.clone();
        Box::pin(async move {
            let (host, port) = server(&uri);
            dial::dial(&names, &host, port).await.map(TokioIo::new)
        })
    }
}

/// Tells TLS whom to expect. An IPv6 address stands in brackets in a URI (RFC 3986 §3.2.2) and without in a certificate.
fn expect_name(config: &mut ConnectConfiguration, uri: &Uri, verify: bool) -> Result<(), ErrorStack> {
    config.set_verify_hostname(verify);
    let bracketed = uri.host().and_then(|host| host.strip_prefix('[')?.strip_suffix(']'));
    if let Some(address) = bracketed.and_then(|address| address.parse::<Ipv6Addr>().ok()) {
        config.set_use_server_name_indication(false);
        config.set_verify_hostname(false);
        if verify {
            config.param_mut().set_ip(address.into())?;
        }
    }
    Ok(())
}

fn is_secure(uri: &Uri) -> bool {
    matches!(uri.scheme_str(), Some("wss" | "https"))
}

/// Host and port of `uri`, the host without brackets.
fn server(uri: &Uri) -> (String, u16) {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    (host, uri.port_u16().unwrap_or(if is_secure(uri) { 443 } else { 80 }))
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Outcome {
    unreachable_host(&describe(error))
}

#[cfg(test)]
mod tests;
