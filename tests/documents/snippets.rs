//! The examples in other languages do what the document around them says.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use rig::{Browser, Screen};
use tungstenite::client::IntoClientRequest as _;

use crate::common::SOON;
use crate::common::markdown::{Block, Document};
use crate::place::{Place, SECRET};

fn block(document: &str, language: &str) -> Block {
    let found = Document::read(document).blocks().into_iter().find(|block| block.language == language);
    found.unwrap_or_else(|| panic!("{document} has no block in {language}"))
}

/// Examples in JSON, and the tests that send or get such a thing.
const JSON: [(&str, &str); 2] =
    [("docs/tools.md", "tests/tools/webhook.rs"), ("docs/raw.md", "sidecar/dialect/tests/taking_over.rs")];

#[test]
fn there_is_no_example_but_those_that_are_tried() {
    let documents = Document::all();
    let of = |language: &str| -> Vec<_> {
        let blocks =
            documents.iter().flat_map(|document| document.blocks().into_iter().map(|block| (&*document.name, block)));
        blocks.filter(|(_, block)| block.language == language).map(|(name, _)| name).collect()
    };
    assert_eq!((of("js"), of("python")), (vec!["docs/events.md"], vec!["docs/events.md"]));
    assert_eq!(of("json"), ["docs/raw.md", "docs/tools.md"]);
    for (document, test) in JSON {
        let text = std::fs::read_to_string(super::root().join(test)).expect("it is there");
        assert!(text.contains(document), "{test} does not look at {document}");
    }
}

#[test]
fn a_page_and_a_program_follow_the_events() {
    let place = Place::new("");
    let address = place.api.address;
    let browser = Browser::start().expect("Chromium starts");
    let page = browser.open("reader", &format!("http://{address}/"), Screen::default()).expect("the page opens");
    let script = block("docs/events.md", "js").text;
    let (host, token) = ("wss://pbx.example.com", "<http_token>");
    assert!(script.contains(host) && script.contains(token), "{script}");
    let script = script.replace(host, &format!("ws://{address}")).replace(token, SECRET);
    page.evaluate(&format!(
        "(() => {{ const last = 0; {script}; window.told = ''; socket.onmessage = message => window.told = message.data; \
         socket.onclose = why => window.told = 'closed: ' + why.code; }})()"
    ))
    .expect("the script runs");
    page.wait("window.told !== ''", SOON).expect("an event comes");
    let told = page.evaluate("window.told").expect("the page is there").to_string();
    // The first of those since the beginning, or that some are gone.
    assert!(told.contains("\\\"event\\\":"), "{told}");

    let url = block("docs/events.md", "text").text;
    let url = place.own(url.trim());
    let mut request = url.as_str().into_client_request().expect("an address");
    request.headers_mut().insert("Authorization", format!("Bearer {SECRET}").parse().expect("a header"));
    let stream = TcpStream::connect(address).expect("the API listens");
    let (_, response) = tungstenite::client(request, stream).expect("the WebSocket opens");
    assert_eq!(response.status(), 101);
}

#[test]
fn a_receiver_of_webhooks_knows_whose_they_are() {
    let receiver = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let lines: Vec<_> = Document::read("docs/events.md").blocks();
    let lines = lines.iter().find(|block| block.file == "ai_bridge.conf").expect("how they are switched on");
    let address = format!("http://{}/", receiver.local_addr().expect("bound"));
    let _place = Place::new(&lines.text.replace("[general]\n", "").replace("https://crm.example.com/calls", &address));
    let (mut stream, _) = receiver.accept().expect("it is told");
    stream.set_read_timeout(Some(SOON)).expect("a socket");
    let mut request = String::new();
    let whole = |request: &str| {
        let (head, body) = request.split_once("\r\n\r\n")?;
        let length: usize = header(head, "content-length").parse().ok()?;
        (body.len() >= length).then(|| (head.to_owned(), body[..length].to_owned()))
    };
    while whole(&request).is_none() {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).expect("more comes");
        request += std::str::from_utf8(&piece[..length]).expect("ASCII");
    }
    let (head, body) = whole(&request).expect("it came");

    let python = block("docs/events.md", "python").text;
    let (first, last) = python.trim().rsplit_once('\n').expect("two lines");
    let program = format!(
        "import base64, hmac, sys, time\nid, timestamp, signature = sys.argv[1:]\nsecret = b'{SECRET}'\n\
         body = sys.stdin.buffer.read()\n{first}\nprint({last})\n"
    );
    let judged = |body: &str| {
        let values = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| header(&head, name));
        let mut python = Command::new("python3");
        python.args(["-c", &program]).args(values).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = python.spawn().expect("Python runs");
        running.stdin.take().expect("piped").write_all(body.as_bytes()).expect("it is read");
        let output = running.wait_with_output().expect("it ends");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(judged(&body).trim(), "True", "{head}");
    assert_eq!(judged(&body.replace("call_start", "call_end")).trim(), "False");
}

fn header(head: &str, name: &str) -> String {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.to_owned()).unwrap_or_default()
}

/// Keys that are known where the document's lines belong.
const PROMETHEUS: [&str; 7] =
    ["scrape_configs", "job_name", "scheme", "authorization", "credentials_file", "static_configs", "targets"];
const COMPOSE: [&str; 7] = ["services", "asterisk", "network_mode", "ports", "extra_hosts", "environment", "volumes"];

#[test]
fn yaml_has_keys_that_are_known() {
    let reader = "import json, sys, yaml\n\
                  yaml.SafeLoader.add_constructor('!reset', lambda loader, node: loader.construct_sequence(node))\n\
                  def keys(value):\n\
                  \x20   if isinstance(value, dict): return [k for key in value for k in [key, *keys(value[key])]]\n\
                  \x20   return [k for item in value for k in keys(item)] if isinstance(value, list) else []\n\
                  print('\\n'.join(keys(yaml.safe_load(sys.argv[1]))))\n";
    let python = super::root().join("target/api/venv/bin/python");
    let compose = std::fs::read_to_string(super::root().join("compose.yaml")).expect("it is there");
    assert!(compose.contains("\n  asterisk:\n"), "the service is so called");
    let mut read = 0;
    for document in Document::all() {
        for block in document.blocks().iter().filter(|block| block.language == "yaml") {
            let known: &[&str] = match block.file.as_str() {
                "prometheus.yml" => &PROMETHEUS,
                "compose.override.yaml" => &COMPOSE,
                other => panic!("{}: what is {other}?", block.place),
            };
            let keys = crate::place::printed(Command::new(&python).args(["-c", reader, &block.text]));
            for key in keys.lines() {
                assert!(known.contains(&key), "{}: {key} is not known there", block.place);
            }
            read += 1;
        }
    }
    assert!(read >= 3, "{read}");
}
