//! The manager interface (AMI): actions that look at sessions and steer them, and events.
//!
//! Actions run on the thread of the client that asks, and may wait a moment for a call's task. What they can do is what
//! [`ai_sidecar::control`] can.

mod dial;
mod events;
mod headers;

use std::ffi::{CStr, c_int};
use std::sync::atomic::Ordering;
use std::time::Duration;

use ai_sidecar::control::ControlError;
use ai_sidecar::{SessionInfo, Sidecar};

pub(crate) use self::events::Events;
use self::headers::Headers;
use crate::ffi::{self, mansession, message};
use crate::log::c_string;
use crate::module::Bridge;
use crate::{guard, module};

/// An action that a client asks for. Lives as long as Asterisk's call of it.
#[derive(Clone, Copy)]
struct Action {
    client: *mut mansession,
    message: *const message,
}

impl Action {
    /// The value of the action's header `name`; empty if there is none.
    fn header(&self, name: &CStr) -> String {
        // SAFETY: both pointers are Asterisk's own and live until the action returns, as does the answer, which is never null.
        // The name is only read.
        let value = unsafe { CStr::from_ptr(ffi::astman_get_header(self.message, name.as_ptr().cast_mut())) };
        value.to_string_lossy().trim().to_owned()
    }

    fn succeed(&self, text: &str) {
        let text = c_string(text);
        // SAFETY: as in `header`; the text is NUL-terminated and only read.
        unsafe { ffi::astman_send_ack(self.client, self.message, text.as_ptr().cast_mut()) };
    }

    /// The same with more to say.
    fn succeed_with(&self, text: &str, headers: Headers) {
        let id = self.header(c"ActionID");
        let first = Headers::default().add("Response", "Success");
        let first = first.add_some("ActionID", Some(id).filter(|id| !id.is_empty())).add("Message", text);
        self.append(&format!("{first}{headers}\r\n"));
    }

    fn append(&self, text: &str) {
        let text = c_string(text);
        // SAFETY: as in `header`; the shim prints the text by "%s".
        unsafe { ffi::ai_shim_ami_append(self.client, text.as_ptr()) };
    }

    fn fail(&self, text: &str) {
        let text = c_string(text);
        // SAFETY: as in `header`; the shim prints the text by "%s".
        unsafe { ffi::ai_shim_ami_error(self.client, self.message, text.as_ptr()) };
    }

    /// Sends one event of a list.
    fn list(&self, event: &str, headers: Headers) {
        let id = self.header(c"ActionID");
        let first = Headers::default().add("Event", event).add_some("ActionID", Some(id).filter(|id| !id.is_empty()));
        self.append(&format!("{first}{headers}\r\n"));
    }

    /// Does something to the session that the header `Session` names, and answers what became of it.
    fn order(&self, done: &str, act: impl FnOnce(&Sidecar, &str) -> Result<(), ControlError>) {
        let session = self.header(c"Session");
        if session.is_empty() {
            return self.fail("Session: missing; give the id of a session or its channel's name");
        }
        let Some(bridge) = module::bridge() else { return self.fail("the module is being unloaded") };
        match act(&bridge.sidecar, &session) {
            Ok(()) => self.succeed(done),
            Err(ControlError::NoSession) => {
                self.fail("Session: there is no such session; AISessions lists those there are");
            }
            Err(problem @ (ControlError::Empty | ControlError::TooLong { .. })) => {
                self.fail(&format!("Text: {problem}"));
            }
            Err(problem @ ControlError::Keys(_)) => self.fail(&format!("Keys: {problem}")),
            Err(problem) => self.fail(&problem.to_string()),
        }
    }
}

/// Runs an action. 0: the client stays connected, whatever became of it.
fn act(client: *mut mansession, message: *const message, run: fn(&Action)) -> c_int {
    let action = Action { client, message };
    guard::enter((), || run(&action));
    0
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_ami_sessions(client: *mut mansession, message: *const message) -> c_int {
    act(client, message, |action| {
        // SAFETY: as in `Action::header`; the texts are NUL-terminated and only read.
        unsafe {
            let text = c"AI sessions follow".as_ptr().cast_mut();
            ffi::astman_send_listack(action.client, action.message, text, c"start".as_ptr().cast_mut());
        }
        let count = module::bridge().map_or(0, |bridge| list_sessions(action, &bridge));
        // SAFETY: as above.
        unsafe {
            let event = c"AISessionsComplete".as_ptr();
            ffi::astman_send_list_complete_start(action.client, action.message, event, count);
            ffi::astman_send_list_complete_end(action.client);
        }
    })
}

fn list_sessions(action: &Action, bridge: &Bridge) -> c_int {
    // Written down first: a slow client must not hold up the table of sessions.
    let mut sessions = Vec::new();
    bridge.sidecar.for_each_session(|session| sessions.push(described(session)));
    let count = sessions.len();
    sessions.into_iter().for_each(|session| action.list("AISession", session));
    count as c_int
}

fn described(session: &SessionInfo) -> Headers {
    let stats = &session.stats;
    let ms = |time: Option<Duration>| time.map(|time| time.as_millis());
    Headers::session(&session.id, &session.profile, &session.origin)
        .add("State", session.condition.state().name())
        .add("Duration", session.started.elapsed().as_secs())
        .add_some("ConnectMs", ms(stats.connect.get()))
        .add_some("FirstAudioMs", ms(stats.first_audio.get()))
        .add_some("LastResponseMs", ms(stats.response.get()))
        .add("Turns", stats.turns.load(Ordering::Relaxed))
        .add("BargeIns", stats.barge_ins.load(Ordering::Relaxed))
        .add("Underruns", stats.underruns.load(Ordering::Relaxed))
        .add("DroppedMs", stats.dropped_ms.load(Ordering::Relaxed))
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_ami_stop(client: *mut mansession, message: *const message) -> c_int {
    act(client, message, |action| match module::bridge() {
        Some(bridge) if action.header(c"Session") == "all" => {
            action.succeed(&format!("{} sessions stopped", bridge.sidecar.stop_all()));
        }
        _ => action.order("Session stopped", |sidecar, session| sidecar.stop(session)),
    })
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_ami_say(client: *mut mansession, message: *const message) -> c_int {
    act(client, message, |action| {
        action.order("The agent is told to say it", |sidecar, session| sidecar.say(session, &action.header(c"Text")));
    })
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_ami_context(client: *mut mansession, message: *const message) -> c_int {
    act(client, message, |action| {
        let answer = match action.header(c"Answer").to_ascii_lowercase().as_str() {
            "yes" => true,
            "no" | "" => false,
            _ => return action.fail("Answer: expected yes or no"),
        };
        action
            .order("The agent knows it", |sidecar, session| sidecar.context(session, &action.header(c"Text"), answer));
    })
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_ami_send(client: *mut mansession, message: *const message) -> c_int {
    act(client, message, |action| {
        let keys = action.header(c"Keys");
        action.order("The keys are pressed", |sidecar, session| sidecar.send_digits(session, &keys));
    })
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_ami_hold(client: *mut mansession, message: *const message) -> c_int {
    act(client, message, |action| action.order("Session held", |sidecar, session| sidecar.hold(session)))
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_ami_resume(client: *mut mansession, message: *const message) -> c_int {
    act(client, message, |action| action.order("Session goes on", |sidecar, session| sidecar.resume(session)))
}
