//! What connects a channel thread with the task of its call.
//!
//! ```text
//!  channel thread                               sidecar task
//!  ChannelEnd.caller   ══ sample ring ══►  TaskEnd.caller
//!  ChannelEnd.playout  ◄══ sample ring ══  AgentFeed   
//!  ChannelEnd::tell    ── CallerEvent ──►  TaskEnd::next_event      bounded, try_send
//!  ChannelEnd::told    ◄─ Command ───────  TaskEnd::command         bounded, try_recv
//!  ChannelEnd::is_held ◄─ flag ──────────  Shared::hold             from outside
//!                        Shared::order ─►  TaskEnd::next_order      from outside; bounded, try_send
//!  ChannelEnd::wake    ── waker ────────►  TaskEnd::woken
//!  doorbell (eventfd)  ◄─ one write ─────  TaskEnd::ring
//! ```
//!
//! Everything the channel thread calls here is wait-free, but for one thing: a wake-up puts the task into tokio's run
//! queue, which is behind a mutex that workers hold for a few instructions at a time, and may wake a sleeping worker
//! with one system call.

use std::fs::File;
use std::io::Write as _;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ai_media::Format;
use ai_media::background::Sound;
use ai_media::playout::{Backlog, Playout};
use ai_media::ring::{AgentFeed, CallerFeed, CallerTap, agent_ring, caller_ring};
use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use tokio::task::JoinHandle;

use crate::Outcome;
use crate::control::{Hold, Order, orders};
use crate::events::Events;
use crate::session::Session;
use crate::stats::SessionInfo;

/// Caller audio the ring holds while the sidecar is late or the AI still connecting. [ms]
const CALLER_RING_MS: u64 = 2000;
/// What is kept of it while the AI cannot take it: less than the ring holds, so that there is room for the next. [ms]
const CALLER_KEEP_MS: u64 = 1800;
/// Agent audio the ring holds beyond the preroll. [ms]
const AGENT_RING_MS: u64 = 400;
/// Events that may wait for the sidecar; digits beyond are dropped.
const EVENTS: usize = 64;
/// Commands that may wait for the channel thread,
const COMMANDS: usize = 16;
/// and those of them that a call cannot do without: `Connected` and `End`.
const COMMANDS_KEPT: usize = 2;
/// Most keys that may wait to be sent to the phone.
pub(crate) const DIGITS_MAX: usize = 32;
/// A key sent to the phone sounds this long, and this long is the pause after it (as Asterisk's `SendDTMF` has it).
pub const DIGIT_TIME: Duration = Duration::from_millis(100);
/// What a `w` among the keys stands for.
pub const DIGIT_PAUSE: Duration = Duration::from_millis(500);

/// Something that happened on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerEvent {
    /// The caller pressed a key.
    Digit(char),
    /// The agent's voice broke the silence at this moment.
    AgentAudible(Instant),
    /// The agent's voice gave way to silence at this moment.
    AgentSilent(Instant),
    /// The caller may be interrupting since this moment: playback is held.
    Held(Instant),
    /// It was noise: playback goes on.
    Resumed,
    /// Since this moment the agent waits for these, if for any.
    OnHold(Hold, Instant),
    /// The caller does interrupt. Playback is held until it is flushed.
    Interrupted,
}

/// Something the channel thread has to do.
#[derive(Debug)]
pub enum Command {
    /// The AI is ready: answer the call if that was waiting for it.
    Connected,
    /// Under the agent's silence this is heard, or nothing.
    Background(Option<Sound>),
    /// The conversation is over.
    End(Outcome),
}

/// Wakes a channel thread that sleeps in the telephone exchange's own wait. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Doorbell(Arc<File>);

impl Doorbell {
    /// A doorbell on `file`: an eventfd, or anything that becomes readable when 8 bytes are written to it.
    pub fn new(file: File) -> Self {
        Self(Arc::new(file))
    }

    /// The file to wait on.
    pub fn file(&self) -> &File {
        &self.0
    }

    /// Rings. A bell that rings already stays so.
    pub fn ring(&self) {
        // The only error of a non-blocking eventfd is EAGAIN: its counter is full, so it is ringing.
        let _ = (&*self.0).write(&1u64.to_ne_bytes());
    }
}

/// What both ends of a call with an agent share, and those who look at it from outside.
pub(crate) struct Shared {
    session: Arc<Session>,
    orders: Sender<Order>,
    /// When the oldest caller audio that nobody has taken was read, as time since the session began; 0: there is none. [ns]
    heard_at: AtomicU64,
    /// Keys for the phone. Both ends stay here: who has a session may send some.
    digits: (Sender<char>, Receiver<char>),
}

impl Deref for Shared {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Shared {
    /// Sends keys (`0`-`9`, `*`, `#`, `A`-`D`; `w` waits) to the phone, all of them or none, and answers how long that takes.
    ///
    /// # Errors
    /// When too many are waiting already.
    pub(crate) fn send_digits(&self, digits: &str) -> Result<Duration, String> {
        let (sender, waiting) = &self.digits;
        if digits.chars().count() + waiting.len() > DIGITS_MAX {
            return Err(format!("more than {DIGITS_MAX} keys would be waiting"));
        }
        let time = |digit| if digit == 'w' { DIGIT_PAUSE } else { 2 * DIGIT_TIME };
        let before = 2 * DIGIT_TIME * waiting.len() as u32;
        // Two who send at once may fill it all the same: what finds no room is left out.
        let sent: Duration = digits.chars().filter(|&digit| sender.try_send(digit).is_ok()).map(time).sum();
        self.ring();
        Ok(before + sent)
    }

    /// What every session has.
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Holds the agent from outside, or lets go.
    pub(crate) fn hold(&self, held: bool) {
        self.info.condition.set_held(held);
        self.ring();
    }

    /// Gives the call's task something to do from outside, and wakes it.
    pub(crate) fn order(&self, order: Order) -> Result<(), TrySendError<Order>> {
        self.orders.try_send(order)?;
        self.wake();
        Ok(())
    }
}

/// Makes the two ends of a call, and the feed of its agent ring. `format` is what the channel reads and writes.
pub(crate) fn link(
    info: SessionInfo,
    events: Arc<Events>,
    doorbell: Doorbell,
    format: Format,
    preroll: Duration,
    backlog: Backlog,
) -> (ChannelEnd, TaskEnd, AgentFeed) {
    let (caller_feed, caller_tap) = caller_ring(format.bytes_in_ms(CALLER_RING_MS));
    let (agent_feed, agent_sink) = agent_ring(format.bytes_in_ms(AGENT_RING_MS + preroll.as_millis() as u64));
    let (event_sender, event_receiver) = bounded(EVENTS);
    let (command_sender, command_receiver) = bounded(COMMANDS);
    let (order_sender, order_receiver) = orders();
    let playout = Playout::new(agent_sink, format, preroll, backlog, info.started);
    let shared = Arc::new(Shared {
        session: Arc::new(Session::new(info, events, Some(doorbell))),
        orders: order_sender,
        heard_at: AtomicU64::new(0),
        digits: bounded(DIGITS_MAX),
    });
    let channel = ChannelEnd {
        caller: caller_feed,
        playout,
        events: event_sender,
        commands: command_receiver,
        wake: WakeOnDrop(shared.clone()),
        task: None,
    };
    let task = TaskEnd {
        caller: caller_tap,
        caller_keep: format.bytes_in_ms(CALLER_KEEP_MS),
        events: event_receiver,
        commands: command_sender,
        orders: order_receiver,
        shared,
    };
    (channel, task, agent_feed)
}

/// The channel thread's end. Dropping it tells the task that the call is gone.
pub struct ChannelEnd {
    /// Takes what the caller says.
    caller: CallerFeed,
    /// Gives what the caller hears.
    pub playout: Playout,
    events: Sender<CallerEvent>,
    commands: Receiver<Command>,
    wake: WakeOnDrop,
    /// Held so that a waker used on the channel thread is never the last owner of the task, which would free it there.
    pub(crate) task: Option<JoinHandle<()>>,
}

struct WakeOnDrop(Arc<Shared>);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl ChannelEnd {
    /// Wakes the call's task, for example because caller audio is waiting.
    ///
    /// # Realtime
    /// Tokio's run queue: a mutex held for a few instructions, perhaps one system call. No allocation.
    pub fn wake(&self) {
        self.wake.0.wake();
    }

    /// Passes on what the caller said, read at `now`, and wakes the task.
    ///
    /// # Realtime
    /// As [`ChannelEnd::wake`].
    pub fn hear(&mut self, audio: &[u8], now: Instant) {
        self.caller.push(audio);
        let shared = &self.wake.0;
        let since = now.saturating_duration_since(shared.info.started).as_nanos() as u64;
        // Fails when older audio waits: that one counts.
        let _ = shared.heard_at.compare_exchange(0, since.max(1), Ordering::Relaxed, Ordering::Relaxed);
        self.wake();
    }

    /// Reports `event` and wakes the task; answers whether there was room.
    ///
    /// # Realtime
    /// As [`ChannelEnd::wake`].
    pub fn tell(&self, event: CallerEvent) -> bool {
        let told = self.events.try_send(event).is_ok();
        self.wake();
        told
    }

    /// The next thing to do, if any. When the task is gone without a word, an end that says so.
    ///
    /// # Realtime
    /// Wait-free; no allocation until the conversation is over.
    pub fn told(&self) -> Option<Command> {
        let shared = &self.wake.0;
        if shared.is_stopped() {
            return Some(Command::End(shared.torn_off()));
        }
        match self.commands.try_recv() {
            Ok(command) => Some(command),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Command::End(shared.torn_off())),
        }
    }

    /// True while somebody holds the agent from outside.
    ///
    /// # Realtime
    /// One load.
    pub fn is_held(&self) -> bool {
        self.wake.0.info.condition.is_held()
    }

    /// The next key to send to the phone, or `w` for a pause.
    ///
    /// # Realtime
    /// Wait-free; no allocation.
    pub fn next_digit(&self) -> Option<char> {
        self.wake.0.digits.1.try_recv().ok()
    }

    /// Says how the session ended. The first word counts.
    pub fn finish(&self, outcome: &Outcome) {
        self.wake.0.finish(outcome);
    }

    /// The session as others see it.
    pub fn info(&self) -> &SessionInfo {
        &self.wake.0.info
    }
}

/// The task's end.
pub(crate) struct TaskEnd {
    pub(crate) caller: CallerTap,
    /// [bytes]
    caller_keep: usize,
    events: Receiver<CallerEvent>,
    commands: Sender<Command>,
    orders: Receiver<Order>,
    shared: Arc<Shared>,
}

impl TaskEnd {
    /// Waits until the channel thread wakes the task.
    pub(crate) async fn woken(&mut self) {
        self.shared.woken().await;
    }

    /// When the caller audio that is about to be taken was read.
    pub(crate) fn heard_at(&self) -> Option<Instant> {
        let since = self.shared.heard_at.swap(0, Ordering::Relaxed);
        (since > 0).then(|| self.shared.info.started + Duration::from_nanos(since))
    }

    /// The next event from the line, if there is one now.
    pub(crate) fn next_event(&self) -> Option<CallerEvent> {
        self.events.try_recv().ok()
    }

    /// The next order from outside, if there is one now.
    pub(crate) fn next_order(&self) -> Option<Order> {
        self.orders.try_recv().ok()
    }

    /// True when the channel end is gone: nobody listens any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.shared.is_closed()
    }

    /// Keeps the newest of what the caller says while the AI cannot take it.
    pub(crate) fn keep_caller_audio(&mut self) {
        self.caller.keep_newest(self.caller_keep);
    }

    /// Gives the channel thread something to do and wakes it.
    pub(crate) fn command(&self, command: Command) {
        // Room is never short: it is kept for these. Gone is gone.
        let _ = self.commands.try_send(command);
        self.ring();
    }

    /// Changes what is heard under the agent's silence. False: not now, for want of room; try again.
    pub(crate) fn background(&self, sound: Option<Sound>) -> bool {
        let room = self.commands.len() + COMMANDS_KEPT < COMMANDS;
        if room {
            self.command(Command::Background(sound));
        }
        room
    }

    /// Wakes the channel thread, for example because audio was flushed.
    pub(crate) fn ring(&self) {
        self.shared.ring();
    }

    /// What is shared with those who look at the session from outside.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

#[cfg(test)]
impl Shared {
    /// A session that nobody runs, and the task's end of it.
    pub(crate) fn for_tests() -> (Arc<Self>, TaskEnd) {
        use crate::events::{Direction, Origin};
        let origin = Origin {
            direction: Direction::Inbound,
            channel: "PJSIP/1001-00000001".to_owned(),
            uniqueid: "1.1".to_owned(),
            caller: None,
            callee: None,
        };
        let info = SessionInfo {
            id: "1.0001".to_owned(),
            profile: "p".to_owned(),
            origin,
            dialect: "openai".to_owned(),
            began: std::time::SystemTime::now(),
            started: Instant::now(),
            condition: crate::control::Condition::default(),
            stats: crate::CallStats::default(),
        };
        let bell = Doorbell::new(File::options().write(true).open("/dev/null").expect("there is nothing"));
        let (_, task, _) = link(info, Arc::default(), bell, Format::ALAW, Duration::ZERO, Backlog::Played);
        (task.shared.clone(), task)
    }
}

#[cfg(test)]
impl TaskEnd {
    /// Orders not yet taken.
    pub(crate) fn waiting_orders(&self) -> usize {
        self.orders.len()
    }
}
