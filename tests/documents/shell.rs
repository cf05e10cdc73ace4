//! What somebody types who reads the documents does what they say.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

use super::root;
use crate::common::eventually;
use crate::common::markdown::{Document, is_same_shape};
use crate::lines::{self, Line};
use crate::place::{Place, printed};

/// What is typed in a checkout, and a part of what is printed.
const IN_A_CHECKOUT: &[(&str, &str)] = &[
    ("make demo", "Recording (caller left, agent right): demo/call.wav"),
    ("make demo-outbound", "An answering machine is called."),
    ("make demo-assist", "The page in the last moment of the call: "),
];
/// What runs until Ctrl-C, and a part of what is printed once it is up.
const UNTIL_CTRL_C: &[(&str, &str)] = &[
    ("make up", "AI() talks to the profile [practice]"),
    ("make up PROFILE=assistant", "AI() talks to the profile [assistant]"),
    ("make up SIP_ADDRESS=192.168.1.10", "server 192.168.1.10 (UDP, port 5060), user 1001, password "),
];
/// What is typed beside a copy of the Makefile, with a report of `make bench` and a repository to clone; and what is there then.
const IN_A_COPY: &[(&str, &str)] = &[
    ("git clone <this repository> res_ai_bridge && cd res_ai_bridge", "res_ai_bridge/.git"),
    ("make help", "Makefile"),
    ("make bench-docs", "docs/benchmarks/report.md"),
    ("make clean", ""),
];
/// What is typed on a machine with an Asterisk, in this order, and whether the module is installed then.
const INSTALLING: &[(&str, bool)] = &[
    ("asterisk -V", false),
    ("make && make install", true),
    ("asterisk -rx 'module load res_ai_bridge.so'", true),
    ("make install", true),
    ("make uninstall", false),
];
/// Of several commands in one line each is one of the others.
const JOINED: &str = "make clean && make && make install";
/// What needs an account of OpenAI, whose server no test reaches.
const WITH_AN_ACCOUNT: &str = "make demo PROFILE=assistant";
/// Longest that building may take before a line does anything.
const BUILT: Duration = Duration::from_secs(300);
/// What Debian has, by the names it has them.
const PACKAGES: &str = "apt-get install openssl libsqlite3-0";

fn is_for_the_place(line: &Line) -> bool {
    ["curl ", "sqlite3 "].iter().any(|program| line.text.starts_with(program))
}

#[test]
fn every_line_is_run_by_something() {
    let here: Vec<_> = [IN_A_CHECKOUT, UNTIL_CTRL_C, IN_A_COPY].concat().iter().map(|(line, _)| *line).collect();
    let here =
        [here, INSTALLING.iter().map(|(line, _)| *line).collect(), vec![JOINED, WITH_AN_ACCOUNT, PACKAGES]].concat();
    let lines = lines::of_the_shell();
    for line in &lines {
        let known = line.for_asterisk().is_some()
            || is_for_the_place(line)
            || here.contains(&line.text.as_str())
            || lines::is_run_elsewhere(line);
        assert!(known, "{}: nothing runs `{}`", line.place, line.text);
        lines::assert_tests_are_so_called(line);
    }
    let documents = Document::all();
    for line in here {
        assert!(documents.iter().any(|document| document.text.contains(line)), "no document has `{line}` any more");
    }
}

#[test]
fn what_is_asked_is_answered_as_the_documents_say() {
    let place = Place::new("");
    let mut asked = 0;
    for line in lines::of_the_shell().iter().filter(|line| is_for_the_place(line)) {
        let answer = place.run(&line.text);
        if !line.answer.is_empty() {
            assert_same_shape(line, &line.answer, &answer);
        }
        asked += 1;
    }
    assert!(asked >= 4, "{asked} lines");
    let copy = PathBuf::from(place.own("/var/backups/ai_bridge.sqlite3"));
    assert!(fs::metadata(copy).is_ok_and(|file| file.len() > 0), "the call log is copied");
}

/// Status line and names of headers are there; JSON has the same keys and kinds of values.
fn assert_same_shape(line: &Line, told: &str, real: &str) {
    let body = |answer: &str| {
        let start = answer.find('{').unwrap_or_else(|| panic!("{}: no JSON in {answer}", line.place));
        // What the document leaves out is marked with an ellipsis.
        let json = answer[start..].replace("{…}", "{\"…\":0}");
        serde_json::from_str::<Value>(&json).unwrap_or_else(|problem| panic!("{}: {problem}: {json}", line.place))
    };
    let head = told.split('{').next().unwrap_or_default();
    for told in head.lines().filter(|line| !line.is_empty()) {
        let name = told.split_once(": ").map_or(told, |(name, _)| name);
        assert!(real.lines().any(|line| line.starts_with(name)), "{}: no '{name}' in {real}", line.place);
    }
    let (told, real) = (body(told), body(real));
    assert!(is_same_shape(&told, &real), "{}: the document has {told:#}, and it is {real:#}", line.place);
}

/// Commands that end everything, or do what was done already; Asterisk is only asked whether it has them.
const ONLY_KNOWN: [&str; 4] = ["core stop gracefully", "core restart when convenient", "module load", "module unload"];

#[test]
fn asterisk_has_every_command() {
    let place = Place::new("");
    let mut asked = 0;
    for line in lines::of_asterisk() {
        let command = match ONLY_KNOWN.iter().find(|known| line.text.starts_with(*known)) {
            Some(known) => format!("core show help {known}"),
            None => filled_in(&line.text, &place),
        };
        let answer = place.stage.cli(&command);
        let is_unknown =
            ["No such command", "is not a registered", "Unable to"].iter().any(|word| answer.contains(word));
        assert!(!is_unknown, "{}: `{}`, as `{command}`: {answer}", line.place, line.text);
        // A word in the prose may be the name of a command; a line of its own is all of it.
        let is_block = line.place.contains(':');
        assert!(
            !is_block || command.contains(" help ") || !answer.contains("Usage:"),
            "{}: `{}`: {answer}",
            line.place,
            line.text
        );
        asked += 1;
    }
    assert!(asked > 60, "{asked} commands");
}

/// The command for the call that is up, or, where it ends one, for none.
fn filled_in(command: &str, place: &Place) -> String {
    let whole = command.split(" [").next().unwrap_or(command);
    whole
        .replace("stop <session>", "stop none")
        .replace("<session|all>", "none")
        .replace("hangup <call>", "hangup none")
        .replace("<call|all>", "none")
        .replace("<session>", &place.session)
        .replace("<text>", "\"Good morning\"")
        .replace("<keys>", "1")
        .replace("<number>", "79123456789")
        .replace("<exten>@<context>", "7000@default")
}

/// A shell for `line` in the checkout, with no network but its own loopback: whatever runs on this machine is not in its way. It has
/// the address that the documents' machine has.
fn alone(line: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args([
        "--net",
        "--",
        "sh",
        "-c",
        &format!("ip link set lo up; ip address add 192.168.1.10 dev lo; {line}"),
    ]);
    // Of the tests, not of who types.
    command.current_dir(root()).env_remove("RES_AI_BRIDGE_SO").env_remove("MAKEFLAGS");
    command
}

#[test]
fn what_is_typed_in_a_checkout_shows_what_it_promises() {
    thread::scope(|all| {
        for (line, says) in IN_A_CHECKOUT {
            all.spawn(move || {
                let printed = printed(&mut alone(line));
                assert!(printed.contains(says), "`{line}`: {printed}");
            });
        }
        all.spawn(|| UNTIL_CTRL_C.iter().for_each(|(line, says)| until_ctrl_c(line, says)));
        all.spawn(|| {
            let Output { status, stdout, stderr } = alone(WITH_AN_ACCOUNT).output().expect("it runs");
            let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
            // There is no way to OpenAI from here.
            assert!(!status.success() && said.contains("Starting Asterisk with profile [assistant]"), "{said}");
            assert!(said.contains("CONNFAIL"), "{said}");
        });
    });
}

fn until_ctrl_c(line: &str, says: &str) {
    let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("until-ctrl-c");
    let printed = || fs::read_to_string(&log).unwrap_or_default();
    let mut command = alone(line);
    // A terminal's Ctrl-C is a signal to all that run in it.
    let mut running = command.process_group(0).stdout(File::create(&log).expect("a file")).spawn().expect("it runs");
    let up = || printed().contains("Ctrl-C stops everything");
    eventually(line, BUILT, || up() || running.try_wait().is_ok_and(|ended| ended.is_some()));
    killpg(Pid::from_raw(running.id().cast_signed()), Signal::SIGINT).expect("it runs");
    running.wait().expect("it ends");
    assert!(printed().contains(says) && printed().contains("Stopping."), "`{line}`: {}", printed());
}

#[test]
fn what_needs_no_asterisk_works_in_a_copy() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("copy");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("target/bench")).expect("a folder");
    fs::copy(root().join("Makefile"), folder.join("Makefile")).expect("a copy");
    for report in ["report.md", "report.json"] {
        fs::write(folder.join("target/bench").join(report), "{}").expect("it can be written");
    }
    printed(Command::new("git").args(["init", "--quiet", "origin"]).current_dir(&folder));
    for (line, there) in IN_A_COPY {
        let line = line.replace("<this repository>", "origin");
        printed(Command::new("sh").args(["-c", &line]).current_dir(&folder));
        assert!(folder.join(there).exists(), "`{line}`: there is no {there}");
    }
    assert!(!folder.join("target").exists(), "make clean");
}

#[test]
fn installing_puts_in_what_uninstalling_takes_out() {
    let rig = rig::Rig::builder().without_bridge().start().expect("Asterisk starts");
    let folder = rig.directory();
    // As this machine has it if that Asterisk is the machine's.
    let (asterisk, pid, config) = (folder.join("asterisk"), rig.pid(), rig.path_inside("etc/asterisk.conf"));
    let script = format!("#!/bin/sh\nexec chroot /proc/{pid}/root /usr/sbin/asterisk -C {config} \"$@\"\n");
    fs::write(&asterisk, script).expect("it can be written");
    fs::set_permissions(&asterisk, fs::Permissions::from_mode(0o755)).expect("it is ours");
    for file in ["ai_bridge.conf", "instructions.md"] {
        let _ = fs::remove_file(folder.join("etc").join(file));
    }
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let module = folder.join("modules/res_ai_bridge.so");
    for (line, installed) in INSTALLING {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(root()).env("PATH", &path).env_remove("MAKEFLAGS");
        for (name, place) in [("MODULE_DIR", "modules"), ("CONFIG_DIR", "etc"), ("DATA_DIR", "data")] {
            shell.env(name, folder.join(place));
        }
        let printed = printed(&mut shell);
        assert_eq!(module.exists(), *installed, "`{line}`: {printed}");
        if line.contains("module load") {
            assert!(rig.cli("module show like res_ai_bridge").expect("it answers").contains(" Running "), "{printed}");
        }
    }
    assert!(folder.join("etc/ai_bridge.conf").exists(), "the configuration stays");
}

#[test]
fn debian_has_the_packages_that_are_named() {
    let names = PACKAGES.trim_start_matches("apt-get install ");
    let root = fs::read_to_string(root().join("target/rig.env")).expect("this machine is set up");
    let root = root.lines().find_map(|line| line.strip_prefix("ASTERISK_ROOT=")).expect("an Asterisk");
    for name in names.split(' ') {
        printed(Command::new("chroot").args([root, "dpkg", "-s", name]));
    }
}
