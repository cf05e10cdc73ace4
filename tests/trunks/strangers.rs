//! Calls of somebody who says that he is the trunk.

use std::net::UdpSocket;
use std::time::Duration;

use crate::{USER, connected, own_address};

/// The status with which an INVITE is answered.
fn call(socket: &UdpSocket, number: usize, from: &str, to: &str) -> Option<u16> {
    let own = socket.local_addr().expect("it is bound");
    let sdp =
        format!("v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8\r\n", own.ip());
    let message = format!(
        "INVITE {to} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{number};rport\r\nMax-Forwards: 70\r\n\
         From: {from};tag={number}\r\nTo: <{to}>\r\nCall-ID: stranger-{number}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:me@{own}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    socket.send(message.as_bytes()).expect("it leaves");
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer).ok()?;
    String::from_utf8_lossy(&answer[..length]).split(' ').nth(1)?.parse().ok()
}

#[test]
fn the_word_of_the_registration_lets_the_provider_in_from_other_addresses() {
    let (provider, stage) = connected();
    let registrar = provider.rig.cli("database show registrar").expect("Asterisk answers");
    let (_, rest) = registrar.split_once(";line=").expect("it was told a word");
    let word: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
    let socket = UdpSocket::bind((own_address(), 5070)).expect("a port is free");
    let exchange = stage.rig.sip_addr();
    socket.connect(exchange).expect("there it is");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("it can be set");
    let from = "<sip:79990000000@sip.example.com>";
    assert_eq!(call(&socket, 1, from, &format!("sip:{USER}@{exchange};line={word}")), Some(100));
    // A letter less is a stranger's.
    let wrong = &word[1..];
    assert_eq!(call(&socket, 2, from, &format!("sip:{USER}@{exchange};line={wrong}")), Some(401));
    println!("the word: {} characters", word.len());
}

#[test]
fn nobody_else_is_the_trunk_whatever_he_says() {
    let (provider, stage) = connected();
    let socket = UdpSocket::bind((own_address(), 5070)).expect("a port is free");
    let exchange = stage.rig.sip_addr();
    socket.connect(exchange).expect("there it is");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("it can be set");
    let domain = provider.domain();
    let mut number = 0;
    for from in ["trunk", USER, "trunk-oauth", "79990000000"] {
        for from in [format!("<sip:{from}@{domain}>"), format!("<sip:{from}@{exchange}>")] {
            for to in
                [format!("{USER}@{exchange}"), format!("7000@{exchange}"), format!("{USER}@{exchange};line=abcdefg")]
            {
                number += 1;
                assert_eq!(call(&socket, number, &from, &format!("sip:{to}")), Some(401), "{from} calls {to}");
            }
        }
    }
    assert!(stage.agent.attempts().is_empty(), "the AI was connected to for a stranger");
    stage.assert_nothing_left();
}
