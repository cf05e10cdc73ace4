//! The figures in the text format of Prometheus, version 0.0.4.
//!
//! What counts up, counts sessions that are over: a sum over those that are up as well would step back when one ends.

use std::fmt::{Display, Write as _};

use hdrhistogram::Histogram;

use super::Desk;
use crate::Status;

/// Upper bounds of the times. [ms]
const BOUNDS_MS: [u64; 14] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 1500, 2000, 3000, 5000];

pub(super) fn text(desk: &Desk) -> String {
    let totals = desk.sidecar.totals_of_ended();
    let mut page = Page::default();
    page.gauge("sessions", "Sessions that are up.", desk.sidecar.sessions());
    page.gauge("sessions_most", "The most sessions that were up at a time.", desk.sidecar.most_sessions());
    page.head("sessions_ended_total", "counter", "Sessions that are over, by AISTATUS.");
    // All of them from the beginning: an increase from nothing is none to who asks for the increase.
    for status in Status::ALL {
        let count = totals.ended.get(status.name()).copied().unwrap_or(0);
        page.line("sessions_ended_total", &format!("status=\"{status}\""), count);
    }
    page.counter("turns_total", "Turns agents began to speak.", totals.turns);
    page.counter("barge_ins_total", "Times callers interrupted.", totals.barge_ins);
    page.counter("barge_ins_taken_back_total", "Times playback was held for what was noise.", totals.taken_back);
    page.counter("underruns_total", "Times agent audio ran dry in mid-turn.", totals.underruns);
    let dropped = totals.dropped_ms as f64 / 1000.0;
    page.counter("caller_audio_dropped_seconds_total", "Caller audio that never reached an AI.", dropped);
    page.counter("reconnects_total", "Times a lost connection to an AI was set up again.", totals.reconnects);
    let latencies = &totals.latencies;
    page.times("uplink_seconds", "From a caller's frame read until its bytes were written.", &latencies.uplink);
    let help = "From the first agent audio of a turn received until it was on the line.";
    page.times("turn_start_seconds", help, &latencies.turn_start);
    page.times("response_seconds", "From the caller's last word until the agent was on the line.", &latencies.response);
    let help = "From an interruption noticed until the agent was off the line.";
    page.times("barge_in_stop_seconds", help, &latencies.barge_in_stop);
    let help = "In assist: from the end of what somebody said until its final text.";
    page.times("transcription_seconds", help, &latencies.transcription);
    page.times("hint_seconds", "In assist: from a caller's line until the hint that answers it.", &latencies.hint);
    let help = "In assist: hints that were asked for and did not come, for any reason but a newer line.";
    page.counter("hint_failures_total", help, totals.hint_failures);
    page.gauge("websockets", "Clients of /ws.", desk.followers());
    let webhooks = &desk.webhooks;
    page.gauge("webhook_events_waiting", "Events not yet delivered to webhooks.", webhooks.waiting());
    page.counter("webhook_events_lost_total", "Events given up on.", webhooks.lost());
    if let Some(health) = desk.log_health() {
        page.gauge("call_log_failing", "1 while the call log cannot be written.", u8::from(health.is_failing()));
        page.counter("call_log_events_lost_total", "Events missing in the call log.", health.lost());
    }
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a String cannot fail.
        let _ = write!(self.0, "# HELP ai_bridge_{name} {help}\n# TYPE ai_bridge_{name} {kind}\n");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0, "ai_bridge_{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.line(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "counter", help);
        self.line(name, "", value);
    }

    /// A distribution of times, measured in microseconds.
    fn times(&mut self, name: &str, help: &str, times: &Histogram<u32>) {
        self.head(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for bound in BOUNDS_MS {
            let count = times.count_between(0, bound * 1000);
            self.line(&bucket, &format!("le=\"{}\"", bound as f64 / 1000.0), count);
        }
        self.line(&bucket, "le=\"+Inf\"", times.len());
        self.line(&format!("{name}_sum"), "", times.mean() * times.len() as f64 / 1e6);
        self.line(&format!("{name}_count"), "", times.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_cumulative_and_in_seconds() {
        let mut times = Histogram::new_with_bounds(1, 60_000_000, 2).expect("valid");
        for ms in [3, 4, 700, 6000] {
            times.record(ms * 1000).expect("within bounds");
        }
        let mut page = Page::default();
        page.times("x_seconds", "Help.", &times);
        let lines: Vec<_> = page.0.lines().collect();
        assert_eq!(lines[..2], ["# HELP ai_bridge_x_seconds Help.", "# TYPE ai_bridge_x_seconds histogram"]);
        for expected in [
            "ai_bridge_x_seconds_bucket{le=\"0.002\"} 0",
            "ai_bridge_x_seconds_bucket{le=\"0.005\"} 2",
            "ai_bridge_x_seconds_bucket{le=\"1\"} 3",
            "ai_bridge_x_seconds_bucket{le=\"5\"} 3",
            "ai_bridge_x_seconds_bucket{le=\"+Inf\"} 4",
            "ai_bridge_x_seconds_count 4",
        ] {
            assert!(lines.contains(&expected), "{expected}\n{}", page.0);
        }
        let sum = lines.iter().find_map(|line| line.strip_prefix("ai_bridge_x_seconds_sum ")).expect("there is a sum");
        assert!((sum.parse::<f64>().expect("a number") - 6.707).abs() < 0.1, "{sum}");
    }
}
