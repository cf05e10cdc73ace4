//! The commands that steer running sessions, and the totals.

use std::ffi::{c_char, c_int};
use std::sync::Arc;

use ai_sidecar::control::ControlError;
use ai_sidecar::{Sidecar, describe};

use super::{Answer, Help, command, complete_session, complete_session_or_all, no_session, nothing_to_complete};
use crate::ffi::{ast_cli_args, ast_cli_entry};
use crate::module::{self, Bridge};

/// Does something to the session that the first word names, and says what became of it.
fn order(words: &[String], done: &str, act: impl FnOnce(&Sidecar, &str) -> Result<(), ControlError>) -> Answer {
    let ([session, ..], Some(bridge)) = (words, module::bridge()) else { return Answer::Usage };
    Answer::Text(match act(&bridge.sidecar, session) {
        Ok(()) => format!("session {session} {done}\n"),
        Err(ControlError::NoSession) => no_session(session),
        Err(problem) => format!("session {session}: {problem}\n"),
    })
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_cli_stop(
    entry: *mut ast_cli_entry,
    what: c_int,
    arguments: *mut ast_cli_args,
) -> *mut c_char {
    const HELP: Help = Help {
        command: c"ai stop",
        usage: c"Usage: ai stop <session|channel|all>\n       Ends the conversation; its dialplan goes on with AISTATUS=STOPPED.\n",
    };
    command(&HELP, entry, what, arguments, complete_session_or_all, |words| match (words, module::bridge()) {
        ([id], Some(bridge)) if id == "all" => {
            Answer::Text(format!("{} sessions stopped\n", bridge.sidecar.stop_all()))
        }
        ([_], _) => order(words, "stopped", |sidecar, session| sidecar.stop(session)),
        _ => Answer::Usage,
    })
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_cli_say(
    entry: *mut ast_cli_entry,
    what: c_int,
    arguments: *mut ast_cli_args,
) -> *mut c_char {
    const HELP: Help = Help {
        command: c"ai say",
        usage: c"Usage: ai say <session|channel> <text>\n       Has the agent say the text as soon as it can. Put a long text into quotation marks.\n",
    };
    command(&HELP, entry, what, arguments, complete_session, |words| {
        if words.len() < 2 {
            return Answer::Usage;
        }
        order(words, "is told to say it", |sidecar, session| sidecar.say(session, &words[1..].join(" ")))
    })
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_cli_context(
    entry: *mut ast_cli_entry,
    what: c_int,
    arguments: *mut ast_cli_args,
) -> *mut c_char {
    const HELP: Help = Help {
        command: c"ai context",
        usage: c"Usage: ai context <session|channel> <text>\n       Lets the agent know the text, without a word about it now. Put a long text into quotation marks.\n",
    };
    command(&HELP, entry, what, arguments, complete_session, |words| {
        if words.len() < 2 {
            return Answer::Usage;
        }
        order(words, "knows it", |sidecar, session| sidecar.context(session, &words[1..].join(" "), false))
    })
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_cli_send(
    entry: *mut ast_cli_entry,
    what: c_int,
    arguments: *mut ast_cli_args,
) -> *mut c_char {
    const HELP: Help = Help {
        command: c"ai send",
        usage: c"Usage: ai send <session|channel> <keys>\n       Presses keys for the phone: 0-9, *, #, A-D, and w for half a second's pause.\n",
    };
    command(&HELP, entry, what, arguments, complete_session, |words| match words {
        [_, keys] => order(words, "presses them", |sidecar, session| sidecar.send_digits(session, keys)),
        _ => Answer::Usage,
    })
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_cli_hold(
    entry: *mut ast_cli_entry,
    what: c_int,
    arguments: *mut ast_cli_args,
) -> *mut c_char {
    const HELP: Help = Help {
        command: c"ai hold",
        usage: c"Usage: ai hold <session|channel>\n       Holds the agent: until 'ai resume' it neither hears nor is heard, and what it had to say waits.\n",
    };
    command(&HELP, entry, what, arguments, complete_session, |words| match words {
        [_] => order(words, "held", |sidecar, session| sidecar.hold(session)),
        _ => Answer::Usage,
    })
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_cli_resume(
    entry: *mut ast_cli_entry,
    what: c_int,
    arguments: *mut ast_cli_args,
) -> *mut c_char {
    const HELP: Help = Help {
        command: c"ai resume",
        usage: c"Usage: ai resume <session|channel>\n       Lets a held agent go on where it stopped.\n",
    };
    command(&HELP, entry, what, arguments, complete_session, |words| match words {
        [_] => order(words, "goes on", |sidecar, session| sidecar.resume(session)),
        _ => Answer::Usage,
    })
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_cli_show_stats(
    entry: *mut ast_cli_entry,
    what: c_int,
    arguments: *mut ast_cli_args,
) -> *mut c_char {
    const HELP: Help = Help {
        command: c"ai show stats",
        usage: c"Usage: ai show stats\n       Shows what all AI sessions since the module was loaded come to.\n",
    };
    command(&HELP, entry, what, arguments, nothing_to_complete, |words| match (words, module::bridge()) {
        ([], Some(bridge)) => Answer::Text(stats(&bridge)),
        _ => Answer::Usage,
    })
}

fn stats(bridge: &Arc<Bridge>) -> String {
    let sidecar = &bridge.sidecar;
    let totals = sidecar.totals();
    let ended: Vec<_> = totals.ended.iter().map(|(status, count)| format!("{status} {count}")).collect();
    let lines = [
        ("Up now", sidecar.sessions().to_string()),
        ("Most at a time", sidecar.most_sessions().to_string()),
        ("Ended", if ended.is_empty() { "-".to_owned() } else { ended.join(", ") }),
        ("Turns", totals.turns.to_string()),
        ("Barge-ins", totals.barge_ins.to_string()),
        ("Taken back", totals.taken_back.to_string()),
        ("Underruns", totals.underruns.to_string()),
        ("Dropped", format!("{} ms", totals.dropped_ms)),
        ("Reconnects", totals.reconnects.to_string()),
        ("Phone to AI", describe(&totals.latencies.uplink)),
        ("AI to phone", describe(&totals.latencies.turn_start)),
        ("Response", describe(&totals.latencies.response)),
        ("Barge-in stop", describe(&totals.latencies.barge_in_stop)),
        ("Transcription", describe(&totals.latencies.transcription)),
        ("Hint", describe(&totals.latencies.hint)),
        ("Hint failures", totals.hint_failures.to_string()),
    ];
    super::listed(&lines)
}
