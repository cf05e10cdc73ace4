//! The dialplan application `AI()`: from its arguments to its variables.

use std::ffi::{CStr, c_char, c_int};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ai_media::Format;
use ai_sidecar::events::{Direction, Origin};
use ai_sidecar::options::CallOptions;
use ai_sidecar::outbound::{Answerer, Line};
use ai_sidecar::settings::{OnMachine, Profile, Settings};
use ai_sidecar::{CallPlan, CallStats, Outcome, Status};
use tracing::{error, info, warn};

use crate::channel::{BorrowedFormats, Channel};
use crate::conversation::{Conversation, Limits};
use crate::ffi::ast_channel;
use crate::module::Bridge;
use crate::wake;
use crate::{exchange, guard, machine, module, originate};

/// Asterisk calls this on the channel's thread. 0: the dialplan goes on; -1: the channel is to be hung up.
#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_exec(raw: *mut ast_channel, arguments: *const c_char) -> c_int {
    guard::enter(-1, || {
        let _running = Running::new();
        // SAFETY: Asterisk calls an application with its channel, on the channel's thread, and the value ends with this
        // call.
        let Some(channel) = (unsafe { Channel::from_raw(raw) }) else { return -1 };
        // SAFETY: Asterisk passes null or a NUL-terminated string that lives until the application returns.
        let arguments = (!arguments.is_null()).then(|| unsafe { CStr::from_ptr(arguments) }.to_string_lossy());
        let mut results = Results { line: originate::current(raw), ..Results::default() };
        let outcome = guard::caught(|| converse(&channel, arguments.as_deref().unwrap_or_default(), &mut results))
            .unwrap_or_else(|panic| Outcome::new(Status::Error, format!("an error in the module: {panic}")));
        let outcome = results.settle(outcome);
        results.publish(&channel, &outcome);
        if let (None, Some(bridge)) = (results.begun, module::bridge()) {
            bridge.sidecar.turned_away(outcome.status);
        }
        if channel.is_hung_up() || outcome.hang_up { -1 } else { 0 }
    })
}

/// Calls that are inside the application now.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// How many calls are inside the application now.
pub(crate) fn running() -> usize {
    RUNNING.load(Ordering::Acquire)
}

struct Running;

impl Running {
    fn new() -> Self {
        RUNNING.fetch_add(1, Ordering::AcqRel);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
    }
}

fn converse(channel: &Channel, arguments: &str, results: &mut Results) -> Outcome {
    let Some(bridge) = module::bridge() else {
        return Outcome::new(Status::Error, "the module is being unloaded");
    };
    let mut options = match CallOptions::parse(arguments) {
        Ok(options) => options,
        Err(problem) => return Outcome::new(Status::Error, problem.to_string()),
    };
    if let Some(line) = &results.line {
        options.complete(line);
    }
    let settings = bridge.settings();
    results.in_cdr = settings.general.cdr_userfield;
    match settings.profile(options.profile.as_deref()) {
        Some(profile) => hold(channel, &bridge, &settings, profile, options, results),
        None => Outcome::new(
            Status::NoProfile,
            match options.profile {
                Some(name) => format!("there is no profile '{name}'; 'ai show profiles' lists them"),
                None => "no profile was named and there is no default_profile".to_owned(),
            },
        ),
    }
}

/// Holds the conversation, from the first system resource to the last.
fn hold(
    channel: &Channel,
    bridge: &Bridge,
    settings: &Settings,
    profile: &Arc<Profile>,
    mut options: CallOptions,
    results: &mut Results,
) -> Outcome {
    let failed = |problem: &str| Outcome::new(Status::Error, problem);
    let seat = match bridge.sidecar.seat(settings.general.max_sessions) {
        Ok(seat) => seat,
        Err(limit) => return Outcome::new(Status::Limit, limit.to_string()),
    };
    let doorbell = match wake::doorbell() {
        Ok(doorbell) => doorbell,
        Err(problem) => return failed(&format!("no file descriptor for the call: {problem}")),
    };
    if !channel.is_up() && options.no_answer {
        channel.progress();
    } else if !channel.is_up() && !options.early_connect && !channel.answer() {
        return gone();
    }
    if options.detect_machine
        && let Some(outcome) = screen(channel, profile, &mut options, results)
    {
        return outcome;
    }
    let Some(mut plan) = CallPlan::new(settings, profile, &options, channel.phone_format()) else {
        return failed("there is no such dialect");
    };
    let (barge_in, connect_timeout) = (plan.barge_in(), plan.connect_timeout());
    let Some(formats) = borrow_formats(channel, plan.channel_format()) else {
        return failed("Asterisk cannot translate between the phone's codec and signed linear");
    };
    channel.stop_generator();
    let origin = results.line.as_ref().map_or_else(|| inbound(channel), Line::origin);
    if let Some(line) = &results.line {
        plan = plan.within(line.clone());
    }
    let mut end = bridge.sidecar.begin(seat, plan, origin, formats.format(), doorbell.clone());
    let limits = Limits {
        end_digits: options.end_digits.clone(),
        max_duration: options.max_duration.or(Some(profile.max_duration)).filter(|limit| !limit.is_zero()),
        connect_timeout,
        jitter_target: profile.jitter_target,
        answer_when_connected: options.early_connect && !channel.is_up(),
        barge_in,
    };
    let _present = exchange::Present::new(&end.info().id, channel);
    results.begin(&end.info().id);
    info!("AI {}: {} talks to {}", end.info().id, end.info().origin.channel, profile.name);
    let conversation = guard::caught(|| Conversation::new(channel, &formats, &mut end, limits).run(&doorbell));
    results.take(&end.info().stats);
    let outcome =
        conversation.unwrap_or_else(|panic| Outcome::new(Status::Error, format!("an error in the module: {panic}")));
    let outcome = results.ordered(outcome);
    end.finish(&outcome);
    outcome
}

fn gone() -> Outcome {
    Outcome::new(Status::Hangup, "the caller hung up")
}

fn inbound(channel: &Channel) -> Origin {
    Origin {
        direction: Direction::Inbound,
        channel: channel.name(),
        uniqueid: channel.unique_id(),
        caller: channel.caller_number(),
        callee: None,
    }
}

/// Finds out who has answered; an outcome: the agent is not to talk to them.
fn screen(channel: &Channel, profile: &Profile, options: &mut CallOptions, results: &mut Results) -> Option<Outcome> {
    if !channel.is_up() || !machine::is_detectable() {
        let why = "option 'a' needs an answered channel and Asterisk's AMD(): load app_amd.so";
        return Some(Outcome::new(Status::Error, why));
    }
    let Some(answerer) = machine::detect(channel, &profile.amd_arguments) else { return Some(gone()) };
    results.answered_by = Some(answerer);
    results.line.iter().for_each(|line| line.answered_by(answerer));
    options.variables.push(("answered_by".to_owned(), answerer.name().to_owned()));
    if answerer != Answerer::Machine {
        return None;
    }
    let reason = match profile.on_machine {
        OnMachine::Continue => return None,
        OnMachine::Hangup => "an answering machine answered",
        OnMachine::Message if machine::leave_message(channel, &profile.machine_message) => {
            "an answering machine answered, and got the message"
        }
        OnMachine::Message => "an answering machine answered, and did not get all of the message",
    };
    Some(Outcome::new(Status::Machine, reason))
}

/// Borrows the channel's formats as `wanted`, or as 8 kHz linear where Asterisk knows no way to that.
fn borrow_formats(channel: &Channel, wanted: Format) -> Option<BorrowedFormats<'_>> {
    channel.borrow_formats(wanted).or_else(|| {
        warn!("AI: {} cannot be read as {wanted}; falling back to 8 kHz", channel.name());
        channel.borrow_formats(Format::slin(8000))
    })
}

/// What the dialplan learns besides the outcome.
#[derive(Default)]
struct Results {
    /// The outbound call that this is.
    line: Option<Line>,
    answered_by: Option<Answerer>,
    in_cdr: bool,
    session: String,
    begun: Option<Instant>,
    first_audio: Option<Duration>,
    barge_ins: u32,
    /// All figures in one line, for the log.
    figures: String,
}

impl Results {
    fn begin(&mut self, session: &str) {
        self.session = session.to_owned();
        self.begun = Some(Instant::now());
    }

    fn take(&mut self, stats: &CallStats) {
        self.first_audio = stats.first_audio.get();
        self.barge_ins = stats.barge_ins.load(Ordering::Relaxed);
        self.figures = format!(
            "connect {}, first audio {}, last response {}, last barge-in stop {}, turns {}, barge-ins {}, taken back \
             {}, underruns {}, dropped {} ms",
            stats.connect,
            stats.first_audio,
            stats.response,
            stats.barge_in_stop,
            stats.turns.load(Ordering::Relaxed),
            self.barge_ins,
            stats.taken_back.load(Ordering::Relaxed),
            stats.underruns.load(Ordering::Relaxed),
            stats.dropped_ms.load(Ordering::Relaxed)
        );
    }

    /// The outcome, if not the caller but somebody from outside has hung up.
    fn ordered(&self, outcome: Outcome) -> Outcome {
        let unwanted = self.line.as_ref().is_some_and(Line::is_unwanted);
        if outcome.status != Status::Hangup || !unwanted {
            return outcome;
        }
        Outcome::new(Status::Stopped, "the call was hung up from outside")
    }

    /// Tells the outbound call, if this is one, how it went without a session; a session tells that itself.
    fn settle(&mut self, outcome: Outcome) -> Outcome {
        let outcome = self.ordered(outcome);
        if let (Some(line), None) = (&self.line, self.begun) {
            line.id().clone_into(&mut self.session);
            line.concluded(&outcome);
        }
        outcome
    }

    fn publish(&self, channel: &Channel, outcome: &Outcome) {
        let lasted = self.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        self.log(channel, outcome, lasted);
        let first_audio = self.first_audio.map_or_else(String::new, |time| time.as_millis().to_string());
        channel.set_variable(c"AISTATUS", outcome.status.name());
        channel.set_variable(c"AIREASON", &outcome.reason);
        channel.set_variable(c"AISESSION", &self.session);
        channel.set_variable(c"AIDURATION", &lasted.as_secs().to_string());
        channel.set_variable(c"AITRANSFER", outcome.transfer.as_deref().unwrap_or_default());
        channel.set_variable(c"AIDIGIT", &outcome.digit.map_or_else(String::new, String::from));
        channel.set_variable(c"AIFIRSTAUDIO", &first_audio);
        channel.set_variable(c"AIBARGEINS", &self.barge_ins.to_string());
        channel.set_variable(c"AIMACHINE", self.answered_by.map_or("", machine::variable));
        if self.in_cdr {
            let (status, session, seconds) = (outcome.status.name(), &self.session, lasted.as_secs());
            channel.set_cdr_userfield(&format!("AISTATUS={status};AISESSION={session};AIDURATION={seconds}"));
        }
    }

    fn log(&self, channel: &Channel, outcome: &Outcome, lasted: Duration) {
        let reason = &outcome.reason;
        match outcome.status {
            Status::Error => error!("AI: {}: {reason}", channel.name()),
            Status::NoProfile | Status::ConnFail | Status::AuthFail | Status::Lost | Status::Limit => {
                warn!("AI: {}: {}: {reason}", channel.name(), outcome.status);
            }
            _ => {}
        }
        if self.begun.is_none() {
            return;
        }
        info!(
            "AI {}: ended {} after {:.1} s ({reason}); {}",
            self.session,
            outcome.status,
            lasted.as_secs_f64(),
            self.figures
        );
    }
}
