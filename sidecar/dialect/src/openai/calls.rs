//! Tool calls between the moment the agent makes one and the moment it may speak about the results.
//!
//! A response may make several calls. The server wants the outputs of all of them before it is asked to speak again,
//! and the response itself to be done.

/// The calls that are not settled.
#[derive(Default)]
pub(super) struct Calls(Vec<Call>);

struct Call {
    id: String,
    name: String,
    /// The response that made it; empty if not told.
    response: String,
    response_done: bool,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// Its arguments are being written.
    Announced,
    /// The tool runs.
    Running,
    /// Its output was sent.
    Answered { go_on: bool },
}

impl Calls {
    /// `response` is going to call the tool `name`.
    pub(super) fn announce(&mut self, id: &str, name: &str, response: &str) {
        if !id.is_empty() && self.find(id).is_none() && self.0.len() < MAX_CALLS {
            self.0.push(Call {
                id: id.to_owned(),
                name: name.to_owned(),
                response: response.to_owned(),
                response_done: false,
                phase: Phase::Announced,
            });
        }
    }

    /// The arguments are complete. The name of the tool to run (`name`, or if that is empty the announced one);
    /// `None` if the call was given out before, if nobody has told the name yet, or if too many calls are waiting.
    pub(super) fn ask(&mut self, id: &str, name: &str, response: &str) -> Option<String> {
        self.announce(id, name, response);
        let call = self.find(id).filter(|call| call.phase == Phase::Announced)?;
        if call.name.is_empty() {
            call.name = name.to_owned();
        }
        if call.name.is_empty() {
            return None;
        }
        call.phase = Phase::Running;
        Some(call.name.clone())
    }

    /// The tool has answered. False if it was not running.
    pub(super) fn answer(&mut self, id: &str, go_on: bool) -> bool {
        let running = self.find(id).filter(|call| call.phase == Phase::Running);
        running.map(|call| call.phase = Phase::Answered { go_on }).is_some()
    }

    /// `response` is done; what it only announced will not come.
    pub(super) fn response_done(&mut self, response: &str) {
        self.0.retain_mut(|call| {
            let made_it = call.response == response || call.response.is_empty() || response.is_empty();
            call.response_done |= made_it;
            !(made_it && call.phase == Phase::Announced)
        });
    }

    /// Forgets all calls of every response that is done and has all its outputs. True if the agent shall go on after
    /// one of them.
    pub(super) fn take_answered(&mut self) -> bool {
        let settled = |call: &Call| call.response_done && matches!(call.phase, Phase::Answered { .. });
        let waiting: Vec<_> = self.0.iter().filter(|call| !settled(call)).map(|call| call.response.clone()).collect();
        let mut go_on = false;
        self.0.retain(|call| {
            let stays = waiting.contains(&call.response);
            go_on |= !stays && call.phase == Phase::Answered { go_on: true };
            stays
        });
        go_on
    }

    fn find(&mut self, id: &str) -> Option<&mut Call> {
        self.0.iter_mut().find(|call| call.id == id)
    }
}

/// A phone call runs one or two tools at a time; a server that wants more than this is broken.
const MAX_CALLS: usize = 64;
