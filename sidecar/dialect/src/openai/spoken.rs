//! What became of each item of agent audio.

use std::{collections::VecDeque, sync::Arc};

/// The latest items the agent has spoken.
#[derive(Default)]
pub(super) struct Spoken(VecDeque<Item>);

struct Item {
    id: Arc<str>,
    content_index: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// More audio is to come.
    Coming,
    /// We have all there is.
    Complete,
    /// The caller interrupted: the server has more than we do, and nobody will hear it.
    Cut,
}

impl Spoken {
    /// Audio of the item `id` arrived: the item's shared name, or `None` if it was cut off and is not to be heard.
    pub(super) fn item(&mut self, id: &str, content_index: u64) -> Option<Arc<str>> {
        if let Some(item) = self.0.iter_mut().rev().find(|item| &*item.id == id) {
            // A server that names no items has only this one, so it comes back with every answer.
            if item.state == State::Cut && !id.is_empty() {
                return None;
            }
            item.state = State::Coming;
            return Some(Arc::clone(&item.id));
        }
        if self.0.len() == MAX_ITEMS {
            self.0.pop_front();
        }
        let id = Arc::from(id);
        self.0.push_back(Item { id: Arc::clone(&id), content_index, state: State::Coming });
        Some(id)
    }

    /// The server has sent all of `id`, or of every item if `None`. True if that is news: audio was still expected.
    pub(super) fn finish(&mut self, id: Option<&str>, cancelled: bool) -> bool {
        let state = if cancelled { State::Cut } else { State::Complete };
        self.end(state, |item| id.is_none_or(|id| &*item.id == id))
    }

    /// The caller interrupted.
    pub(super) fn cut(&mut self) {
        self.end(State::Cut, |_| true);
    }

    /// True if we have all audio the server made of `id`. An item long forgotten is complete.
    pub(super) fn is_complete(&self, id: &str) -> bool {
        self.find(id).is_none_or(|item| item.state == State::Complete)
    }

    /// Where in the item `id` its audio is.
    pub(super) fn content_index(&self, id: &str) -> u64 {
        self.find(id).map_or(0, |item| item.content_index)
    }

    fn end(&mut self, state: State, which: impl Fn(&Item) -> bool) -> bool {
        let mut news = false;
        for item in self.0.iter_mut().filter(|item| item.state == State::Coming && which(item)) {
            item.state = state;
            news = true;
        }
        news
    }

    fn find(&self, id: &str) -> Option<&Item> {
        self.0.iter().rev().find(|item| &*item.id == id)
    }
}

/// Only items with audio in the playout queue matter, and an item is seconds long.
const MAX_ITEMS: usize = 64;
