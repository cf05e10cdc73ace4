//! The dialplan applications `AIAssist()` and `StopAIAssist()`: from arguments to variables. The call itself goes on
//! meanwhile; [`tap`] hears it.

use std::ffi::{CStr, c_char, c_int};

use ai_sidecar::assist::{AssistOptions, AssistPlan, Side};
use ai_sidecar::events::{Direction, Origin};
use ai_sidecar::{Outcome, Status};
use tracing::{error, info, warn};

use crate::channel::Channel;
use crate::ffi::ast_channel;
use crate::{guard, module, tap};

/// Asterisk calls this on the thread that runs the channel's dialplan. 0: the dialplan goes on; -1: the channel is to be hung up.
#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_assist(raw: *mut ast_channel, arguments: *const c_char) -> c_int {
    on_channel(raw, |channel| {
        // SAFETY: Asterisk passes null or a NUL-terminated string that lives until the application returns.
        let arguments = (!arguments.is_null()).then(|| unsafe { CStr::from_ptr(arguments) }.to_string_lossy());
        let begun = guard::caught(|| begin(channel, arguments.as_deref().unwrap_or_default()))
            .unwrap_or_else(|panic| Err(Outcome::new(Status::Error, format!("an error in the module: {panic}"))));
        publish(channel, &begun);
    })
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_stop_assist(raw: *mut ast_channel, _arguments: *const c_char) -> c_int {
    on_channel(raw, tap::end)
}

fn on_channel(raw: *mut ast_channel, run: impl FnOnce(&Channel)) -> c_int {
    guard::enter(-1, || {
        // SAFETY: Asterisk calls an application with its channel, on the thread that runs the channel's dialplan, and the value
        // ends with this call.
        let Some(channel) = (unsafe { Channel::from_raw(raw) }) else { return -1 };
        run(&channel);
        if channel.is_hung_up() { -1 } else { 0 }
    })
}

/// Begins a session that hears the channel, and answers its id.
fn begin(channel: &Channel, arguments: &str) -> Result<String, Outcome> {
    let failed = |problem: String| Outcome::new(Status::Error, problem);
    let bridge = module::bridge().ok_or_else(|| failed("the module is being unloaded".to_owned()))?;
    let options = AssistOptions::parse(arguments).map_err(|problem| failed(problem.to_string()))?;
    if let Some(session) = tap::session(channel) {
        return Err(failed(format!("session {session} hears this channel already; StopAIAssist() ends it")));
    }
    let settings = bridge.settings();
    let profile = settings.assist_profile(options.profile.as_deref()).ok_or_else(|| no_profile(&options))?;
    let seat = bridge.sidecar.seat(settings.general.max_sessions);
    let seat = seat.map_err(|limit| Outcome::new(Status::Limit, limit.to_string()))?;
    let plan = AssistPlan::new(&settings, profile, &options);
    let plan = plan.ok_or_else(|| failed("there is no such dialect".to_owned()))?;
    // What is left of a session that was stopped while no frame came.
    tap::end(channel);
    let end = bridge.sidecar.begin_assist(seat, plan, origin(channel, options.side));
    let id = end.info().id.clone();
    if !tap::begin(channel, end) {
        return Err(failed("the channel cannot be listened to: it hangs up".to_owned()));
    }
    info!("AI {id}: {} is assisted by {}", channel.name(), profile.name);
    Ok(id)
}

fn no_profile(options: &AssistOptions) -> Outcome {
    let reason = match &options.profile {
        Some(name) => format!("there is no profile '{name}' of type = assist; 'ai show profiles' lists them"),
        None => "no profile was named and there is no default_assist_profile".to_owned(),
    };
    Outcome::new(Status::NoProfile, reason)
}

/// Whose call it is: `side` is who talks on the channel.
fn origin(channel: &Channel, side: Side) -> Origin {
    let (own, other) = (channel.caller_number(), channel.connected_number());
    let (caller, callee) = match side {
        Side::Caller => (own, None),
        Side::Operator => (other, own),
    };
    let (channel, uniqueid) = (channel.name(), channel.unique_id());
    Origin { direction: Direction::Assist, channel, uniqueid, caller, callee }
}

fn publish(channel: &Channel, begun: &Result<String, Outcome>) {
    match begun {
        Ok(session) => {
            channel.set_variable(c"AISTATUS", "");
            channel.set_variable(c"AIREASON", "");
            channel.set_variable(c"AISESSION", session);
        }
        Err(outcome) => {
            let (status, reason) = (outcome.status.name(), &outcome.reason);
            match outcome.status {
                Status::Error => error!("AIAssist: {}: {reason}", channel.name()),
                _ => warn!("AIAssist: {}: {status}: {reason}", channel.name()),
            }
            channel.set_variable(c"AISTATUS", status);
            channel.set_variable(c"AIREASON", reason);
            if let Some(bridge) = module::bridge() {
                bridge.sidecar.turned_away(outcome.status);
            }
        }
    }
}
