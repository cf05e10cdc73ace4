//! From `docker compose up` to `docker stop`, and what is in the image.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rig::CallEvent;

use crate::common::SOON;
use crate::{Container, IMAGE, PATIENCE, directory, docker, run, wait_voice};

#[test]
#[ignore = "needs a Docker engine: make image-test"]
fn after_compose_up_a_phone_hears_the_practice_agent_until_the_container_is_stopped() {
    let began = Instant::now();
    let container = Container::compose("127.77.0.1", &[]);
    let returned = began.elapsed();
    container.wait_up();
    let up = began.elapsed();
    let call = container.phone("1001pass").dial("7000").expect("SIPp runs");
    let answered = call.wait_answered(SOON).unwrap_or_else(|problem| panic!("{problem}"));
    let heard = wait_voice(&call, answered);
    println!(
        "compose up returned after {returned:.1?}, health answered after {up:.1?}, the phone was answered after {:.1?} \
         and heard the agent after {:.1?}: {:.0?} after the answer; the image has {} MB",
        answered - began,
        heard - began,
        heard - answered,
        docker(&["image", "inspect", "--format", "{{.Size}}", IMAGE]).parse::<u64>().expect("a size") / 1_000_000,
    );

    // Nothing in the container may be more than it has to.
    assert_eq!(container.says(&["id", "-u"]), "5060");
    assert_eq!(container.inspect("{{.HostConfig.ReadonlyRootfs}}"), "true");
    let touched = container.exec(&["touch", "/etc/asterisk/new", "/usr/new", "/home/new"]);
    assert!(!touched.status.success(), "the root file system can be written");
    let status = container.says(&["grep", "-E", "^(CapEff|CapBnd|NoNewPrivs):", "/proc/1/status"]);
    let fields: Vec<_> = status.split_whitespace().collect();
    assert_eq!(fields, ["CapEff:", "0000000000000000", "CapBnd:", "0000000000000000", "NoNewPrivs:", "1"]);
    let listening = container.says(&[
        "sh",
        "-c",
        "tail -qn +2 /proc/net/udp /proc/net/udp6; grep -h ' 0A ' /proc/net/tcp /proc/net/tcp6",
    ]);
    for socket in listening.lines() {
        let (address, port) = socket.split_whitespace().nth(1).and_then(|own| own.split_once(':')).expect("a socket");
        let port = u16::from_str_radix(port, 16).expect("a port");
        // Little-endian: 127.x.x.x, where the practice agent is, and Docker's name server.
        let inside = address.ends_with("7F");
        // PJSIP asks name servers from a port of its own, one of those for clients (32768 and up on Linux).
        let asks = port >= 32768 && socket.contains(" 07 ");
        assert!(inside || asks || matches!(port, 5060 | 9000 | 10000..=10100), "{port} is open: {socket}");
    }
    assert_eq!(container.says(&["find", "/var/log", "-type", "f"]), "", "the log is on stdout alone");
    let until = Instant::now() + PATIENCE;
    while container.inspect("{{.State.Health.Status}}") != "healthy" {
        assert!(Instant::now() < until, "{}", container.inspect("{{json .State.Health}}"));
        thread::sleep(Duration::from_millis(200));
    }

    let stop = Instant::now();
    docker(&["stop", &container.name]);
    let stopped = stop.elapsed();
    let bye = call.wait_for(CallEvent::Ended(rig::Ended::ByPbx), SOON).expect("Asterisk says BYE") - stop;
    println!("docker stop: the phone got BYE after {bye:.1?}, the command took {stopped:.1?}");
    assert!(bye < Duration::from_secs(5), "the call was not ended at once: {bye:?}");
    // Docker itself takes seconds to close a hundred ports; one that it had to kill would say 137.
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0");
    let log = container.log();
    assert!(log.contains(": ended "), "the conversation did not end in order: {log}");
}

#[test]
#[ignore = "needs a Docker engine: make image-test"]
fn with_time_to_drain_a_call_ends_when_its_people_want_it_to() {
    let container = Container::on_host("127.77.0.6", &["--env=DRAIN_S=60", "--env=SIP_PASSWORD=drained"]);
    container.wait_up();
    let call = container.phone("drained").dial("7000").expect("SIPp runs");
    call.wait_answered(SOON).unwrap_or_else(|problem| panic!("{problem}"));
    let name = container.name.clone();
    let stopping = thread::spawn(move || docker(&["stop", "--time", "90", &name]));
    let until = Instant::now() + SOON;
    while !container.log().contains("no new calls") {
        assert!(Instant::now() < until, "{}", container.log());
        thread::sleep(Duration::from_millis(50));
    }
    thread::sleep(Duration::from_secs(3));
    let late = container.phone("drained").dial("7000").expect("SIPp runs");
    assert!(late.wait_answered(Duration::from_secs(2)).is_err(), "a new call is taken while the last ones end");
    assert!(!call.events().iter().any(|event| matches!(event.what, CallEvent::Ended(_))), "{:?}", call.events());
    call.hang_up();
    let end = Instant::now();
    stopping.join().expect("docker stop");
    assert!(end.elapsed() < Duration::from_secs(30), "the container waited on with no call: {:?}", end.elapsed());
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0");
}

#[test]
#[ignore = "needs a Docker engine: make image-test"]
fn no_layer_of_the_image_holds_what_the_build_was_lent() {
    let saved = directory().join("image.tar");
    docker(&["save", "--output", saved.to_str().expect("UTF-8"), IMAGE]);
    let list = "for layer in $(tar -tf \"$0\" | grep -E 'layer.tar$|^blobs/'); do tar -xOf \"$0\" $layer | tar -t 2>/dev/null || true; done";
    let files = run(Command::new("bash").args(["-c", list]).arg(&saved));
    fs::remove_file(&saved).expect("it was there");
    assert!(files.lines().any(|file| file.ends_with("res_ai_bridge.so")), "the layers were not read");
    for file in files.lines() {
        for lent in ["run/secrets/", "root/.cargo", "build/", ".env", "usr/local/share/ca-certificates/"] {
            assert!(!file.starts_with(lent) || file == lent, "{file} is in the image");
        }
    }
    let history = docker(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", IMAGE]);
    assert!(!history.to_lowercase().contains("proxy"), "{history}");
}
