//! A sound under the silence: what the caller hears while nobody speaks, so that a wait is no dead air.
//!
//! It is no voice: playout still calls its frames silence, so that no figure, no turn and no account of what was heard
//! knows of it. It gives way to the agent's first word at once, without a step.

use std::sync::Arc;

use crate::{Format, fade};

/// Room for an edge at the highest rate: 5 ms of slin at 192 kHz. [bytes]
const EDGE_MAX: usize = 192 * 5 * 2;

/// A sound in the channel's format. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Sound {
    audio: Arc<[u8]>,
    looped: bool,
}

impl Sound {
    /// The whole of `audio`, again and again if `looped`. Both its ends should be soft.
    ///
    /// Whoever makes it keeps a clone until the call is over: the channel thread must not be the last owner, which frees it.
    pub fn new(audio: Arc<[u8]>, looped: bool) -> Self {
        Self { audio, looped }
    }
}

impl std::fmt::Debug for Sound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sound of {} bytes", self.audio.len())
    }
}

/// What plays under the silence of one call.
#[derive(Default)]
pub(crate) struct Background {
    sound: Option<Sound>,
    /// What comes next. [bytes]
    at: usize,
    /// It was heard in the last frame.
    sounding: bool,
}

impl Background {
    /// From now on this, from its beginning.
    pub(crate) fn play(&mut self, sound: Option<Sound>) {
        self.sound = sound;
        self.at = 0;
    }

    /// Not again what is playing.
    pub(crate) fn stop(&mut self) {
        // Kept, and dropped where it came from: this thread frees nothing.
        self.at = usize::MAX;
    }

    /// True if it was heard in the last frame.
    pub(crate) fn is_sounding(&self) -> bool {
        self.sounding
    }

    /// Fills `frame` with what comes next and says whether there was anything.
    pub(crate) fn fill(&mut self, frame: &mut [u8], format: Format) -> bool {
        let begins = !self.sounding;
        self.sounding = self.take(frame, format);
        if self.sounding && begins {
            fade::into(frame, format);
        }
        self.sounding
    }

    /// Nothing of it is heard in this frame.
    pub(crate) fn rest(&mut self) {
        self.sounding = false;
    }

    /// Makes `frame`, which is not ours, begin with a passage from what was heard of us.
    pub(crate) fn give_way(&mut self, frame: &mut [u8], format: Format) {
        if std::mem::take(&mut self.sounding) {
            let mut edge = [0; EDGE_MAX];
            let edge = &mut edge[..fade::edge_bytes(format).min(EDGE_MAX)];
            let at = self.at;
            self.take(edge, format);
            self.at = at;
            fade::across(edge, frame, format);
        }
    }

    /// Copies what comes next to `audio`, silence where there is no more.
    fn take(&mut self, audio: &mut [u8], format: Format) -> bool {
        let Some(sound) = self.sound.as_ref().filter(|sound| self.at < sound.audio.len()) else {
            audio.fill(format.silence_byte());
            return false;
        };
        let mut filled = 0;
        while filled < audio.len() {
            let next = &sound.audio[self.at..];
            let count = next.len().min(audio.len() - filled);
            audio[filled..filled + count].copy_from_slice(&next[..count]);
            filled += count;
            self.at += count;
            if self.at == sound.audio.len() {
                if !sound.looped {
                    audio[filled..].fill(format.silence_byte());
                    break;
                }
                self.at = 0;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::playout::{Backlog, Played, Playout};
    use crate::ring::{AgentFeed, agent_ring};

    const FORMAT: Format = Format::slin(8000);

    struct Line {
        feed: AgentFeed,
        playout: Playout,
        now: Instant,
    }

    impl Line {
        fn new() -> Self {
            let (feed, sink) = agent_ring(32_000);
            let now = Instant::now();
            Self { feed, playout: Playout::new(sink, FORMAT, Duration::from_millis(20), Backlog::Played, now), now }
        }

        /// The samples of the next `frames`, and which of them were the agent's voice.
        fn hear(&mut self, frames: usize) -> (Vec<i16>, Vec<bool>) {
            let (mut samples, mut voice) = (Vec::new(), Vec::new());
            let mut frame = vec![0; self.playout.frame_bytes()];
            for _ in 0..frames {
                self.playout.apply_flush();
                let played = self.playout.poll(self.now, &mut frame).expect("a frame is due");
                voice.push(matches!(played, Played::Agent { .. }));
                samples.extend(frame.as_chunks().0.iter().map(|&pair| i16::from_le_bytes(pair)));
                self.now += Duration::from_millis(20);
            }
            (samples, voice)
        }

        fn say(&mut self, level: i16, ms: usize) {
            self.feed.push(&level.to_le_bytes().repeat(8 * ms), 0);
            self.feed.end_turn();
        }
    }

    fn sound(level: i16, ms: usize, looped: bool) -> Option<Sound> {
        Some(Sound::new(level.to_le_bytes().repeat(8 * ms).into(), looped))
    }

    fn largest_step(samples: &[i16]) -> u32 {
        samples.windows(2).map(|pair| u32::from(pair[0].abs_diff(pair[1]))).max().unwrap_or(0)
    }

    #[test]
    fn it_is_heard_in_silence_to_its_end_and_is_no_voice() {
        let mut line = Line::new();
        line.playout.play_under_silence(sound(8000, 50, false));
        let (samples, voice) = line.hear(5);
        assert_eq!(samples.iter().filter(|&&sample| sample == 8000).count(), 8 * 45, "all but its soft beginning");
        assert!(voice.iter().all(|voice| !voice));
        assert!(samples[8 * 50..].iter().all(|&sample| sample == 0) && !line.playout.is_audible());
    }

    #[test]
    fn the_agents_first_word_comes_at_once_and_there_is_no_step_on_either_side() {
        let mut line = Line::new();
        line.playout.play_under_silence(sound(8000, 500, true));
        let (before, _) = line.hear(10);
        line.say(-6000, 40);
        let (words, voice) = line.hear(2);
        assert_eq!(voice, [true, true]);
        assert_eq!(words[8 * 5..8 * 40], [-6000; 8 * 35]);
        let (after, voice) = line.hear(40);
        assert!(voice.iter().all(|voice| !voice));
        assert_eq!(after.last(), Some(&8000), "it goes on, again and again");
        let all = [before, words, after].concat();
        // The end of a turn is as its maker meant it; everything else is soft.
        let end = 8 * (200 + 40);
        assert!(largest_step(&all[..end]) < 600 && largest_step(&all[end..]) < 600, "{}", largest_step(&all[..end]));
    }

    #[test]
    fn a_flush_silences_it_for_good_and_a_hold_until_it_is_over() {
        let mut line = Line::new();
        line.playout.play_under_silence(sound(8000, 500, true));
        line.hear(3);
        line.playout.hold(true);
        let (held, _) = line.hear(3);
        assert!(held[8 * 5..].iter().all(|&sample| sample == 0) && largest_step(&held) < 600, "{held:?}");
        line.playout.hold(false);
        assert_eq!(line.hear(2).0.last(), Some(&8000));
        line.feed.flush();
        let (flushed, _) = line.hear(10);
        assert!(flushed[8 * 5..].iter().all(|&sample| sample == 0) && largest_step(&flushed) < 600);
    }

    #[test]
    fn a_gap_in_the_agents_turn_is_not_filled_and_a_long_one_is() {
        let mut line = Line::new();
        line.playout.play_under_silence(sound(8000, 500, true));
        line.feed.push(&(-6000i16).to_le_bytes().repeat(8 * 40), 0);
        line.hear(2);
        let (gap, _) = line.hear(40);
        assert!(gap[8 * 5..].iter().all(|&sample| sample == 0));
        assert_eq!(line.hear(20).0.last(), Some(&8000));
        assert_eq!(line.playout.underruns(), 1);
    }
}
