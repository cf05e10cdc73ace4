//! The call log loses nothing that it need not lose, and holds up no call.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Keys, PLAIN, caller_said, calls, stage, the_call};
use crate::common::{SOON, eventually};

/// What `sql` answers about `file`, asked by SQLite's own program in Python.
fn ask(file: &Path, sql: &str) -> String {
    let program =
        "import sqlite3, sys\nfor row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]): print(*row, sep='|')";
    let output =
        Command::new(super::program("python")).args(["-c", program]).arg(file).arg(sql).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn what_was_said_before_asterisk_was_killed_is_in_the_log() {
    let (mut stage, api) = stage(&PLAIN);
    let (_call, session) = stage.talk("100");
    let id = the_call(&api);
    let said: Vec<_> = (0..50).map(|number| format!("sentence {number}")).collect();
    for text in &said {
        session.perform(caller_said(text));
    }
    let path = format!("/api/calls/{id}/transcript");
    eventually("all of it was told", SOON, || api.get(&path).body.contains("sentence 49"));
    let pid = Pid::from_raw(stage.rig.pid().try_into().expect("a process id"));
    kill(pid, Signal::SIGKILL).expect("it is ours");
    eventually("Asterisk is gone", SOON, || !stage.rig.is_running());

    let file = stage.rig.directory().join("lib/calls.sqlite3");
    let kept = ask(&file, &format!("SELECT text FROM turns WHERE session = '{id}' ORDER BY id"));
    assert_eq!(kept.lines().collect::<Vec<_>>(), said);
    assert_eq!(ask(&file, "PRAGMA integrity_check"), "ok");
    assert_eq!(ask(&file, "SELECT ended IS NULL FROM calls"), "1", "nobody was left to say so");
}

/// A small disk, where Asterisk sees it under the same name.
struct Disk(PathBuf);

impl Disk {
    fn new(kib: u32) -> Self {
        let path = PathBuf::from(format!("/dev/shm/ai_bridge_test_{}", std::process::id()));
        fs::create_dir_all(&path).expect("there is memory");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "none"]).arg(&path).status();
        assert!(mount.expect("mount runs").success(), "a file system can be mounted");
        Self(path)
    }

    /// Leaves no room on it.
    fn fill(&self) {
        use std::io::Write as _;
        let mut file = fs::File::create(self.0.join("ballast")).expect("there is room for a name");
        while file.write_all(&[0; 1024]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).expect("it is there");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_full_disk_is_one_error_and_what_was_said_meanwhile_is_written_when_there_is_room() {
    let disk = Disk::new(1024);
    let general = format!("database = {}/calls.sqlite3", disk.0.display());
    let (stage, api) = stage(&Keys { general: &general, profile: "" });
    let (call, session) = stage.talk("100");
    let id = the_call(&api);
    session.perform(caller_said("There is room"));
    let path = format!("/api/calls/{id}/transcript");
    eventually("the words are in the log", SOON, || api.get(&path).body.contains("There is room"));
    disk.fill();
    for number in 0..40 {
        session.perform(caller_said(&format!("{number} {}", "There is none. ".repeat(100))));
    }
    let line = stage.rig.wait_log("the disk is full", SOON).expect("the log says so");
    assert!(line.contains("ERROR") && line.contains("calls.sqlite3") && line.contains("Calls go on"), "{line}");
    assert!(api.get("/metrics").body.contains("\nai_bridge_call_log_failing 1\n"));
    assert_eq!(the_call(&api), id, "the call goes on");
    assert!(api.get(&path).body.contains("There is room"), "what was written can be read");
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(stage.rig.log().matches("cannot be written").count(), 1, "that is said once");

    disk.free();
    stage.rig.wait_log("can be written again", SOON).expect("the log says that, too");
    eventually("all is there", SOON, || api.get(&path).body.contains("39 There is none"));
    let turns = api.get(&path).json()["turns"].as_array().map(Vec::len);
    assert_eq!(turns, Some(41), "each of them once");
    call.hang_up();
    stage.assert_nothing_left();
    eventually("and the end", SOON, || calls(&api, "?result=HANGUP").len() == 1);
    assert!(api.get("/metrics").body.contains("\nai_bridge_call_log_events_lost_total 0\n"));
}
