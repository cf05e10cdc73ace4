//! The commands `ai …` of Asterisk's command line.

mod control;
mod outbound;

use std::ffi::{CStr, c_char, c_int};
use std::fmt::Write as _;
use std::ptr;
use std::sync::atomic::Ordering;

use ai_sidecar::events::Direction;
use ai_sidecar::{SessionInfo, describe};

use crate::ffi::{self, ast_cli_args, ast_cli_entry};
use crate::log::c_string;
use crate::{guard, module};

/// What a command answers Asterisk.
enum Answer {
    Text(String),
    Usage,
}

/// A command's name and help.
struct Help {
    command: &'static CStr,
    usage: &'static CStr,
}

/// Runs one command: help for `CLI_INIT`, words for `CLI_GENERATE`, else `run` with the words after the command.
fn command(
    help: &Help,
    entry: *mut ast_cli_entry,
    what: c_int,
    arguments: *mut ast_cli_args,
    complete: fn(&str),
    run: fn(&[String]) -> Answer,
) -> *mut c_char {
    guard::enter(ptr::null_mut(), || {
        // SAFETY: Asterisk passes arguments that live until the handler returns.
        let Some(arguments) = (unsafe { arguments.as_ref() }) else { return ptr::null_mut() };
        match what {
            ffi::CLI_INIT => {
                // SAFETY: Asterisk passes its entry, and nobody else knows it before this returns.
                unsafe {
                    (*entry).command = help.command.as_ptr().cast_mut();
                    (*entry).usage = help.usage.as_ptr();
                }
                ptr::null_mut()
            }
            ffi::CLI_GENERATE => {
                if arguments.pos == help.words() {
                    // SAFETY: the word typed so far is a NUL-terminated string.
                    complete(&unsafe { CStr::from_ptr(arguments.word) }.to_string_lossy());
                }
                ptr::null_mut()
            }
            _ => match run(&words(help, arguments)) {
                Answer::Usage => ptr::without_provenance_mut(ffi::RESULT_SHOWUSAGE as usize),
                Answer::Text(text) => {
                    let text = c_string(&text);
                    // SAFETY: the text is NUL-terminated and lives until the call returns; the shim prints it by "%s".
                    unsafe { ffi::ai_shim_cli(arguments.fd, text.as_ptr()) };
                    ptr::without_provenance_mut(ffi::RESULT_SUCCESS as usize)
                }
            },
        }
    })
}

impl Help {
    /// How many words the command has.
    fn words(&self) -> c_int {
        self.command.to_bytes().split(|&byte| byte == b' ').count() as c_int
    }
}

/// The words after the command itself.
fn words(help: &Help, arguments: &ast_cli_args) -> Vec<String> {
    (help.words()..arguments.argc)
        // SAFETY: `argv` has `argc` NUL-terminated strings.
        .map(|index| unsafe { CStr::from_ptr(*arguments.argv.add(index as usize)) }.to_string_lossy().into_owned())
        .collect()
}

fn nothing_to_complete(_: &str) {}

/// Offers the sessions whose id begins with `typed`.
fn complete_session(typed: &str) {
    offer_sessions(typed, Vec::new());
}

/// Offers the same, and `all`.
fn complete_session_or_all(typed: &str) {
    offer_sessions(typed, vec!["all".to_owned()]);
}

fn offer(word: &str) {
    let word = c_string(word);
    // SAFETY: the word is NUL-terminated; the shim hands Asterisk a copy.
    unsafe { ffi::ai_shim_cli_complete(word.as_ptr()) };
}

fn offer_sessions(typed: &str, mut ids: Vec<String>) {
    if let Some(bridge) = module::bridge() {
        bridge.sidecar.for_each_session(|session| ids.push(session.id.clone()));
    }
    ids.iter().filter(|id| id.starts_with(typed)).for_each(|id| offer(id));
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_cli_show_sessions(
    entry: *mut ast_cli_entry,
    what: c_int,
    arguments: *mut ast_cli_args,
) -> *mut c_char {
    const HELP: Help = Help {
        command: c"ai show sessions",
        usage: c"Usage: ai show sessions\n       Lists the calls that talk to an AI, with their figures.\n",
    };
    command(&HELP, entry, what, arguments, nothing_to_complete, |words| {
        if words.is_empty() { Answer::Text(sessions()) } else { Answer::Usage }
    })
}

fn sessions() -> String {
    let mut table = format!(
        "{:<36} {:<16} {:<32} {:<12} {:>7} {:>8} {:>8} {:>5} {:>8} {:>8} {:>9} {:>8}\n",
        "Session",
        "Profile",
        "Channel",
        "State",
        "Time",
        "Connect",
        "First",
        "Turns",
        "Response",
        "BargeIns",
        "Underruns",
        "Dropped"
    );
    let mut count = 0;
    if let Some(bridge) = module::bridge() {
        bridge.sidecar.for_each_session(|session| {
            count += 1;
            session_line(&mut table, session);
        });
    }
    table + &format!("{count} AI session{}\n", if count == 1 { "" } else { "s" })
}

fn session_line(table: &mut String, session: &SessionInfo) {
    let stats = &session.stats;
    let written = writeln!(
        table,
        "{:<36} {:<16} {:<32} {:<12} {:>6}s {:>8} {:>8} {:>5} {:>8} {:>8} {:>9} {:>5} ms",
        session.id,
        session.profile,
        session.origin.channel,
        session.condition.state().name(),
        session.started.elapsed().as_secs(),
        stats.connect,
        stats.first_audio,
        stats.turns.load(Ordering::Relaxed),
        stats.response,
        stats.barge_ins.load(Ordering::Relaxed),
        stats.underruns.load(Ordering::Relaxed),
        stats.dropped_ms.load(Ordering::Relaxed),
    );
    debug_assert!(written.is_ok(), "a String takes everything");
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_cli_show_session(
    entry: *mut ast_cli_entry,
    what: c_int,
    arguments: *mut ast_cli_args,
) -> *mut c_char {
    const HELP: Help = Help {
        command: c"ai show session",
        usage: c"Usage: ai show session <session|channel>\n       Shows a call that talks to an AI, with the distribution of its latencies.\n",
    };
    command(&HELP, entry, what, arguments, complete_session, |words| {
        let [id] = words else { return Answer::Usage };
        let shown = module::bridge().and_then(|bridge| bridge.sidecar.look_at(id, session_details));
        Answer::Text(shown.unwrap_or_else(|| no_session(id)))
    })
}

fn no_session(id: &str) -> String {
    format!("there is no session {id}; 'ai show sessions' lists them\n")
}

fn session_details(session: &SessionInfo) -> String {
    let mut lines = vec![
        ("Session", session.id.clone()),
        ("Profile", session.profile.clone()),
        ("Channel", session.origin.channel.clone()),
        ("Caller", session.origin.caller.clone().unwrap_or_else(|| "-".to_owned())),
        ("State", session.condition.state().name().to_owned()),
        ("Time", format!("{} s", session.started.elapsed().as_secs())),
        ("Reconnects", session.stats.reconnects.load(Ordering::Relaxed).to_string()),
        ("Dropped", format!("{} ms", session.stats.dropped_ms.load(Ordering::Relaxed))),
    ];
    match session.origin.direction {
        Direction::Assist => lines.extend(assistant_details(session)),
        Direction::Inbound | Direction::Outbound => lines.extend(agent_details(session)),
    }
    listed(&lines)
}

fn agent_details(session: &SessionInfo) -> [(&'static str, String); 12] {
    let stats = &session.stats;
    let latencies = stats.latencies();
    [
        ("Connect", stats.connect.to_string()),
        ("First audio", stats.first_audio.to_string()),
        ("Turns", stats.turns.load(Ordering::Relaxed).to_string()),
        ("Barge-ins", stats.barge_ins.load(Ordering::Relaxed).to_string()),
        ("Taken back", stats.taken_back.load(Ordering::Relaxed).to_string()),
        ("Underruns", stats.underruns.load(Ordering::Relaxed).to_string()),
        ("Reconnect", stats.reconnect.to_string()),
        ("Roll-overs", stats.roll_overs.load(Ordering::Relaxed).to_string()),
        ("Phone to AI", describe(&latencies.uplink)),
        ("AI to phone", describe(&latencies.turn_start)),
        ("Response", describe(&latencies.response)),
        ("Barge-in stop", describe(&latencies.barge_in_stop)),
    ]
}

fn assistant_details(session: &SessionInfo) -> [(&'static str, String); 3] {
    let latencies = session.stats.latencies();
    [
        ("Transcription", describe(&latencies.transcription)),
        ("Hint", describe(&latencies.hint)),
        ("Hint failures", session.stats.hint_failures.load(Ordering::Relaxed).to_string()),
    ]
}

/// Names and what they stand for, one a line.
fn listed(lines: &[(&str, String)]) -> String {
    lines.iter().map(|(name, value)| format!("{name:<14} {value}\n")).collect()
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_cli_show_profiles(
    entry: *mut ast_cli_entry,
    what: c_int,
    arguments: *mut ast_cli_args,
) -> *mut c_char {
    const HELP: Help = Help {
        command: c"ai show profiles",
        usage: c"Usage: ai show profiles\n       Lists the profiles of ai_bridge.conf that are in force. Keys are never shown.\n",
    };
    command(&HELP, entry, what, arguments, nothing_to_complete, |words| {
        if words.is_empty() { Answer::Text(profiles()) } else { Answer::Usage }
    })
}

fn profiles() -> String {
    let mut table =
        format!("{:<20} {:<10} {:<24} {:<8} {:<10} {}\n", "Profile", "Dialect", "Model", "Audio", "Key", "Server");
    let Some(bridge) = module::bridge() else { return table };
    let settings = bridge.settings();
    let (agent, assistant) = (&settings.general.default_profile, &settings.general.default_assist_profile);
    for profile in settings.profiles.values() {
        let (session, key) = (&profile.session, !profile.session.api_key.is_empty());
        let name = named(&profile.name, agent);
        profile_line(&mut table, &name, &profile.dialect, [&session.model, session.audio.name(), &session.url], key);
    }
    for profile in settings.assist_profiles.values() {
        let (heard, key) = (&profile.listening, !profile.listening.api_key.is_empty());
        let name = named(&profile.name, assistant);
        profile_line(&mut table, &name, &profile.dialect, [&heard.model, heard.audio.name(), &heard.url], key);
    }
    table + &format!("{} profiles\n", settings.profiles.len() + settings.assist_profiles.len())
}

fn named(name: &str, default: &str) -> String {
    format!("{name}{}", if name == default { " (default)" } else { "" })
}

fn profile_line(table: &mut String, name: &str, dialect: &str, [model, audio, url]: [&str; 3], key: bool) {
    let (key, server) = (if key { "set" } else { "none" }, server(url));
    let written = writeln!(table, "{name:<20} {dialect:<10} {model:<24} {audio:<8} {key:<10} {server}");
    debug_assert!(written.is_ok(), "a String takes everything");
}

/// Scheme and host of `url`: user names, paths and queries may hold secrets.
fn server(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    format!("{scheme}://{}", authority.rsplit('@').next().unwrap_or_default())
}

#[cfg(feature = "checked")]
mod tests {
    //! Failures to order, for the tests of what survives them.

    use std::sync::atomic::{AtomicU8, Ordering};

    static ORDER: AtomicU8 = AtomicU8::new(0);

    const FAILURES: [&str; 3] = ["", "panic", "allocate"];

    /// Makes the next turn of some call's loop fail in this way; false if the way is unknown.
    pub(super) fn order(failure: &str) -> bool {
        let known = FAILURES.iter().position(|&known| known == failure && !known.is_empty());
        known.inspect(|&number| ORDER.store(number as u8, Ordering::SeqCst)).is_some()
    }

    pub(super) fn fail() {
        match FAILURES[usize::from(ORDER.swap(0, Ordering::SeqCst))] {
            "panic" => panic!("ordered by 'ai test panic'"),
            "allocate" => crate::realtime::no_alloc(|| drop(std::hint::black_box(vec![1; 8]))),
            _ => {}
        }
    }
}

/// In the `checked` build: fails if a test has ordered it.
pub(crate) fn fail_on_purpose() {
    #[cfg(feature = "checked")]
    tests::fail();
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_cli_test(
    entry: *mut ast_cli_entry,
    what: c_int,
    arguments: *mut ast_cli_args,
) -> *mut c_char {
    const HELP: Help = Help {
        command: c"ai test",
        usage: c"Usage: ai test <panic|allocate>\n       Makes a call's thread fail on purpose. Only in test builds.\n",
    };
    command(&HELP, entry, what, arguments, nothing_to_complete, |words| match words {
        #[cfg(feature = "checked")]
        [failure] if tests::order(failure) => Answer::Text(format!("the next call to wake will {failure}\n")),
        _ => Answer::Usage,
    })
}
