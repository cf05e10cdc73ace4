//! The commands that make calls happen.

use std::collections::BTreeSet;
use std::ffi::{c_char, c_int};
use std::fmt::Write as _;
use std::time::SystemTime;

use ai_sidecar::outbound::{Call, DialRequest};

use super::{Answer, Help, command, nothing_to_complete, offer};
use crate::ffi::{ast_cli_args, ast_cli_entry};
use crate::module;

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_cli_dial(
    entry: *mut ast_cli_entry,
    what: c_int,
    arguments: *mut ast_cli_args,
) -> *mut c_char {
    const HELP: Help = Help {
        command: c"ai dial",
        usage: c"Usage: ai dial <number> [profile [detect]]\n       Calls the number through a trunk of ai_bridge.conf; once it is answered, the agent talks. With\n       'detect' only to a person, or as the profile's on_machine says.\n",
    };
    command(&HELP, entry, what, arguments, nothing_to_complete, |words| {
        let (number, profile, detect_machine) = match words {
            [number] => (number, None, false),
            [number, profile] => (number, Some(profile), false),
            [number, profile, detect] if detect == "detect" => (number, Some(profile), true),
            _ => return Answer::Usage,
        };
        let Some(bridge) = module::bridge() else { return Answer::Usage };
        let (phone_number, profile) = (number.clone(), profile.cloned());
        let request = DialRequest { phone_number, profile, detect_machine, ..DialRequest::default() };
        Answer::Text(match bridge.sidecar.outbound().dial(&bridge.settings(), request) {
            Ok(call) => format!("call {} is being dialled through {}\n", call.id, call.trunk),
            Err(problem) => format!("not dialled: {problem}\n"),
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_cli_show_calls(
    entry: *mut ast_cli_entry,
    what: c_int,
    arguments: *mut ast_cli_args,
) -> *mut c_char {
    const HELP: Help = Help {
        command: c"ai show calls",
        usage: c"Usage: ai show calls\n       Lists the calls that were made for agents: those that are up, and the last that were.\n",
    };
    command(&HELP, entry, what, arguments, nothing_to_complete, |words| {
        if words.is_empty() { Answer::Text(calls()) } else { Answer::Usage }
    })
}

fn calls() -> String {
    let mut table = format!(
        "{:<36} {:<16} {:<12} {:<12} {:<11} {:>6} {:<11} {}\n",
        "Call", "Number", "Trunk", "Profile", "State", "Time", "Ended", "Cause"
    );
    let calls = module::bridge().map_or_else(Vec::new, |bridge| bridge.sidecar.outbound().list());
    calls.iter().for_each(|call| call_line(&mut table, call));
    let up = calls.iter().filter(|call| call.ended.is_none()).count();
    table + &format!("{up} calls up, {} remembered\n", calls.len() - up)
}

fn call_line(table: &mut String, call: &Call) {
    let until = call.ended.unwrap_or_else(SystemTime::now);
    let seconds = until.duration_since(call.started).map_or(0, |time| time.as_secs());
    let cause = call.cause.filter(|_| call.ended.is_some()).map_or_else(String::new, |cause| {
        cause.sip.map_or_else(|| cause.q850.to_string(), |sip| format!("{} (SIP {sip})", cause.q850))
    });
    let written = writeln!(
        table,
        "{:<36} {:<16} {:<12} {:<12} {:<11} {seconds:>5}s {:<11} {cause}",
        call.id,
        call.phone_number,
        call.trunk,
        call.profile,
        call.state.name(),
        call.status.map_or("", |status| status.name()),
    );
    debug_assert!(written.is_ok(), "a String takes everything");
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_cli_hangup(
    entry: *mut ast_cli_entry,
    what: c_int,
    arguments: *mut ast_cli_args,
) -> *mut c_char {
    const HELP: Help = Help {
        command: c"ai hangup",
        usage: c"Usage: ai hangup <call|all>\n       Hangs up a call, one that was made for an agent in whatever state it is; all: those that were made.\n",
    };
    command(&HELP, entry, what, arguments, complete_call, |words| match (words, module::bridge()) {
        ([id], Some(bridge)) if id == "all" => {
            Answer::Text(format!("{} calls hung up\n", bridge.sidecar.outbound().hang_up_all()))
        }
        ([id], Some(bridge)) if bridge.sidecar.hang_up(id).is_ok() => Answer::Text(format!("call {id} hung up\n")),
        ([id], _) => Answer::Text(format!("there is no call {id}; 'ai show calls' lists them\n")),
        _ => Answer::Usage,
    })
}

fn complete_call(typed: &str) {
    let Some(bridge) = module::bridge() else { return };
    let calls = bridge.sidecar.outbound().list();
    // A call that was made and its session have one id.
    let mut up: BTreeSet<_> = calls.into_iter().filter(|call| call.ended.is_none()).map(|call| call.id).collect();
    bridge.sidecar.for_each_session(|session| _ = up.insert(session.id.clone()));
    up.insert("all".to_owned());
    up.iter().filter(|word| word.starts_with(typed)).for_each(|word| offer(word));
}
