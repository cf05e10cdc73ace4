//! What the agent does besides talking: its tools run beside the call, which goes on meanwhile.
//!
//! Several may run at once. What runs ends with the call: dropping [`Acting`] ends it. A tool that takes long may be
//! bridged by a filler, which is heard while nobody speaks, until the agent speaks about the result.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ai_dialect::Turn;
use ai_media::background::Sound;
use serde_json::{Value, json};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Call;
use crate::events::What;
use crate::exchange::Exchange;
use crate::outcome::one_line;
use crate::settings::Tool;
use crate::sound;
use crate::stats::millis;
use crate::tools::{self, Place, Plan, Work};

/// Tools that may run at once in one call.
const RUNNING_MAX: usize = 8;
/// A call without a session is silent for so long before it gets the profile's sound.
const WAIT_AFTER: Duration = Duration::from_secs(1);
/// A filler is heard this long after its tool has answered, if the agent says nothing.
const LINGER: Duration = Duration::from_secs(5);

/// The tools that run in one call.
pub(super) struct Acting {
    exchange: &'static dyn Exchange,
    work: JoinSet<Result<Value, String>>,
    running: HashMap<Id, Running>,
    /// Sessions with the AI that were left so far: who asked for a tool may be gone when it answers.
    session: u32,
    /// Answers that a session which is being opened has not been told of.
    late: Vec<String>,
    /// What is to be heard under the agent's silence, and until when though no tool runs.
    filler: Option<Sound>,
    lingers: Option<Instant>,
    /// When the profile's sound begins for a call that has no session.
    waiting_at: Option<Instant>,
    /// That sound is the filler.
    waiting: bool,
    /// The filler the channel thread was told of.
    told: Option<Sound>,
    /// Every filler of this call, held here so that none is freed there.
    fillers: Vec<Arc<[u8]>>,
}

/// A tool that runs.
pub(super) struct Running {
    call_id: String,
    name: String,
    arguments: String,
    /// The session that asked for it.
    session: u32,
    since: Instant,
    /// Its filler is not heard before.
    filler_at: Option<Instant>,
    tool: Option<Arc<Tool>>,
}

impl Acting {
    /// Nothing runs yet.
    pub(super) fn new(exchange: &'static dyn Exchange) -> Self {
        Self {
            exchange,
            work: JoinSet::new(),
            running: HashMap::new(),
            session: 0,
            late: Vec::new(),
            filler: None,
            lingers: None,
            waiting_at: None,
            waiting: false,
            told: None,
            fillers: Vec::new(),
        }
    }

    /// The next tool that has ended, and its answer. Pending while none runs; safe to drop and call again.
    pub(super) async fn next(&mut self) -> (Running, Result<Value, String>) {
        loop {
            let (id, answer) = match self.work.join_next_with_id().await {
                None => std::future::pending().await,
                Some(Ok((id, answer))) => (id, answer),
                Some(Err(error)) => (error.id(), Err("an error in the module".to_owned())),
            };
            if let Some(ran) = self.running.remove(&id) {
                return (ran, answer);
            }
        }
    }

    /// When [`Call::fill_wait`] wants to be called.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.running.values().filter_map(|running| running.filler_at).chain(self.lingers).chain(self.waiting_at).min()
    }

    /// True if no tool runs.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// What a session is told of the tools that run: it would call them again.
    pub(super) fn still_to_come(&self) -> Vec<Turn> {
        let told = |running: &Running| {
            let (name, arguments) = (&running.name, &running.arguments);
            let text = format!(
                "You have called the tool {name} with {arguments}. It is still at work, and you will be told its answer: do not \
                 call it again for that."
            );
            Turn::Told { text }
        };
        self.running.values().map(told).collect()
    }

    /// The session with the AI is over: those to come do not know what it asked for.
    pub(super) fn session_left(&mut self) {
        self.session += 1;
    }

    /// A session is being opened that has been told of every answer so far.
    pub(super) fn session_told(&mut self) {
        self.late.clear();
    }

    /// There is no session since `now`, or none yet.
    pub(super) fn wait(&mut self, now: Instant) {
        self.waiting_at = Some(now + WAIT_AFTER).filter(|_| !self.waiting);
    }

    fn start(&mut self, running: Running, work: Work, place: Place) {
        let id = self.work.spawn(work.run(place)).id();
        self.running.insert(id, running);
    }
}

impl Call {
    /// The agent calls a tool.
    pub(super) fn handle_tool_call(&mut self, call_id: &str, name: &str, arguments: &str, now: Instant) {
        match tools::decide(self.route.profile(), name, arguments) {
            Ok(Plan::End(outcome)) => {
                info!("AI {}: {}", self.id(), outcome.reason);
                self.timing.ending(now);
                self.ending = Some(outcome);
                self.tell_tool(call_id, name, arguments, None);
                self.answer_at_once(call_id, name, arguments, &success(Value::Null), false);
            }
            Ok(Plan::Run(_)) if self.acting.running.len() >= RUNNING_MAX => {
                self.refuse(
                    call_id,
                    name,
                    arguments,
                    &format!("{RUNNING_MAX} tools are running; wait for one of them"),
                );
            }
            Ok(Plan::Run(work)) => self.run_tool(call_id, name, arguments, work, now),
            Err(problem) => self.refuse(call_id, name, arguments, &problem),
        }
    }

    fn refuse(&mut self, call_id: &str, name: &str, arguments: &str, problem: &str) {
        if self.may_complain() {
            warn!("AI {}: the agent's call of tool '{}' was refused: {}", self.id(), one_line(name), one_line(problem));
        }
        self.tell_tool(call_id, name, arguments, Some(problem));
        self.answer_at_once(call_id, name, arguments, &failure(problem), true);
    }

    /// Tells whoever listens that a tool was carried out, or what was wrong with it.
    fn tell_tool(&self, call_id: &str, name: &str, arguments: &str, error: Option<&str>) {
        self.publish(|| What::ToolCall {
            call_id: call_id.to_owned(),
            tool: name.to_owned(),
            arguments: arguments.to_owned(),
            error: error.map(str::to_owned),
        });
    }

    /// Gives the session that has just asked its answer.
    fn answer_at_once(&mut self, call_id: &str, name: &str, arguments: &str, result: &str, go_on: bool) {
        self.memory.tool_ran(name, arguments, result);
        if let Some(connection) = &mut self.connection {
            connection.dialect.handle_tool_result(call_id, result, go_on);
        }
    }

    fn run_tool(&mut self, call_id: &str, name: &str, arguments: &str, work: Work, now: Instant) {
        info!("AI {}: tool {name} runs", self.id());
        self.acting.lingers = None;
        let tool = match &work {
            Work::Own(tool, _) => Some(tool.clone()),
            Work::Digits(_) | Work::Variable { .. } => None,
        };
        let filler = tool.as_ref().map(|tool| &tool.filler);
        let filler = filler.filter(|filler| filler.sound.is_some() || !filler.say.is_empty());
        let running = Running {
            call_id: call_id.to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            session: self.acting.session,
            since: now,
            filler_at: filler.map(|filler| now + filler.after),
            tool,
        };
        let (exchange, session) = (self.acting.exchange, self.end.shared().clone());
        self.acting.start(running, work, Place { exchange, session, call_id: call_id.to_owned() });
        self.timing.acting(true, now);
    }

    /// A tool has ended.
    pub(super) fn handle_tool_answer(&mut self, ran: Running, answer: Result<Value, String>, now: Instant) {
        let took = millis(now - ran.since);
        let error = answer.as_ref().err().map(String::as_str);
        self.tell_tool(&ran.call_id, &ran.name, &ran.arguments, error);
        let result = match answer {
            Ok(value) => {
                info!("AI {}: tool {} answered after {took}", self.id(), ran.name);
                success(value)
            }
            Err(problem) => {
                // What a service or a routine says of it is the agent's to know; the log has the cause.
                let why = if ran.tool.is_none() { format!(": {}", one_line(&problem)) } else { String::new() };
                warn!("AI {}: tool {} failed after {took}{why}", self.id(), ran.name);
                failure(&problem)
            }
        };
        self.deliver(&ran, &result);
        if self.acting.running.is_empty() {
            self.timing.acting(false, now);
            let of_a_tool = self.acting.filler.is_some() && !self.acting.waiting;
            self.acting.lingers = of_a_tool.then(|| now + LINGER);
        }
    }

    /// Brings `result` to the agent, if need be as news: the session that asked may have been replaced.
    fn deliver(&mut self, ran: &Running, result: &str) {
        self.memory.tool_ran(&ran.name, &ran.arguments, result);
        // Who is about to leave has nothing more to say about it.
        let go_on = self.ending.is_none();
        let news = || format!("The tool {} that you called with {} has answered: {result}", ran.name, ran.arguments);
        match &mut self.connection {
            Some(connection) if ran.session == self.acting.session => {
                connection.dialect.handle_tool_result(&ran.call_id, result, go_on);
            }
            Some(connection) => {
                let told = connection.dialect.handle_context(&news(), go_on);
                if !told {
                    warn!("AI {}: this provider cannot be told what tool {} has answered", self.id(), ran.name);
                }
            }
            // One that is opened later is told of it with the rest of the conversation.
            None if self.opening.is_some() => self.acting.late.push(news()),
            None => {}
        }
    }

    /// Tells a new session what has been answered since it was begun to be opened.
    pub(super) fn tell_late_answers(&mut self) {
        let go_on = self.ending.is_none();
        for news in std::mem::take(&mut self.acting.late) {
            if let Some(connection) = &mut self.connection {
                connection.dialect.handle_context(&news, go_on);
            }
        }
    }

    /// Begins the fillers that are due, and ends what has been heard for long enough.
    pub(super) fn fill_wait(&mut self, now: Instant) {
        let running = self.acting.running.values_mut();
        let due = running.filter_map(|running| running.filler_at.take_if(|at| now >= *at).and(running.tool.clone()));
        for tool in due.collect::<Vec<_>>() {
            self.begin_filler(&tool);
        }
        let profile = self.route.profile().clone();
        if let (true, Some(sound)) = (self.acting.waiting_at.take_if(|at| now >= *at).is_some(), &profile.waiting_sound)
        {
            self.acting.waiting = true;
            self.play_filler(sound, true);
        }
        if self.acting.lingers.take_if(|until| now >= *until).is_some() {
            self.acting.filler = None;
        }
        self.tell_filler();
    }

    fn begin_filler(&mut self, tool: &Tool) {
        let filler = &tool.filler;
        if let Some(sound) = &filler.sound {
            self.play_filler(sound, filler.looped);
        }
        let silent = self.line.drained() && !self.timing.agent_audible();
        let said = match &mut self.connection {
            Some(connection) if silent && !filler.say.is_empty() => connection.dialect.handle_say(&filler.say),
            _ => true,
        };
        if !said {
            debug!("AI {}: this provider cannot be asked to say a sentence", self.id());
        }
    }

    fn play_filler(&mut self, sound: &sound::Sound, looped: bool) {
        let audio = sound.in_format(self.line.to());
        if !self.acting.fillers.iter().any(|known| Arc::ptr_eq(known, &audio)) {
            self.acting.fillers.push(audio.clone());
        }
        self.acting.filler = Some(Sound::new(audio, looped));
        // The same once more is begun anew.
        self.acting.told = None;
    }

    /// There is a session: nobody waits for one any more.
    pub(super) fn wait_over(&mut self) {
        self.acting.waiting_at = None;
        if std::mem::take(&mut self.acting.waiting) {
            self.acting.filler = None;
            self.tell_filler();
        }
    }

    /// The agent speaks: a filler whose tool has answered has done its work.
    pub(super) fn agent_speaks(&mut self) {
        if self.acting.lingers.take().is_some() {
            self.acting.filler = None;
            self.tell_filler();
        }
    }

    /// The caller interrupts: no filler that has begun is heard again, but for the one of a call without a session.
    pub(super) fn silence_filler(&mut self) {
        if self.acting.waiting {
            return;
        }
        self.acting.filler = None;
        self.acting.lingers = None;
        self.tell_filler();
    }

    /// Tells the channel thread what is to be heard under the agent's silence.
    fn tell_filler(&mut self) {
        if self.acting.told != self.acting.filler && self.end.background(self.acting.filler.clone()) {
            self.acting.told.clone_from(&self.acting.filler);
        }
    }
}

fn success(value: Value) -> String {
    match value {
        Value::Null => json!({"ok": true}),
        value => json!({"ok": true, "result": value}),
    }
    .to_string()
}

fn failure(problem: &str) -> String {
    json!({"ok": false, "error": problem}).to_string()
}
