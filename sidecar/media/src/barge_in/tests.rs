//! Loudness by loudness: the state machine, the echo, the guard. What real voices and noises do to it is measured in
//! tests/bench (`barge-in`).

use super::*;

const LEVEL: LocalVad = LocalVad {
    detection: Detection::Level,
    rms: 0.08,
    frames: 2,
    silence: Duration::from_millis(550),
    confirm: Duration::from_millis(400),
};
const FORMAT: Format = Format::slin(8000);

/// 20 ms of this loudness.
fn frame(level: f32) -> Vec<u8> {
    let sample = |n: usize| (if n.is_multiple_of(2) { level } else { -level } * 32767.0) as i16;
    (0..160).flat_map(|n| sample(n).to_le_bytes()).collect()
}

/// A voice: its loudness at this time, another one for every `seed`.
fn voice(seed: u64, at_ms: u64) -> f32 {
    let syllable = (at_ms / 160 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ seed.wrapping_mul(0xD6E8_FEB8_6659_FD93));
    let height = (syllable >> 40) as f32 / (1u64 << 24) as f32;
    0.02 + 0.25 * height * (1.0 - (at_ms % 160) as f32 / 165.0)
}

/// What a call of `ms` does: loudness of the agent and of the caller at that time, and the frames that were muted.
struct Call {
    actions: Vec<(u64, Action)>,
    muted: Vec<u64>,
}

fn call(settings: Settings, ms: u64, agent: impl Fn(u64) -> f32, caller: impl Fn(u64) -> f32) -> Call {
    let start = Instant::now();
    let mut machine = BargeIn::new(settings, FORMAT);
    let mut done = Call { actions: Vec::new(), muted: Vec::new() };
    let mut silenced = false;
    for at in (0..ms).step_by(20) {
        let now = start + Duration::from_millis(at);
        let agent = if silenced { 0.0 } else { agent(at) };
        machine.played(&frame(agent));
        let verdict = machine.caller(&frame(caller(at)), agent > 0.0, now);
        for action in verdict.action.into_iter().chain(machine.tick(now)) {
            silenced = action != Action::Resume;
            done.actions.push((at, action));
        }
        done.muted.extend(verdict.mute.then_some(at));
    }
    done
}

/// The actions where loudness decides.
fn run(ms: u64, agent: impl Fn(u64) -> f32, caller: impl Fn(u64) -> f32) -> Vec<(u64, Action)> {
    call(Settings { local: Some(LEVEL), echo_guard: EchoGuard::Off }, ms, agent, caller).actions
}

/// The frames that a guard alone mutes.
fn muted(guard: EchoGuard, ms: u64, agent: impl Fn(u64) -> f32, caller: impl Fn(u64) -> f32) -> Vec<u64> {
    call(Settings { local: None, echo_guard: guard }, ms, agent, caller).muted
}

/// `voice` of the agent as the line returns it.
fn echo(loss_db: f32, delay_ms: u64) -> impl Fn(u64) -> f32 {
    let gain = 10f32.powf(-loss_db / 20.0);
    move |at| if at >= delay_ms { voice(1, at - delay_ms) * gain } else { 0.0 }
}

const ECHOES: [(f32, u64); 8] =
    [(6.0, 60), (6.0, 200), (6.0, 400), (12.0, 100), (12.0, 400), (20.0, 60), (20.0, 400), (30.0, 200)];

#[test]
fn speech_holds_within_two_frames_and_interrupts_when_it_goes_on() {
    let actions = run(2000, |_| 0.05, |at| if at >= 1000 { 0.2 } else { 0.0 });
    assert_eq!(actions, [(1020, Action::Hold), (1420, Action::Interrupt)]);
}

#[test]
fn a_knock_holds_and_then_the_agent_goes_on() {
    let actions = run(3000, |_| 0.05, |at| if (1000..1080).contains(&at) { 0.3 } else { 0.0 });
    assert_eq!(actions, [(1020, Action::Hold), (1420, Action::Resume)]);
}

#[test]
fn typing_holds_once_and_not_at_every_key() {
    let actions = run(6000, |_| 0.05, |at| if at >= 1000 && at % 300 < 60 { 0.3 } else { 0.0 });
    let holds = actions.iter().filter(|(_, action)| *action == Action::Hold).count();
    assert_eq!((holds, actions.contains(&(1420, Action::Interrupt))), (1, false), "{actions:?}");
}

#[test]
fn who_goes_on_after_being_taken_for_noise_is_heard_without_a_silence_in_between() {
    let actions = run(3000, |_| 0.05, |at| if (1000..1100).contains(&at) || at >= 1500 { 0.3 } else { 0.0 });
    let expected = [Action::Hold, Action::Resume, Action::Hold, Action::Interrupt];
    assert_eq!(actions.iter().map(|(_, action)| *action).collect::<Vec<_>>(), expected, "{actions:?}");
    assert!(actions[2].0 <= 1720, "{actions:?}");
}

#[test]
fn what_ends_before_the_decision_does_not_interrupt() {
    // As loud and as long as speech, but gone when the agent was: an echo of 200 ms that nobody knew of.
    let actions = run(3000, |_| 0.05, |at| if (1000..1240).contains(&at) { 0.3 } else { 0.0 });
    assert_eq!(actions, [(1020, Action::Hold), (1420, Action::Resume)]);
}

#[test]
fn a_single_loud_frame_and_a_quiet_voice_do_nothing() {
    assert_eq!(run(2000, |_| 0.05, |at| if at == 1000 { 0.9 } else { 0.07 }), []);
}

#[test]
fn speech_while_the_agent_is_silent_is_no_interruption() {
    assert_eq!(run(2000, |_| 0.0, |_| 0.3), []);
}

#[test]
fn the_agents_own_echo_does_not_interrupt_it() {
    let sensitive = LocalVad { rms: 0.005, ..LEVEL };
    for (loss_db, delay_ms) in ECHOES {
        let settings = Settings { local: Some(sensitive), echo_guard: EchoGuard::Off };
        let done = call(settings, 20_000, |at| voice(1, at), echo(loss_db, delay_ms));
        let count = |action| done.actions.iter().filter(|(_, done)| *done == action).count();
        let held = count(Action::Hold);
        assert!(count(Action::Interrupt) == 0 && held <= 1, "-{loss_db} dB, {delay_ms} ms: {:?}", done.actions);
    }
}

#[test]
fn a_caller_who_speaks_up_interrupts_through_the_echo() {
    for (loss_db, delay_ms) in ECHOES {
        let echo = echo(loss_db, delay_ms);
        let actions = run(6000, |at| voice(1, at), |at| echo(at) + if at >= 4000 { 0.3 } else { 0.0 });
        assert!(actions.ends_with(&[(4020, Action::Hold), (4420, Action::Interrupt)]), "-{loss_db} dB, {delay_ms} ms");
    }
}

#[test]
fn a_caller_quieter_than_the_agent_interrupts_it_on_a_line_without_echo() {
    let caller = |at| if at >= 3000 { 0.12 } else { 0.001 };
    assert_eq!(run(5000, |_| 0.25, caller), [(3020, Action::Hold), (3420, Action::Interrupt)]);
}

#[test]
fn the_ai_hears_nothing_of_an_echo_once_it_is_known() {
    for (loss_db, delay_ms) in ECHOES {
        let muted = muted(EchoGuard::Auto, 20_000, |at| voice(1, at), echo(loss_db, delay_ms));
        let first = *muted.first().expect("it is recognised");
        assert!(first <= 4000, "-{loss_db} dB, {delay_ms} ms: after {first} ms");
        let frames = (20_000 - first) as usize / 20;
        assert!(muted.len() * 100 >= frames * 99, "-{loss_db} dB, {delay_ms} ms: {} of {frames}", muted.len());
    }
}

#[test]
fn the_caller_passes_through_the_guard_while_the_echo_does_not() {
    let echo = echo(12.0, 200);
    let muted = muted(EchoGuard::Auto, 8000, |at| voice(1, at), |at| echo(at) + if at >= 6000 { 0.2 } else { 0.0 });
    assert!(muted.iter().any(|&at| at < 6000) && muted.iter().all(|&at| at < 6000), "{muted:?}");
}

#[test]
fn nothing_is_muted_on_a_line_without_echo() {
    for (what, caller) in [
        ("another voice", Box::new(|at| voice(2, at) * 0.3) as Box<dyn Fn(u64) -> f32>),
        ("noise", Box::new(|_| 0.03)),
        ("its own voice, as loud as the agent's and at the same time", Box::new(|at| voice(1, at))),
        ("silence", Box::new(|_| 0.0)),
        ("the agent's voice, before the agent", Box::new(|at| voice(1, at + 300))),
    ] {
        assert_eq!(muted(EchoGuard::Auto, 60_000, |at| voice(1, at), caller), [], "{what}");
    }
}

#[test]
fn two_tones_that_begin_together_are_no_echo() {
    let tone = |loudness: f32| move |at: u64| if at % 3000 >= 1000 { loudness } else { 0.0 };
    assert_eq!(muted(EchoGuard::Auto, 12_000, tone(0.2), tone(0.05)), []);
}

#[test]
fn an_echo_that_is_gone_is_forgotten() {
    let echo = echo(12.0, 200);
    let muted = muted(
        EchoGuard::Auto,
        30_000,
        |at| voice(1, at),
        |at| {
            if at < 10_000 { echo(at) } else { voice(3, at) * 0.1 }
        },
    );
    assert!(muted.last().is_some_and(|&last| last < 15_000), "{:?}", muted.last());
}

#[test]
fn a_guard_that_is_always_on_mutes_before_anybody_can_know() {
    let echo = echo(12.0, 60);
    let muted = muted(EchoGuard::Always, 3000, |at| voice(1, at), |at| echo(at).max(0.001));
    assert!(muted.len() >= 145 && muted[..50].iter().all(|&at| at <= 1000), "from the first frame on: {}", muted.len());
    assert_eq!(self::muted(EchoGuard::Off, 20_000, |at| voice(1, at), echo), []);
}

#[test]
fn the_voice_detector_hears_no_person_in_noise_at_any_rate() {
    let mut state = 1u64;
    for rate_hz in [8000, 12_000, 16_000, 24_000] {
        let format = Format::slin(rate_hz);
        let mut voice = Voice::new(format);
        for _ in 0..100 {
            let noise: Vec<u8> = (0..format.bytes_in_ms(20) / 2)
                .flat_map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    ((state >> 53) as i16 - 1024).to_le_bytes()
                })
                .collect();
            let score = voice.score(&noise);
            assert!(score < SURE, "{score} at {rate_hz} Hz");
        }
    }
}

#[test]
fn loudness_is_that_of_the_samples_whatever_the_law() {
    for format in [Format::ALAW, Format::ULAW, Format::slin(8000)] {
        let mut audio = vec![0; format.bytes_in_ms(20)];
        for (number, bytes) in audio.chunks_exact_mut(format.sample_bytes()).enumerate() {
            format.store(if number % 2 == 0 { 16384 } else { -16384 }, bytes);
        }
        assert!((level(&audio, format) - 0.5).abs() < 0.02, "{format}");
        assert!(level(&[format.silence_byte(); 160], format) < 0.001);
    }
}
