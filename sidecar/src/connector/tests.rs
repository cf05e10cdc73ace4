//! HTTP over TLS, from a server that tells whether a session was resumed.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use ai_dialect::HttpRequest;
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::ssl::SslAcceptor;

use super::*;
use crate::http;

/// A server that nobody vouches for. It answers two requests, each on its own connection that it keeps open, and gives
/// which of them resumed a session.
fn server(latest: SslVersion) -> Result<(Uri, thread::JoinHandle<Vec<bool>>), ErrorStack> {
    let key = PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?)?;
    let mut certificate = X509::builder()?;
    certificate.set_pubkey(&key)?;
    certificate.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    certificate.set_not_after(&*Asn1Time::days_from_now(1)?)?;
    certificate.sign(&key, MessageDigest::sha256())?;
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    acceptor.set_private_key(&key)?;
    acceptor.set_certificate(&certificate.build())?;
    acceptor.set_max_proto_version(Some(latest))?;
    let acceptor = acceptor.build();

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let uri = format!("https://{}/", listener.local_addr().expect("bound")).parse().expect("a URI");
    let serve = move || {
        let (stream, _) = listener.accept().expect("somebody connects");
        let mut stream = acceptor.accept(stream).expect("TLS is agreed on");
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a request comes");
            asked.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").expect("it is taken");
        let _ = stream.read(&mut [0]);
        stream.ssl().session_reused()
    };
    Ok((uri, thread::spawn(move || vec![serve(), serve()])))
}

fn ask_twice(latest: SslVersion) -> Vec<bool> {
    let (uri, served) = server(latest).expect("OpenSSL makes a server");
    let connector = Connector::with_tls(Vec::new(), false).expect("OpenSSL makes a client");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let request = HttpRequest { url: uri.to_string(), headers: Vec::new() };
    for _ in 0..2 {
        let answer = runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(5), http::fetch(&request, &connector)).await.expect("in time")
        });
        assert_eq!(answer.expect("it is answered").0, 200);
    }
    served.join().expect("served")
}

#[test]
fn a_second_request_resumes_the_session_of_the_first() {
    assert_eq!(ask_twice(SslVersion::TLS1_2), [false, true]);
    assert_eq!(ask_twice(SslVersion::TLS1_3), [false, true]);
}
