//! What the image makes of its environment and of a configuration of one's own, as far as that takes no Docker engine:
//! `docker/configure.sh` by itself. `tests/image/` has the rest.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use rig::checkout;

/// A network interface, as Linux shows it.
struct Interface {
    name: &'static str,
    index: u32,
    /// The other end of a virtual cable, or the card that carries it; itself, if it is a card.
    link: u32,
    kind: &'static str,
}

const CABLE: Interface = Interface { name: "eth0", index: 6, link: 7, kind: "INTERFACE=eth0\nIFINDEX=6\n" };
const CARD: Interface = Interface { name: "enp3s0", index: 2, link: 2, kind: "INTERFACE=enp3s0\nIFINDEX=2\n" };
const MACVLAN: Interface =
    Interface { name: "eth0", index: 6, link: 2, kind: "DEVTYPE=macvlan\nINTERFACE=eth0\nIFINDEX=6\n" };
const LOOPBACK: Interface = Interface { name: "lo", index: 1, link: 1, kind: "INTERFACE=lo\nIFINDEX=1\n" };

/// A container that is about to start.
struct Container {
    folder: PathBuf,
}

/// What has become of it.
struct Configured {
    etc: PathBuf,
    /// By name.
    files: BTreeMap<String, String>,
    output: Output,
}

impl Container {
    /// One with the shipped configuration, on a network that Docker made.
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("container-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let container = Self { folder: checkout().join("target/tmp").join(name) };
        for folder in ["shipped", "state"] {
            fs::create_dir_all(container.folder.join(folder)).expect("target can be written");
        }
        for file in fs::read_dir(checkout().join("asterisk-conf")).expect("it is there").flatten() {
            fs::copy(file.path(), container.folder.join("shipped").join(file.file_name())).expect("a copy");
        }
        container.on(&CABLE)
    }

    /// The same on another network.
    fn on(self, interface: &Interface) -> Self {
        let folder = self.folder.join("interfaces");
        let _ = fs::remove_dir_all(&folder);
        for Interface { name, index, link, kind } in [interface, &LOOPBACK] {
            let folder = folder.join(name);
            fs::create_dir_all(&folder).expect("target can be written");
            for (file, text) in
                [("ifindex", format!("{index}\n")), ("iflink", format!("{link}\n")), ("uevent", (*kind).to_owned())]
            {
                fs::write(folder.join(file), text).expect("target can be written");
            }
        }
        self
    }

    /// With `to` in the place of `from` in a file of the configuration.
    fn with(self, file: &str, from: &str, to: &str) -> Self {
        let path = self.folder.join("shipped").join(file);
        let text = fs::read_to_string(&path).expect("it is there");
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(path, text.replace(from, to)).expect("target can be written");
        self
    }

    /// With a file of this text in the configuration.
    fn holding(self, file: &str, text: &str) -> Self {
        fs::write(self.folder.join("shipped").join(file), text).expect("target can be written");
        self
    }

    /// Where a secret lies.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        fs::write(&path, text).expect("target can be written");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// Starts it as far as Asterisk, which then would have the environment that is printed.
    fn start(&self, environment: &[(&str, &str)]) -> Configured {
        let script = format!("set -eu; . {}; configure; env", checkout().join("docker/configure.sh").display());
        let inside = |name: &str| self.folder.join(name);
        let output = Command::new("sh")
            .args(["-c", &script])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("etc", inside("etc"))
            .env("shipped", inside("shipped"))
            .env("state", inside("state"))
            .env("interfaces", inside("interfaces"))
            .env("modules", "/usr/lib/asterisk/modules")
            .envs(environment.iter().copied())
            .output()
            .expect("there is a shell");
        let read =
            |file: fs::DirEntry| Some((file.file_name().into_string().ok()?, fs::read_to_string(file.path()).ok()?));
        let files = fs::read_dir(inside("etc")).map(|files| files.flatten().filter_map(read).collect());
        Configured { etc: inside("etc"), files: files.unwrap_or_default(), output }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Configured {
    #[track_caller]
    fn well(self) -> Self {
        assert!(self.output.status.success(), "{}", self.says());
        self
    }

    #[track_caller]
    fn refused(&self, sentence: &str) {
        assert!(!self.output.status.success(), "taken, where '{sentence}' was to be said: {}", self.says());
        assert!(self.says().contains(sentence), "'{sentence}' was to be said: {}", self.says());
    }

    /// What it has printed, and then the environment.
    fn says(&self) -> String {
        let Output { stdout, stderr, .. } = &self.output;
        format!("{}{}", String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr))
    }

    fn file(&self, name: &str) -> &str {
        self.files.get(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// The lines of one section.
    fn section(&self, file: &str, name: &str) -> String {
        let text = self.file(file);
        let (_, rest) =
            text.split_once(&format!("[{name}]")).unwrap_or_else(|| panic!("{file} has no [{name}]: {text}"));
        rest.split("\n[").next().unwrap_or(rest).to_owned()
    }
}

#[test]
fn a_secret_in_a_file_is_taken_and_a_file_without_one_ends_the_container() {
    let container = Container::new();
    let key = container.file("key", "sk-1\r\n");
    let configured = container.start(&[("OPENAI_API_KEY_FILE", &key)]).well();
    assert!(configured.says().contains("\nOPENAI_API_KEY=sk-1\n"), "{}", configured.says());
    assert!(configured.section("ai_bridge.conf", "general").contains("default_profile = assistant\n"));

    let (empty, nowhere) = (container.file("empty", "\n"), container.file("none", ""));
    fs::remove_file(&nowhere).expect("it was there");
    let folder = container.folder.to_str().expect("UTF-8");
    for (file, sentence) in [(folder, "is no file"), (&nowhere, "is no file"), (&empty, "is empty")] {
        container.start(&[("SIP_PASSWORD_FILE", file)]).refused(sentence);
    }
    container.start(&[("AI_BRIDGE_TOKEN", "a"), ("AI_BRIDGE_TOKEN_FILE", &key)]).refused("give one of them");
}

#[test]
fn a_value_that_cannot_be_meant_ends_the_container() {
    let long = "x".repeat(4001);
    for (name, value, sentence) in [
        ("SIP_PASSWORD", "two\nlines", "SIP_PASSWORD: one line"),
        ("SIP_PASSWORD", " secret", "no blank at its beginning or end"),
        ("ARI_PASSWORD", "secret ", "no blank at its beginning or end"),
        ("AI_BRIDGE_HTTP_BIND", "0.0.0.0:9000\nhttp_token =", "AI_BRIDGE_HTTP_BIND: one line"),
        ("SIP_BIND", "192.168.1.10", "SIP_BIND: address:port"),
        ("ARI_BIND", "127.0.0.1", "ARI_BIND: address:port"),
        ("ARI_USER", "me", "has an ARI_PASSWORD, too"),
        ("AI_INSTRUCTIONS", &long, "more than 4000 bytes"),
        ("AI_PROFILE", "nobody", "no section [nobody]"),
        ("AI_PROFILE", "a b", "only letters, digits"),
        ("SIP_TLS", "perhaps", "SIP_TLS: yes or no"),
        ("DRAIN_S", "08", "DRAIN_S: a whole number"),
        ("ASTERISK_VERBOSE", "very", "ASTERISK_VERBOSE: a whole number"),
        ("TRUNK_USER", "me", "TRUNK_DOMAIN is not set"),
        ("TRUNK_MAX_CALLS", "3", "there is no account"),
    ] {
        Container::new().start(&[(name, value)]).refused(sentence);
    }
}

#[test]
fn the_password_of_the_documentation_is_for_this_machine_alone() {
    const HERE: (&str, &str) = ("SIP_ADDRESS", "127.0.0.1");
    let known = |configured: &Configured| configured.file("pjsip.conf").contains("password = 1001pass");
    assert!(known(&Container::new().start(&[HERE]).well()));
    assert!(known(&Container::new().on(&CARD).start(&[HERE, ("SIP_BIND", "127.0.0.1:5060")]).well()));

    // Published for others; on the host's own network, or another container network that others reach.
    assert!(!known(&Container::new().start(&[("SIP_ADDRESS", "0.0.0.0")]).well()));
    assert!(!known(&Container::new().start(&[]).well()));
    for interface in [CARD, MACVLAN] {
        let configured = Container::new().on(&interface).start(&[HERE]).well();
        assert!(!known(&configured) && configured.says().contains("has a password of its own"), "{}", interface.kind);
    }
    // As an editor on Windows saves it.
    let windows = Container::new().with("pjsip.conf", "\n", "\r\n").start(&[("SIP_ADDRESS", "0.0.0.0")]).well();
    assert!(!known(&windows));
    // A password of one's own remains, and is the same at every start.
    let container = Container::new().with("pjsip.conf", "1001pass", "nobody-knows");
    let made = |configured: Configured| configured.file("pjsip.conf").to_owned();
    let first = made(container.start(&[]).well());
    assert!(first.contains("password = nobody-knows") && !first.contains("1002pass"), "{first}");
    assert_eq!(made(container.start(&[]).well()), first);
}

#[test]
fn whatever_is_in_a_password_arrives_as_it_is() {
    const PASSWORD: &str = r#"It's;-- #1 \; ${x}=>&\1/|"[a]"#;
    let configured =
        Container::new().start(&[("SIP_PASSWORD", PASSWORD), ("ARI_PASSWORD", PASSWORD), ("ARI_USER", "me")]).well();
    let line = format!("password = {}\n", PASSWORD.replace(';', "\\;"));
    assert_eq!(configured.file("pjsip.conf").matches(&line).count(), 2);
    assert!(configured.section("ari.conf", "me").contains(&line), "{}", configured.file("ari.conf"));
    assert!(!configured.says().contains("It's"), "it is told, or in Asterisk's environment: {}", configured.says());
}

#[test]
fn keys_of_the_profile_come_from_the_environment_and_those_of_a_cluster_do_not() {
    let configured = Container::new()
        .start(&[
            ("OPENAI_API_KEY", "sk-1"),
            ("AI_INSTRUCTIONS", "Be brief.\nBe kind."),
            ("AI_LANGUAGE", "de"),
            ("AI_BRIDGE_MAX_SESSIONS", "20"),
            ("AI_PORT", "tcp://10.0.0.1:80"),
            ("AI_SERVICE_HOST", "10.0.0.1"),
            ("AI_BRIDGE_PORT_9000_TCP", "tcp://10.0.0.2:9000"),
        ])
        .well();
    let profile = configured.section("ai_bridge.conf", "assistant");
    for line in
        ["instructions = ${ENV(AI_INSTRUCTIONS)}\n", "instructions_file = \n", "language = ${ENV(AI_LANGUAGE)}\n"]
    {
        assert!(profile.contains(line), "{line}: {profile}");
    }
    let general = configured.section("ai_bridge.conf", "general");
    assert!(general.contains("max_sessions = ${ENV(AI_BRIDGE_MAX_SESSIONS)}\n"), "{general}");
    let all = configured.file("ai_bridge.conf");
    assert!(!all.contains("HOST") && !all.contains("_PORT"), "{all}");
    let named = Container::new().start(&[("AI_BRIDGE_DEFAULT_PROFILE", "assistant"), ("AI_LANGUAGE", "de")]).well();
    assert!(named.section("ai_bridge.conf", "assistant").contains("ENV(AI_LANGUAGE)"));
}

#[test]
fn of_two_that_say_the_same_thing_neither_is_dropped() {
    let both = [("AI_INSTRUCTIONS", "Be brief."), ("AI_INSTRUCTIONS_FILE", "brief.md")];
    Container::new().start(&both).refused("give one of them");
    let file = Container::new().start(&both[1..]).well();
    let profile = file.section("ai_bridge.conf", "practice");
    assert!(profile.contains("instructions = \n") && profile.contains("ENV(AI_INSTRUCTIONS_FILE)"), "{profile}");
}

#[test]
fn an_account_that_is_not_whole_is_told() {
    for (name, sentence) in [
        ("ELEVENLABS_API_KEY", "ELEVENLABS_API_KEY is without effect"),
        ("OPENROUTER_API_KEY", "OPENROUTER_API_KEY is without effect"),
    ] {
        let configured = Container::new().start(&[(name, "key")]).well();
        assert!(configured.says().contains(sentence), "{}", configured.says());
    }
}

#[test]
fn addresses_go_to_every_transport() {
    let certificate = |container: Container| container.holding("tls.crt", "").holding("tls.key", "");
    let configured = certificate(Container::new())
        .start(&[
            ("SIP_ADDRESS", "192.168.1.10"),
            ("EXTERNAL_ADDRESS", "203.0.113.5"),
            ("LOCAL_NET", "192.168.0.0/16"),
            ("SIP_BIND", "192.168.1.10:5060"),
            ("SIP_TLS", "yes"),
        ])
        .well();
    for (file, section, port) in [("pjsip.conf", "transport-udp", 5060), ("pjsip_tls.conf", "transport-tls", 5061)] {
        let transport = configured.section(file, section);
        for line in [
            "external_media_address = 203.0.113.5".to_owned(),
            "external_signaling_address = 203.0.113.5".to_owned(),
            "local_net = 192.168.0.0/16".to_owned(),
            format!("bind = 192.168.1.10:{port}"),
        ] {
            assert_eq!(transport.matches(&format!("\n{line}\n")).count(), 1, "{line}: {transport}");
        }
    }
    // Who asks for encryption gets it, or no Asterisk at all.
    assert!(configured.file("pjsip.conf").contains("\n#include pjsip_tls.conf"));
    let older = certificate(Container::new()).with("pjsip.conf", ";#include pjsip_tls.conf\n", "");
    older.start(&[("SIP_TLS", "yes")]).refused("has no line '#include pjsip_tls.conf'");
    Container::new().start(&[("SIP_TLS", "yes")]).refused("tls.crt cannot be read");
    let older = Container::new().with("modules.conf", ";#include modules_ari.conf\n", "");
    older.start(&[("ARI_PASSWORD", "secret")]).refused("has no line '#include modules_ari.conf'");
}

#[test]
fn a_configuration_of_ones_own_remains_and_is_the_one_that_asterisk_reads() {
    // As Debian ships the file, whose template has no effect until somebody takes the mark away.
    let configured = Container::new()
        .with("asterisk.conf", "[directories]", "[directories](!)")
        .with("asterisk.conf", "astetcdir => ", "astetcdir = ")
        .with(
            "ai_bridge.conf",
            "default_profile = practice",
            "default_profile = ${ENV(WHO)}\nhttp_bind = 127.0.0.1:9000",
        )
        .holding("pjsip_trunk.conf", "; an account\n")
        .holding("ai_bridge_trunk.conf", "; a trunk\n")
        .start(&[("OPENAI_API_KEY", "sk-1"), ("TRUNK_SERVICE_HOST", "10.0.0.1")])
        .well();
    assert!(!configured.file("asterisk.conf").contains("(!)"), "it is a template, without effect");
    let directories = configured.section("asterisk.conf", "directories");
    let line = format!("\nastetcdir = {}\n", configured.etc.display());
    assert!(directories.contains(&line) && directories.matches("astetcdir").count() == 1, "{directories}");
    let general = configured.section("ai_bridge.conf", "general");
    assert!(
        general.contains("default_profile = ${ENV(WHO)}") && general.contains("http_bind = 127.0.0.1:9000"),
        "{general}"
    );
    // It would not be reached by way of the port that is published.
    assert!(configured.says().contains("inside the container alone"), "{}", configured.says());
    assert!(
        ["pjsip_trunk.conf", "ai_bridge_trunk.conf"].iter().all(|name| configured.files.contains_key(*name)),
        "the trunk is gone"
    );

    for elsewhere in ["#include others.conf\n", "[general]\ndefault_profile = practice\n#include others.conf\n"] {
        let configured = Container::new().holding("ai_bridge.conf", elsewhere).start(&[]).well();
        let general = configured.section("ai_bridge.conf", "general");
        assert!(general.contains("http_bind = 0.0.0.0:9000\n"), "{general}");
    }
}
