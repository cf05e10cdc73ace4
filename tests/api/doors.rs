//! Who is let in, and what is said to whoever is not.

use std::net::TcpListener;

use serde_json::json;

use super::{Keys, PLAIN, TOKEN, config, stage, the_call};
use crate::common::{SOON, Stage, eventually};
use practice_agent::{Script, Server};
use rig::http::{Answer, Api, free_port};

/// Fails unless `answer` is a problem with `status`.
#[track_caller]
fn assert_problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
    let problem = answer.json();
    assert_eq!((&problem["type"], &problem["status"]), (&json!("about:blank"), &json!(status)), "{answer:?}");
    assert!(problem["title"].is_string() && problem["detail"].is_string(), "{answer:?}");
}

#[test]
fn every_error_is_a_problem_that_says_what_is_wrong() {
    let (_stage, api) =
        stage(&Keys { general: "http_body_max = 2048\nhttp_cors_origin = https://desk.example.com", profile: "" });
    let stranger = Api { token: String::new(), ..api.clone() };
    assert_problem(&stranger.send("GET", "/api/calls", &[("Authorization", "")], ""), 401);
    let wrong = api.send("GET", "/api/calls", &[("Authorization", "Bearer a-token-of-32-characters-or-mord")], "");
    assert_problem(&wrong, 401);
    assert_eq!(wrong.header("www-authenticate"), "Bearer");
    assert_problem(&api.send("GET", "/api/calls", &[("Origin", "https://evil.example")], ""), 403);
    assert_problem(&api.get("/nothing/here"), 404);
    assert_problem(&api.get("/api/calls/nobody"), 404);
    let method = api.send("DELETE", "/api/calls", &[], "");
    assert_problem(&method, 405);
    assert!(method.header("allow").contains("GET"), "{method:?}");
    let json = [("Content-Type", "application/json")];
    let say = "/api/calls/nobody/say";
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(4000));
    assert_problem(&api.send("POST", say, &json, &large), 413);
    assert_problem(&api.send("POST", say, &[("Content-Type", "text/plain")], "x"), 415);
    assert_problem(&api.send("POST", say, &json, "{"), 400);
    assert_problem(&api.send("POST", say, &json, r#"{"text":"x","more":1}"#), 422);
    assert_problem(&api.get("/api/calls?limit=1000"), 400);
    assert_problem(&api.get("/api/calls?status=asleep"), 400);
    assert_problem(&api.get("/api/calls?unknown=1"), 400);
    assert_problem(&api.get("/ws"), 426);
    // The desk's page may ask, and is told that it may.
    let allowed = api.send("GET", "/api/calls", &[("Origin", "https://desk.example.com")], "");
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (200, "https://desk.example.com"));
    let asks =
        [("Origin", "https://desk.example.com"), ("Access-Control-Request-Method", "POST"), ("Authorization", "")];
    assert_eq!(api.send("OPTIONS", say, &asks, "").header("access-control-allow-origin"), "https://desk.example.com");
    let evil = api.send("OPTIONS", say, &[("Origin", "https://evil.example"), ("Authorization", "")], "");
    assert_eq!(evil.header("access-control-allow-origin"), "");
}

#[test]
fn more_requests_than_allowed_are_told_when_to_come_back() {
    let (_stage, api) = stage(&Keys { general: "http_rate_max = 5", profile: "" });
    let answers: Vec<_> = (0..12).map(|_| api.get("/api/profiles")).collect();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!((3..=8).contains(&refused.len()), "{} of 12 refused", refused.len());
    assert_problem(refused[0], 429);
    assert_eq!(refused[0].header("retry-after"), "1");
    assert_eq!(api.get("/health").status, 200, "whoever watches over the module is not counted");
}

#[test]
fn the_module_says_how_it_is_and_keeps_its_secrets() {
    let keys = Keys { general: PLAIN.general, profile: "api_key = sk-very-secret\nheader = X-Key: hunter22" };
    let (stage, api) = stage(&keys);
    let open = Api { token: String::new(), ..api.clone() };
    let open = |path| open.send("GET", path, &[("Authorization", "")], "");
    assert_eq!(open("/health").json(), json!({"status": "ok"}));
    assert_eq!(open("/ready").json(), json!({"status": "ready"}));
    assert_eq!(open("/metrics").status, 401);
    let profiles = api.get("/api/profiles");
    assert_eq!(profiles.json()["profiles"][0]["name"], "test");
    for secret in ["sk-very-secret", "hunter22", TOKEN] {
        for answer in [&profiles, &api.get("/metrics"), &api.get("/api/openapi.json")] {
            assert!(!answer.body.contains(secret), "{answer:?}");
        }
        assert!(!stage.rig.log().contains(secret));
    }
}

#[test]
fn an_address_that_others_can_reach_takes_a_token() {
    let agent = Server::builder().script(Script::new());
    let prepare = |rig: rig::Builder, url: &str| {
        let text = crate::common::profile(url, "");
        rig.config("ai_bridge.conf", text.replacen("[general]\n", "[general]\nhttp_bind = 0.0.0.0:9000\n", 1))
    };
    let stage = Stage::with(agent, prepare, "");
    let line = stage.rig.wait_log("http_bind: 0.0.0.0:9000", SOON).expect("the log says why");
    assert!(line.contains("ai_bridge.conf:2") && line.contains("takes an http_token"), "{line}");
    let modules = stage.cli("module show like res_ai_bridge");
    assert!(!modules.contains(" Running") || modules.contains("Not Running"), "it is not loaded: {modules}");
}

#[test]
fn a_port_that_is_taken_is_an_error_in_the_log_and_calls_go_on() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let api = Api { address: taken.local_addr().expect("it is bound"), token: TOKEN.to_owned() };
    let agent = Server::builder().script(Script::new());
    let (first, second) = (api.clone(), Api { address: ([127, 0, 0, 1], free_port()).into(), ..api });
    let stage = Stage::with(agent, |rig, url| rig.config("ai_bridge.conf", config(&first, url, &PLAIN)), "");
    let line = stage.rig.wait_log("cannot be listened on", SOON).expect("the log says why");
    assert!(line.contains(&first.address.to_string()) && line.contains("ERROR"), "{line}");
    let (_call, _session) = stage.talk("100");
    // Another port, without a restart.
    stage.rig.write_config("ai_bridge.conf", &config(&second, &stage.agent.url(), &PLAIN)).expect("it can be written");
    stage.cli("module reload res_ai_bridge.so");
    eventually("the API answers there", SOON, || second.try_send("GET", "/health", &[], "").is_ok());
    assert_eq!(super::calls(&second, "?status=talking").len(), 1);
    // And off again.
    let off = config(&second, &stage.agent.url(), &PLAIN).replace(&second.address.to_string(), "no");
    stage.rig.write_config("ai_bridge.conf", &off).expect("it can be written");
    stage.cli("module reload res_ai_bridge.so");
    eventually("nobody listens any more", SOON, || second.try_send("GET", "/health", &[], "").is_err());
}

#[test]
fn the_description_is_right() {
    // A trunk that nobody is behind, so that calls can be made and fail.
    let profile = "[nobody]\ntype = trunk\ndial = PJSIP/1001/sip:{{number}}@127.0.0.1:9\nmax_calls = 5";
    let (stage, api) = stage(&Keys { general: "database = calls.sqlite3\nhttp_rate_max = 0", profile });
    let (call, _session) = stage.talk("100");
    call.hang_up();
    stage.assert_nothing_left();
    let (_call, _session) = stage.talk("100");
    let output = std::process::Command::new(super::program("schemathesis"))
        .args(["--config-file", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/schemathesis.toml")])
        .args(["run", &format!("http://{}/api/openapi.json", api.address)])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .args(["--checks", "all", "--exclude-path", "/ws", "--max-examples", "40", "--seed", "1", "--no-color"])
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(stage.rig.figures().is_ok(), "Asterisk has survived it");
}

#[test]
fn the_figures_are_what_prometheus_reads() {
    let (stage, api) = stage(&PLAIN);
    let (call, _session) = stage.talk("100");
    call.hang_up();
    stage.assert_nothing_left();
    let (_call, _session) = stage.talk("100");
    eventually("the end is counted", SOON, || api.get("/metrics").body.contains("status=\"HANGUP\"} 1"));
    let page = api.get("/metrics");
    assert!(page.header("content-type").starts_with("text/plain; version=0.0.4"), "{page:?}");
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("metrics.txt");
    std::fs::write(&path, &page.body).expect("there is room");
    let program = "import sys\nfrom prometheus_client.parser import text_string_to_metric_families as read\n\
                   for family in read(open(sys.argv[1]).read()):\n \
                   for sample in family.samples: print(family.type, sample.name, sample.labels, float(sample.value))";
    let output = std::process::Command::new(super::program("python")).args(["-c", program]).arg(&path).output();
    let output = output.expect("it runs");
    let read = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for line in [
        "gauge ai_bridge_sessions {} 1.0",
        "counter ai_bridge_sessions_ended_total {'status': 'HANGUP'} 1.0",
        "counter ai_bridge_sessions_ended_total {'status': 'AUTHFAIL'} 0.0",
        "histogram ai_bridge_response_seconds_bucket {'le': '+Inf'} 0.0",
        "gauge ai_bridge_call_log_failing {} 0.0",
    ] {
        assert!(read.lines().any(|read| read == line), "{line} is not in\n{read}");
    }
}

#[test]
fn an_asterisk_that_is_to_stop_is_not_ready_and_calls_nobody_while_its_calls_go_on() {
    let (stage, api) = stage(&PLAIN);
    let (call, _session) = stage.talk("100");
    assert_eq!(api.get("/ready").status, 200);
    let id = the_call(&api);
    std::thread::scope(|scope| {
        // The command waits until there is no call left, or it is taken back.
        let stopping = scope.spawn(|| stage.rig.cli("core stop gracefully"));
        eventually("it is not ready", SOON, || api.get("/ready").status == 503);
        assert_problem(&api.post("/api/calls/dial", r#"{"phone_number":"79123456789"}"#), 503);
        assert_eq!(api.get("/health").status, 200);
        assert_eq!(the_call(&api), id);
        stage.cli("core abort shutdown");
        eventually("it is ready again", SOON, || api.get("/ready").status == 200);
        assert!(stopping.join().is_ok());
    });
    assert_eq!(the_call(&api), id);
    call.hang_up();
    stage.assert_nothing_left();
}
