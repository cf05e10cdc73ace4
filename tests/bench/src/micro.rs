//! Micro-benchmarks: what one 20 ms packet costs in each stage of the audio path.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use ai_dialect::openai::OpenAi;
use ai_dialect::{AudioChoice, Dialect, Message, Output, Session, TurnDetection};
use ai_media::Format;
use ai_media::playout::{Backlog, PTIME, Playout};
use ai_media::ring::{agent_ring, caller_ring};
use ai_media::transcode::Transcoder;
use anyhow::Result;

/// Time given to each.
const LONG: Duration = Duration::from_millis(300);
/// Of so many pieces of that time the fastest counts: the rest was somebody else's.
const PIECES: u32 = 15;

/// One result.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Micro {
    what: &'static str,
    /// For one packet of 20 ms. [ns]
    packet_ns: f64,
}

/// Runs them all.
///
/// # Errors
/// When a converter cannot be made.
pub(crate) fn run() -> Result<Vec<Micro>> {
    let alaw: Vec<u8> = (0..160u32).map(|at| (at * 7) as u8).collect();
    let mut results = Vec::new();
    let mut add = |what, packet_ns| results.push(Micro { what, packet_ns });

    let (mut feed, mut tap) = caller_ring(16000);
    let mut out = Vec::with_capacity(160);
    add(
        "caller ring: push and take 160 bytes",
        time(|| {
            feed.push(black_box(&alaw));
            out.clear();
            tap.take(160, &mut out);
        }),
    );

    let (mut feed, sink) = agent_ring(3200);
    let mut now = Instant::now();
    let mut playout = Playout::new(sink, Format::ALAW, Duration::ZERO, Backlog::Played, now);
    let mut frame = [0; 160];
    add(
        "agent ring and playout: push 160 bytes, poll a frame",
        time(|| {
            feed.push(black_box(&alaw), 0);
            playout.poll(now, &mut frame);
            now += PTIME;
        }),
    );

    for (what, from, to) in [
        ("G.711: A-law to linear, 160 samples", Format::ALAW, Format::slin(8000)),
        ("G.711: linear to A-law, 160 samples", Format::slin(8000), Format::ALAW),
        ("resampling: 8 kHz linear to 24 kHz", Format::slin(8000), Format::slin(24000)),
        ("resampling: 24 kHz linear to 8 kHz", Format::slin(24000), Format::slin(8000)),
        ("resampling: 24 kHz linear to A-law", Format::slin(24000), Format::ALAW),
    ] {
        let mut transcoder = Transcoder::new(from, to)?;
        let packet: Vec<u8> = (0..from.bytes_in_ms(20)).map(|at| (at * 13) as u8).collect();
        let mut out = Vec::with_capacity(4096);
        add(
            what,
            time(|| {
                out.clear();
                transcoder.push(black_box(&packet), &mut out);
            }),
        );
    }

    let pcm24 = vec![7; Format::slin(24000).bytes_in_ms(20)];
    for (append, delta, audio, format) in [
        ("append message built, A-law (160 bytes)", "audio delta parsed and decoded, A-law", &alaw, AudioChoice::Alaw),
        (
            "append message built, 24 kHz (960 bytes)",
            "audio delta parsed and decoded, 24 kHz",
            &pcm24,
            AudioChoice::Pcm24,
        ),
    ] {
        let mut dialect = OpenAi::new(session(format), Format::ALAW);
        dialect.handle_open(Instant::now());
        dialect.handle_message(Message::Text(r#"{"type":"session.updated","session":{}}"#));
        while dialect.poll_output().is_some() {}
        add(
            append,
            time(|| {
                dialect.handle_caller_audio(black_box(audio));
                while let Some(Output::SendAudio { message, .. }) = dialect.poll_output() {
                    black_box(&message);
                }
            }),
        );
        let mut message = r#"{"type":"response.output_audio.delta","response_id":"resp_1","item_id":"item_1","output_index":0,"content_index":0,"event_id":"event_1_1","delta":""#.to_owned();
        base64_simd::STANDARD.encode_append(audio, &mut message);
        message.push_str("\"}");
        add(
            delta,
            time(|| {
                dialect.handle_message(Message::Text(black_box(&message)));
                while let Some(output) = dialect.poll_output() {
                    black_box(&output);
                }
            }),
        );
    }
    Ok(results)
}

/// The fastest of some pieces of time. [ns a run]
fn time(mut run: impl FnMut()) -> f64 {
    let mut rounds = 1u32;
    let mut piece = |rounds: u32| {
        let start = Instant::now();
        (0..rounds).for_each(|_| run());
        start.elapsed()
    };
    while piece(rounds) < LONG / PIECES {
        rounds *= 2;
    }
    let fastest = (0..PIECES).map(|_| piece(rounds)).min().unwrap_or_default();
    fastest.as_nanos() as f64 / f64::from(rounds)
}

/// As a table.
pub(crate) fn table(results: &[Micro]) -> String {
    let mut text = "| for one packet of 20 ms | ns | per call-minute, one way [ms] |\n|---|---|---|\n".to_owned();
    for Micro { what, packet_ns } in results {
        // 3000 packets a minute
        let _ = writeln!(text, "| {what} | {packet_ns:.0} | {:.2} |", packet_ns * 3000.0 / 1e6);
    }
    text
}

fn session(audio: AudioChoice) -> Session {
    Session {
        url: "ws://127.0.0.1/".to_owned(),
        model: "bench".to_owned(),
        audio,
        turn_detection: TurnDetection::None,
        ..Session::default()
    }
}
