//! Keys sent to the phone, one after the other, on the channel's own thread and clock: nothing waits for them.

use std::time::{Duration, Instant};

use ai_sidecar::link::{ChannelEnd, DIGIT_PAUSE, DIGIT_TIME};

use crate::channel::Channel;

/// The thread looks once a frame: what is due within half of one is due now.
const TOLERANCE: Duration = Duration::from_millis(10);

/// The keys of one call.
#[derive(Default)]
pub(crate) struct Keys(State);

#[derive(Default)]
enum State {
    #[default]
    Idle,
    /// A key is down since then.
    Down(char, Instant),
    /// No key goes down before then.
    Pause(Instant),
}

impl Keys {
    /// Presses and releases what is due. True if a key went down or up.
    ///
    /// # Realtime
    /// One load; as [`Channel::begin_digit`] when a key is due.
    pub(crate) fn tick(&mut self, channel: &Channel, end: &ChannelEnd, now: Instant) -> bool {
        match self.0 {
            State::Down(_, since) if now + TOLERANCE < since + DIGIT_TIME => return false,
            State::Pause(until) if now + TOLERANCE < until => return false,
            State::Down(..) => return self.release(channel, now),
            State::Pause(_) | State::Idle => {}
        }
        self.0 = match end.next_digit() {
            None => State::Idle,
            Some('w') => State::Pause(now + DIGIT_PAUSE),
            Some(digit) => {
                channel.begin_digit(digit);
                State::Down(digit, now)
            }
        };
        self.sounding()
    }

    /// Lets go of the key that is down; true if there was one.
    ///
    /// # Realtime
    /// As [`Channel::end_digit`].
    pub(crate) fn release(&mut self, channel: &Channel, now: Instant) -> bool {
        let State::Down(digit, since) = self.0 else { return false };
        channel.end_digit(digit, now - since);
        self.0 = State::Pause(now + DIGIT_TIME);
        true
    }

    /// True while a key is down.
    pub(crate) fn sounding(&self) -> bool {
        matches!(self.0, State::Down(..))
    }
}
