//! The Docker image as people run it: `make image-test` builds it and runs these tests with an engine.
//!
//! Each container is published on a loopback address of its own, so that nothing else on the machine is in the way.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use practice_agent::Server;
use rig::http::Api;
use rig::{CallEvent, Phone, PhoneCall};

/// Long enough for a container to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);
/// Louder than this is speech. [of full scale]
const SPEECH_LEVEL: f64 = 0.01;
const IMAGE: &str = "res_ai_bridge";

/// One container. Dropping it removes it with its volumes.
struct Container {
    name: String,
    address: &'static str,
    composed: bool,
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|problem| panic!("{command:?}: {problem}"))
}

/// What a command prints, which has to succeed.
fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = output(command);
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {stdout}{stderr}");
    stdout.trim().to_owned()
}

fn docker(arguments: &[&str]) -> String {
    run(Command::new("docker").args(arguments))
}

/// `compose.yaml` without the settings of whoever runs the tests.
fn compose(project: &str, settings: &[(&str, &str)]) -> Command {
    let none = directory().join("no.env");
    fs::write(&none, "").expect("target can be written");
    let mut command = Command::new("compose");
    command.args(["-p", project, "--env-file"]).arg(none).current_dir(rig::checkout());
    for name in ["OPENAI_API_KEY", "ELEVENLABS_API_KEY", "ELEVENLABS_AGENT_ID", "SIP_PASSWORD", "AI_BRIDGE_TOKEN"] {
        command.env_remove(name);
    }
    command.envs(settings.iter().copied());
    command
}

impl Container {
    /// `docker compose up` on `address`.
    fn compose(address: &'static str, settings: &[(&str, &str)]) -> Self {
        let project = format!("image-test-{}", std::process::id());
        let settings: Vec<_> =
            settings.iter().copied().chain([("SIP_ADDRESS", address), ("API_ADDRESS", address)]).collect();
        run(compose(&project, &settings).args(["up", "-d"]));
        let name = run(compose(&project, &settings).args(["ps", "-q"]));
        Self { name, address, composed: true }
    }

    /// `docker run`, with as little as possible, published on `address`.
    fn run(address: &'static str, arguments: &[&str]) -> Self {
        let publish = ["5060:5060/udp", "10000-10100:10000-10100/udp", "9000:9000"];
        let publish = publish.map(|ports| format!("--publish={address}:{ports}"));
        let arguments: Vec<_> = publish.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
        Self::start(address, &arguments)
    }

    /// The same on the host's network.
    fn on_host(address: &'static str, arguments: &[&str]) -> Self {
        let own = [
            "--network=host",
            "--env",
            &format!("SIP_BIND={address}:5060"),
            "--env",
            &format!("AI_BRIDGE_HTTP_BIND={address}:9000"),
        ];
        let arguments: Vec<_> = own.into_iter().chain(arguments.iter().copied()).collect();
        Self::start(address, &arguments)
    }

    fn start(address: &'static str, arguments: &[&str]) -> Self {
        let name = run(Command::new("docker")
            .args(["run", "--detach", "--read-only", "--cap-drop=ALL"])
            .args([
                "--tmpfs=/run/asterisk",
                "--tmpfs=/var/log/asterisk",
                "--tmpfs=/tmp",
                "--env",
                &format!("EXTERNAL_ADDRESS={address}"),
            ])
            .args(arguments)
            .arg(IMAGE));
        Self { name, address, composed: false }
    }

    fn exec(&self, arguments: &[&str]) -> Output {
        output(Command::new("docker").args(["exec", &self.name]).args(arguments))
    }

    /// What a command in the container prints, whether or not it succeeds.
    fn says(&self, arguments: &[&str]) -> String {
        let Output { stdout, stderr, .. } = self.exec(arguments);
        format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)).trim().to_owned()
    }

    fn cli(&self, command: &str) -> String {
        self.says(&["asterisk", "-C", "/run/asterisk/etc/asterisk.conf", "-rx", command])
    }

    fn inspect(&self, what: &str) -> String {
        docker(&["inspect", "--format", what, &self.name])
    }

    fn log(&self) -> String {
        let Output { stdout, stderr, .. } = output(Command::new("docker").args(["logs", &self.name]));
        format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
    }

    fn api(&self, token: &str) -> Api {
        Api { address: format!("{}:9000", self.address).parse().expect("an address"), token: token.to_owned() }
    }

    fn wait_up(&self) {
        self.api("").wait(PATIENCE).unwrap_or_else(|problem| panic!("{problem}: {}", self.log()));
    }

    fn phone(&self, password: &str) -> Phone {
        let sip = format!("{}:5060", self.address).parse().expect("an address");
        Phone::at(sip, directory()).account("1001", password)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.log());
        }
        if self.composed {
            let project = format!("image-test-{}", std::process::id());
            let settings = [("SIP_ADDRESS", self.address), ("API_ADDRESS", self.address)];
            let _ = compose(&project, &settings).args(["down", "--volumes", "--timeout", "0"]).output();
        } else {
            let _ = Command::new("docker").args(["rm", "--force", "--volumes", &self.name]).output();
        }
    }
}

/// A folder for the files of these tests.
fn directory() -> PathBuf {
    let directory = rig::checkout().join("target/image-test");
    fs::create_dir_all(&directory).expect("target can be written");
    directory
}

fn wait_voice(call: &PhoneCall, from: Instant) -> Instant {
    let until = Instant::now() + SOON;
    loop {
        if let Some(at) = call.heard().first_sound(from, SPEECH_LEVEL) {
            return at;
        }
        assert!(Instant::now() < until, "the agent is not heard: {:?}", call.events());
        thread::sleep(Duration::from_millis(5));
    }
}

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
    let container = Container::run("127.77.0.6", &["--env=DRAIN_S=60", "--env=SIP_PASSWORD=drained"]);
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
fn a_phone_that_others_could_reach_has_a_password_that_nobody_knows() {
    let container = Container::run("127.77.0.2", &[]);
    container.wait_up();
    let call = container.phone("1001pass").dial("7000").expect("SIPp runs");
    assert!(call.wait_answered(SOON).is_err(), "the password of the documentation opens the door");
    let known = container.says(&["grep", "-E", "^password = [0-9]+pass$", "/run/asterisk/etc/pjsip.conf"]);
    assert_eq!(known, "", "a phone has a password of the documentation");
    let password = container.says(&["cat", "/var/lib/asterisk/sip-password"]);
    let call = container.phone(&password).dial("7000").expect("SIPp runs");
    call.wait_answered(SOON).unwrap_or_else(|problem| panic!("{problem}"));
    assert!(!container.log().contains(&password), "the password is in the log");

    let token = container.says(&["cat", "/var/lib/asterisk/api-token"]);
    assert_eq!(container.api("").get("/api/calls").status, 401);
    assert_eq!(container.api(&token).get("/api/calls").status, 200);
    assert!(!container.log().contains(&token), "the token is in the log");
    drop(call);

    docker(&["restart", &container.name]);
    container.wait_up();
    assert_eq!(container.says(&["cat", "/var/lib/asterisk/sip-password"]), password, "a restart makes a new password");
}

#[test]
#[ignore = "needs a Docker engine: make image-test"]
fn on_the_hosts_network_it_listens_where_it_is_told_to() {
    let container = Container::on_host("127.77.0.7", &["--env=SIP_ADDRESS=127.77.0.7", "--env=AI_PROFILE=practice"]);
    container.wait_up();
    let call = container.phone("1001pass").dial("7000").expect("SIPp runs");
    let answered = call.wait_answered(SOON).unwrap_or_else(|problem| panic!("{problem}"));
    wait_voice(&call, answered);
    assert!(UdpSocket::bind("127.0.0.1:5060").is_ok(), "SIP is open on another address, too");
    assert!(TcpListener::bind("127.0.0.1:9000").is_ok(), "the control API is open on another address, too");
    assert_eq!(container.says(&["healthcheck.sh"]), "");
}

#[test]
#[ignore = "needs a Docker engine: make image-test"]
fn an_account_in_a_file_is_used_and_nowhere_to_be_read() {
    const KEY: &str = "sk-image-test-0123456789";
    let gateway = docker(&["network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"]);
    let agent = Server::builder().bind(format!("{gateway}:0")).api_key(KEY).start().expect("the agent listens");
    let file = directory().join("openai-key");
    fs::write(&file, format!("{KEY}\n")).expect("target can be written");
    let (mount, url) = (format!("{}:/run/secrets/openai:ro", file.display()), format!("AI_URL={}", agent.url()));
    let container = Container::run(
        "127.77.0.3",
        &[
            "--volume",
            &mount,
            "--env=OPENAI_API_KEY_FILE=/run/secrets/openai",
            "--env=SIP_PASSWORD=it;is-secret",
            "--env",
            &url,
            "--env=AI_VAD_THRESHOLD=0.65",
            "--env=AI_LANGUAGE=de",
            "--env=AI_GREETING=Say hello; be brief.",
        ],
    );
    container.wait_up();
    let call = container.phone("it;is-secret").dial("7000").expect("SIPp runs");
    let answered = call.wait_answered(SOON).unwrap_or_else(|problem| panic!("{problem}"));
    wait_voice(&call, answered);

    let session = agent.next_session(SOON).expect("the container calls the agent of this test");
    assert_eq!(session.request().query_parameter("model"), Some("gpt-realtime-2.1"));
    let update = session.wait_event("session.update", 0, SOON).expect("settings").json.to_string();
    assert!(update.contains("0.65") && update.contains("alloy"), "{update}");
    for (place, text) in [
        ("docker inspect", container.inspect("{{json .}}")),
        ("the log", container.log()),
        ("the configuration", container.says(&["grep", "-r", "sk-image", "/run/asterisk"])),
    ] {
        assert!(!text.contains(KEY), "the key is in {place}");
    }
}

#[test]
#[ignore = "needs a Docker engine: make image-test"]
fn accounts_of_elevenlabs_and_of_a_trunk_are_taken_from_the_environment() {
    let container = Container::run(
        "127.77.0.4",
        &[
            "--env=ELEVENLABS_AGENT_ID=agent_1",
            "--env=ELEVENLABS_API_KEY=key",
            "--env=TRUNK_USER=79991234567",
            "--env=TRUNK_PASSWORD=secret",
            "--env=TRUNK_DOMAIN=127.0.0.9",
            "--env=SONIOX_API_KEY=key",
            "--env=OPENROUTER_API_KEY=key",
            "--env=TZ=Asia/Tokyo",
        ],
    );
    container.wait_up();
    let profiles = container.cli("ai show profiles");
    let chosen = profiles.lines().find(|line| line.contains("elevenlabs")).unwrap_or_else(|| panic!("{profiles}"));
    assert!(chosen.contains("wss://api.elevenlabs.io"), "{profiles}");
    assert!(container.log().contains("talk to the profile [elevenlabs]"));
    let assistant = profiles.lines().find(|line| line.contains("desk")).unwrap_or_else(|| panic!("{profiles}"));
    assert!(assistant.contains("wss://stt-rt.soniox.com"), "{profiles}");
    assert_eq!(container.says(&["date", "+%z"]), "+0900");
    let registrations = container.cli("pjsip show registrations");
    assert!(registrations.contains("trunk-reg-0/sip:127.0.0.9"), "{registrations}");
    assert!(container.cli("dialplan show 79991234567@from-trunk").contains("Goto(default,7000,1)"));
}

#[test]
#[ignore = "needs a Docker engine: make image-test"]
fn what_a_configuration_of_ones_own_says_remains() {
    let own = directory().join("own");
    let _ = fs::remove_dir_all(&own);
    run(Command::new("cp").arg("-r").arg(rig::checkout().join("asterisk-conf")).arg(&own));
    for (file, shipped, changed) in [
        (
            "ai_bridge.conf",
            "default_profile = practice",
            "default_profile = receptionist\nhttp_token = a-token-of-my-own",
        ),
        ("ai_bridge.conf", "[practice]", "[receptionist]"),
        ("pjsip.conf", "password = 1001pass", "password = nobody-knows"),
    ] {
        let text = fs::read_to_string(own.join(file)).expect("it was copied");
        assert!(text.contains(shipped), "{file} has no line {shipped}");
        fs::write(own.join(file), text.replace(shipped, changed)).expect("target can be written");
    }
    let mount = format!("{}:/etc/asterisk:ro", own.display());
    let container = Container::run("127.77.0.8", &["--volume", &mount, "--env=OPENAI_API_KEY=sk-0"]);
    container.wait_up();
    assert!(container.log().contains("talk to the profile [receptionist]"));
    assert_eq!(container.api("a-token-of-my-own").get("/api/calls").status, 200);
    let call = container.phone("nobody-knows").dial("7000").expect("SIPp runs");
    call.wait_answered(SOON).unwrap_or_else(|problem| panic!("{problem}"));
}

#[test]
#[ignore = "needs a Docker engine: make image-test"]
fn a_setting_that_is_wrong_ends_the_container_with_a_sentence() {
    for (setting, sentence) in [
        ("AI_VAD_THRESHOLD=loud", "vad_threshold"),
        ("AI_NO_SUCH_KEY=1", "no_such_key"),
        ("AI_PROFILE=nobody", "no section [nobody]"),
        ("OPENAI_API_KEY_FILE=/run/secrets/none", "/run/secrets/none cannot be read"),
        ("TRUNK_USER=me", "TRUNK_DOMAIN is not"),
        ("DRAIN_S=soon", "DRAIN_S: a whole number"),
        ("DRAIN_S=08", "DRAIN_S: a whole number"),
        ("SIP_PASSWORD=two\nlines", "SIP_PASSWORD: one line"),
    ] {
        let container = Container::run("127.77.0.5", &["--env", setting]);
        let code = docker(&["wait", &container.name]);
        assert_ne!(code, "0", "{setting}: {}", container.log());
        assert!(container.log().contains(sentence), "{setting}: {}", container.log());
    }
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
