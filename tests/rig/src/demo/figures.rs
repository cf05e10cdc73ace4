//! The demo's figures: what the phone measured, and what the module reported.

use std::time::{Duration, Instant};

use rig::Recording;

use super::live::Told;
use super::{SPEECH_LEVEL, Turn};

/// A pause of the agent's voice longer than this, after an interruption, is its end.
const PAUSE: Duration = Duration::from_millis(400);

/// Everything that is printed at the end.
pub(crate) struct Figures {
    first_audio: Option<Duration>,
    responses: Vec<Option<Duration>>,
    barge_in_stop: Option<Duration>,
    longest_gap: Duration,
    reported: Option<String>,
}

impl Figures {
    pub(crate) fn new(
        heard: &Recording,
        answered: Instant,
        turns: &[Turn],
        barge_in: Option<Instant>,
        told: &[Told],
    ) -> Self {
        let sound_after = |from: Instant| heard.first_sound(from, SPEECH_LEVEL).map(|at| at - from);
        Self {
            first_audio: sound_after(answered),
            responses: turns.iter().map(|turn| sound_after(turn.asked)).collect(),
            barge_in_stop: barge_in.map(|from| voice_end(heard, from) - from),
            longest_gap: heard.max_gap(),
            reported: told.iter().rev().find(|told| told.what.starts_with("ended ")).map(|told| told.what.clone()),
        }
    }

    pub(crate) fn print(&self) {
        let ms =
            |time: Option<Duration>| time.map_or_else(|| "-".to_owned(), |time| format!("{} ms", time.as_millis()));
        println!("\nMeasured at the phone");
        println!("  answer to the agent's first sound           {}", ms(self.first_audio));
        for (number, response) in self.responses.iter().enumerate() {
            println!("  caller's last word to the answer, turn {}    {}", number + 1, ms(*response));
        }
        println!("  caller's interrupting word to agent silent  {}", ms(self.barge_in_stop));
        println!("  longest pause between two RTP packets       {}", ms(Some(self.longest_gap)));
        let Some((end, figures)) = self.reported.as_deref().and_then(|reported| reported.split_once("; ")) else {
            return;
        };
        println!("Reported by the module");
        figures.split(", ").for_each(|figure| println!("  {figure}"));
        println!("AISTATUS: {}", end.trim_start_matches("ended "));
    }
}

/// When the agent's voice that was on the line at `from` fell silent.
fn voice_end(heard: &Recording, from: Instant) -> Instant {
    let mut end = from;
    while let Some(next) = heard.first_sound(end + Duration::from_millis(1), SPEECH_LEVEL) {
        if next - end > PAUSE {
            break;
        }
        end = next;
    }
    end
}
