use std::fs;
use std::path::Path;

use super::*;
use crate::CallStats;
use crate::Status;
use crate::events::{
    CallEnd, CallState, Direction, Figures, Hint, HintKind, NoticedBy, Origin, Priority, Speaker, What,
};
use crate::outbound::Cause;

/// A folder of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ai_call_log_{}_{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("there is room for a folder");
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("log.sqlite3")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn start(path: &Path) -> CallLog {
    let hooks = ThreadHooks { on_start: || {}, on_stop: || {} };
    CallLog::start(Plan { path: path.to_owned(), retention: Duration::ZERO, hooks }).expect("there is a thread")
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn event(id: u64, session: &str, what: What) -> Arc<Event> {
    let origin = Origin {
        direction: Direction::Inbound,
        channel: format!("PJSIP/{session}"),
        uniqueid: "1.1".to_owned(),
        caller: Some("1001".to_owned()),
        callee: Some("79123456789".to_owned()),
    };
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + id);
    Arc::new(Event { id, time, session: session.to_owned(), profile: "p".to_owned(), origin, what })
}

fn said(id: u64, session: &str, text: &str) -> Arc<Event> {
    event(id, session, What::said(Speaker::Caller, text, true))
}

fn began(id: u64, session: &str) -> Arc<Event> {
    event(id, session, What::CallStart { dialect: "openai".to_owned() })
}

fn ended(id: u64, session: &str) -> Arc<Event> {
    let end = CallEnd {
        status: Status::Transfer,
        reason: "the agent transferred the caller".to_owned(),
        duration_ms: 4200,
        transfer: Some("200@queues".to_owned()),
        digit: None,
        cause: Some(Cause { q850: 17, sip: Some(486) }),
        figures: Figures::from(&CallStats::default()),
    };
    event(id, session, What::CallEnd(Box::new(end)))
}

/// The calls that are found by `text`.
fn found(log: &CallLog, text: &str) -> Vec<String> {
    let wanted = Wanted { sought: Sought::new(text), limit: 100, ..Wanted::default() };
    log.reader().calls(&wanted).expect("readable").into_iter().map(|call| call.session).collect()
}

fn count(path: &Path, table: &str) -> i64 {
    let log = schema::open_to_read(path).expect("readable").expect("it is there");
    log.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("it can be counted")
}

#[test]
fn a_call_is_kept_with_all_that_happened_in_it() {
    let folder = Folder::new("kept");
    let log = start(&folder.file());
    let hint = Hint {
        kind: HintKind::Objection,
        title: "Price".to_owned(),
        content: "Offer help".to_owned(),
        priority: Priority::High,
    };
    let all = [
        began(1, "a"),
        event(2, "a", What::CallStatus { state: CallState::Talking }),
        said(3, "a", "Hello"),
        event(4, "a", What::said(Speaker::Agent, "Wel", false)),
        event(5, "a", What::said(Speaker::Agent, "Welcome", true)),
        event(6, "a", What::BargeIn { noticed_by: NoticedBy::Line, heard_ms: Some(100), received_ms: None }),
        event(
            7,
            "a",
            What::ToolCall {
                call_id: "c".to_owned(),
                tool: "transfer".to_owned(),
                arguments: "{}".to_owned(),
                error: None,
            },
        ),
        event(8, "a", What::Suggestion { hint: hint.clone(), latency_ms: 900 }),
        event(10, "a", What::Interim { speaker: Speaker::Caller, text: "And".to_owned() }),
        event(
            11,
            "a",
            What::Transcript {
                speaker: Speaker::Operator,
                text: "Yes".to_owned(),
                complete: true,
                start_ms: Some(1200),
                end_ms: Some(1900),
            },
        ),
        ended(12, "a"),
    ];
    all.iter().for_each(|event| log.give(event));
    log.end(soon());
    let reader = log.reader();
    let call = reader.call("a").expect("readable").expect("there is such a call");
    assert_eq!((call.status.as_deref(), call.transfer.as_deref()), (Some("TRANSFER"), Some("200@queues")));
    assert_eq!((call.dialect.as_str(), call.duration_ms), ("openai", Some(4200)));
    assert_eq!(call.callee.as_deref(), Some("79123456789"));
    assert_eq!(call.cause, Some(Cause { q850: 17, sip: Some(486) }));
    assert!(call.figures.expect("figures").contains("\"turns\":0"));
    let transcript = reader.transcript("a").expect("readable").expect("there is such a call");
    let turns = transcript.turns.iter();
    let turns: Vec<_> = turns.map(|turn| (turn.speaker.as_str(), turn.text.as_str(), turn.start_ms)).collect();
    assert_eq!(turns, [("caller", "Hello", None), ("agent", "Welcome", None), ("operator", "Yes", Some(1200))]);
    let [kept] = &transcript.hints[..] else { panic!("one hint") };
    assert_eq!((kept.kind.as_str(), kept.priority.as_str()), ("objection", "high"));
    assert_eq!((&kept.title, &kept.content), (&hint.title, &hint.content));
    for table in ["states", "barge_ins", "tool_calls", "hints"] {
        assert_eq!(count(&folder.file(), table), 1, "{table}");
    }
    assert!(reader.transcript("b").expect("readable").is_none());
    assert_eq!(log.health().lost(), 0);
}

#[test]
fn a_log_that_is_not_there_yet_is_empty() {
    let folder = Folder::new("not_yet");
    let reader = Reader::new(folder.file());
    let all = Wanted { limit: 9, ..Wanted::default() };
    assert_eq!(reader.calls(&all).expect("no error"), []);
    fs::write(folder.file(), "").expect("there is room");
    assert_eq!(reader.calls(&all).expect("no error"), []);
    assert_eq!(reader.transcript("a").expect("no error"), None);
    schema::open(&folder.file(), schema::MIGRATIONS).expect("it can be made");
    assert_eq!(reader.calls(&all).expect("no error"), []);
}

#[test]
fn pages_go_from_new_to_old_and_leave_nothing_out() {
    let folder = Folder::new("pages");
    let log = start(&folder.file());
    for (id, session) in ["a", "b", "c", "d"].iter().enumerate() {
        log.give(&began(id as u64 + 1, session));
    }
    log.give(&ended(9, "b"));
    log.end(soon());
    let reader = log.reader();
    let names = |wanted: &Wanted| -> Vec<String> {
        reader.calls(wanted).expect("readable").into_iter().map(|call| call.session).collect()
    };
    let first = Wanted { limit: 2, ..Wanted::default() };
    assert_eq!(names(&first), ["d", "c"]);
    let c = reader.call("c").expect("readable").expect("it is there");
    let after = Some((write::unix_ms(c.started), c.session));
    assert_eq!(names(&Wanted { limit: 9, after, ..Wanted::default() }), ["b", "a"]);
    assert_eq!(names(&Wanted { result: Some("TRANSFER".to_owned()), ..first.clone() }), ["b"]);
    assert_eq!(names(&Wanted { direction: Some("outbound"), ..first.clone() }), [""; 0]);
    assert_eq!(names(&Wanted { profile: Some("p".to_owned()), limit: 9, ..first.clone() }).len(), 4);
    let since = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_003));
    assert_eq!(names(&Wanted { since, limit: 9, ..first }), ["d", "c"]);
}

#[test]
fn a_file_of_version_1_is_brought_up_to_date_with_what_is_in_it() {
    let folder = Folder::new("migration");
    let old = schema::open(&folder.file(), &schema::MIGRATIONS[..1]).expect("it can be made");
    old.execute_batch(
        "INSERT INTO calls (session, started, ended, direction, profile, channel, uniqueid, status) \
         VALUES ('old', 1700000000000, 1700000001000, 'inbound', 'p', 'PJSIP/1', '1.1', 'HANGUP'); \
         INSERT INTO turns VALUES (1, 'old', 1700000000500, 'caller', 'Good old days');",
    )
    .expect("version 1 has these tables");
    assert!(old.prepare("SELECT * FROM states").is_err(), "and not those");
    drop(old);

    let log = start(&folder.file());
    log.give(&event(2, "new", What::CallStatus { state: CallState::Held }));
    log.end(soon());
    let turns = log.reader().transcript("old").expect("readable").expect("still there").turns;
    assert_eq!(turns[0].text, "Good old days");
    assert_eq!(found(&log, "GOOD day"), ["old"]);
    assert_eq!(count(&folder.file(), "states"), 1);
    let log = schema::open_to_read(&folder.file()).expect("readable").expect("it is there");
    let version: i64 = log.pragma_query_value(None, "user_version", |row| row.get(0)).expect("there is one");
    assert_eq!(version as usize, schema::MIGRATIONS.len());
}

#[test]
fn a_file_of_a_later_version_is_left_alone() {
    let folder = Folder::new("later");
    let later = schema::open(&folder.file(), schema::MIGRATIONS).expect("it can be made");
    later.pragma_update(None, "user_version", 99).expect("it can be set");
    drop(later);
    let problem = schema::open(&folder.file(), schema::MIGRATIONS).expect_err("unknown");
    assert!(problem.to_string().contains("version 99"), "{problem}");
}

#[test]
fn a_call_that_was_up_when_the_process_died_is_closed_by_the_next() {
    let folder = Folder::new("torn");
    let log = start(&folder.file());
    log.give(&began(1, "a"));
    log.give(&said(5, "a", "Are you th"));
    log.end(soon());
    let log = start(&folder.file());
    log.give(&began(20, "b"));
    log.end(soon());
    let torn = log.reader().call("a").expect("readable").expect("it is there");
    assert_eq!((torn.status, torn.reason.as_deref()), (None, Some("Asterisk ended in mid-call")));
    assert_eq!(torn.ended, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_005)));
    let up = log.reader().call("b").expect("readable").expect("it is there");
    assert_eq!(up.ended, None, "that one goes on");
}

#[test]
fn what_is_told_while_the_file_cannot_be_written_is_written_later() {
    let folder = Folder::new("later_writable");
    let missing = folder.0.join("not_yet");
    let log = start(&missing.join("log.sqlite3"));
    log.give(&began(1, "a"));
    log.give(&said(2, "a", "Kept in memory"));
    while !log.health().is_failing() {
        thread::yield_now();
    }
    fs::create_dir(&missing).expect("there is room for a folder");
    while log.health().is_failing() {
        thread::yield_now();
    }
    log.end(soon());
    assert_eq!(log.reader().transcript("a").expect("readable").expect("it is there").turns[0].text, "Kept in memory");
    assert_eq!(log.health().lost(), 0);
}

#[test]
fn what_finds_no_room_is_counted() {
    let folder = Folder::new("no_room");
    let log = start(&folder.0.join("missing").join("log.sqlite3"));
    while !log.health().is_failing() {
        thread::yield_now();
    }
    let more = WAITING_MAX as u64 + BATCH_MAX as u64 + 7;
    (0..more).for_each(|id| log.give(&said(id, "a", "x")));
    assert!((7..=7 + BATCH_MAX as u64).contains(&log.health().lost()), "{}", log.health().lost());
    let asked = Instant::now();
    log.end(soon());
    assert!(asked.elapsed() < Duration::from_secs(5), "a file that cannot be written holds nobody up");
}

#[test]
fn old_calls_are_forgotten_with_all_that_was_said() {
    let folder = Folder::new("retention");
    let mut log = schema::open(&folder.file(), schema::MIGRATIONS).expect("it can be made");
    let day = 86_400;
    write::write(&mut log, &[began(1, "old"), said(2, "old", "x"), ended(3, "old"), began(1 + 10 * day, "new")])
        .expect("writable");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + 10 * day + 5);
    assert_eq!(write::forget(&log, Duration::ZERO, now).expect("writable"), 0);
    assert_eq!(write::forget(&log, Duration::from_secs(11 * day), now).expect("writable"), 0);
    assert_eq!(write::forget(&log, Duration::from_secs(5 * day), now).expect("writable"), 1);
    drop(log);
    assert_eq!((count(&folder.file(), "calls"), count(&folder.file(), "turns")), (1, 0));
}

#[test]
fn calls_are_found_by_words_in_any_case_and_by_numbers() {
    let folder = Folder::new("search");
    let log = start(&folder.file());
    for event in
        [began(1, "a"), said(2, "a", "Где моя ДОСТАВКА? Ёлки!"), began(3, "b"), said(4, "b", "50% off_line, Été")]
    {
        log.give(&event);
    }
    log.end(soon());
    for (text, sessions) in [
        ("доставк", &["a"][..]),
        ("моя доставка", &["a"]),
        ("елки ГДЕ", &["a"]),
        ("ёлк", &["a"]),
        ("моя off", &[]),
        ("ставка", &[]),
        ("ete", &["b"]),
        ("off line", &["b"]),
        ("+7 912 345", &["b", "a"]),
        ("100", &["b", "a"]),
        ("1001 OR 5", &[]),
        ("%", &[]),
        ("_", &[]),
        ("'); DROP TABLE calls; --", &[]),
        ("\" \" NEAR(", &[]),
        ("", &["b", "a"]),
    ] {
        assert_eq!(found(&log, text), sessions, "{text:?}");
    }
}

#[test]
fn what_is_forgotten_is_not_in_the_file_any_more() {
    let folder = Folder::new("forgotten_words");
    let mut log = schema::open(&folder.file(), schema::MIGRATIONS).expect("it can be made");
    let secret = "Abrakadabra";
    write::write(&mut log, &[began(1, "old"), said(2, "old", secret), ended(3, "old")]).expect("writable");
    let has = |log: &Connection| {
        log.pragma_update(None, "wal_checkpoint", "TRUNCATE").expect("writable");
        let file = fs::read(folder.file()).expect("it is there").to_ascii_lowercase();
        file.windows(secret.len()).any(|bytes| bytes == secret.to_ascii_lowercase().as_bytes())
    };
    assert!(has(&log), "so that one would see it");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    assert_eq!(write::forget(&log, Duration::from_secs(86_400), now).expect("writable"), 1);
    assert!(!has(&log));
}

#[test]
fn others_cannot_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new("mode");
    let log = start(&folder.file());
    log.give(&began(1, "a"));
    log.end(soon());
    let mode = fs::metadata(folder.file()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o007, 0, "{mode:o}");
}
