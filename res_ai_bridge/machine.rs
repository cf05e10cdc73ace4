//! Who has answered: a person or an answering machine. Asterisk's own `AMD()` listens and decides.

use ai_sidecar::outbound::Answerer;
use tracing::{info, warn};

use crate::channel::Channel;
use crate::ffi;

/// So much silence means that the machine's greeting is over, its tone included: after that it records. [ms]
const AFTER_GREETING_MS: u32 = 1500;
/// A greeting that is longer is not waited for. [s]
const GREETING_MAX_S: u32 = 60;

/// True if Asterisk can tell.
pub(crate) fn is_detectable() -> bool {
    // SAFETY: the name is NUL-terminated; the answer is not followed.
    unsafe { !ffi::pbx_findapp(c"AMD".as_ptr()).is_null() }
}

/// Listens until it is known who has answered `channel`; `None`: whoever it was is gone. The line is not left without a
/// packet meanwhile: many gateways learn from them where to send audio.
pub(crate) fn detect(channel: &Channel, arguments: &str) -> Option<Answerer> {
    let silence = channel.send_silence();
    let heard = channel.run(c"AMD", arguments);
    drop(silence);
    if !heard || channel.is_hung_up() {
        return None;
    }
    let (status, cause) = (channel.variable(c"AMDSTATUS"), channel.variable(c"AMDCAUSE"));
    info!("AI: {} was answered by {status} ({cause})", channel.name());
    match status.as_str() {
        "HUMAN" => Some(Answerer::Human),
        "MACHINE" => Some(Answerer::Machine),
        "HANGUP" => None,
        _ => Some(Answerer::Unsure),
    }
}

/// The value of the channel variable `AIMACHINE`: Asterisk's own word.
pub(crate) fn variable(answerer: Answerer) -> &'static str {
    match answerer {
        Answerer::Human => "HUMAN",
        Answerer::Machine => "MACHINE",
        Answerer::Unsure => "NOTSURE",
    }
}

/// Waits for the end of the machine's greeting and plays `sound` to it. False if it did not hear all of that.
pub(crate) fn leave_message(channel: &Channel, sound: &str) -> bool {
    let silence = channel.send_silence();
    let waited = channel.run(c"WaitForSilence", &format!("{AFTER_GREETING_MS},1,{GREETING_MAX_S}"));
    drop(silence);
    if channel.is_hung_up() {
        return false;
    }
    if !waited {
        warn!("AI: {}: no WaitForSilence(): the message may begin during the greeting", channel.name());
    }
    let played = channel.run(c"Playback", sound) && channel.variable(c"PLAYBACKSTATUS") == "SUCCESS";
    if !played && !channel.is_hung_up() {
        warn!("AI: {}: the message {sound} could not be played", channel.name());
    }
    played && !channel.is_hung_up()
}
