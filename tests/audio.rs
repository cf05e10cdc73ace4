//! What one side says is what the other side hears, to the sample or with no audible loss, and at a steady pace.

mod common;

use std::rc::Rc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::signal::{
    Chord, Likeness, codes, compare, densest, intervals, is_sound, percentile, position, snr_db, sounds,
};
use common::wire::answer_in_pieces;
use common::witness::undisturbed;
use common::{SOON, Stage, extension};
use practice_agent::{Pace, Script, Server, Session, Speech};
use rig::{Codec, Packet, Phone, PhoneCall, Recording};

/// Bytes in a piece of an answer that is cut without regard to samples and frames.
const ODD_PIECE: usize = 333;
/// What a conversion must leave of the signal. [dB]
const FAITHFUL_DB: f64 = 40.0;
/// Longest time between two packets of the line.
const LONGEST_GAP: Duration = Duration::from_millis(60);

/// One call, answered and connected; its agent says nothing of its own accord.
struct Talk {
    _stage: Rc<Stage>,
    call: PhoneCall,
    session: Session,
}

impl Talk {
    /// A call from a phone with this codec; `keys` are lines of the profile.
    fn begin(codec: Codec, keys: &str) -> Self {
        Self::begin_on(silent_stage(keys, ""), codec, "100")
    }

    /// A call of `extension`.
    fn begin_on(stage: Rc<Stage>, codec: Codec, extension: &str) -> Self {
        let call = Phone::new(&stage.rig).codec(codec).dial(extension).expect("the phone dials");
        call.wait_answered(SOON).expect("the call is answered");
        let session = stage.session();
        session.wait_caller_audio(Duration::from_millis(100), SOON).expect("caller audio flows");
        Self { _stage: stage, call, session }
    }

    /// Has the agent say `audio`, bytes of the wire format, faster than it is heard.
    fn agent_says(&self, audio: &[u8]) {
        self.session.perform(Script::new().say(Speech::wire("a signal", audio)));
    }

    /// Waits until what was said in `length` has been heard on both sides.
    fn wait_heard(&self, length: Duration) {
        self.call.wait_played(length + SOON).expect("the phone sends");
        self.session.wait_performed(SOON).expect("the agent has said it");
        // The way there and back, and the beginning of an answer, take a tenth of this.
        sleep(Duration::from_millis(500));
    }
}

fn silent_stage(keys: &str, dialplan: &str) -> Rc<Stage> {
    Rc::new(Stage::new(Server::builder().script(Script::new()), keys, dialplan))
}

/// That `heard`, codes of G.711, is all of `said` and otherwise silence.
fn assert_hears_exactly(heard: &[u8], said: &[u8], who: &str) {
    let place = position(heard, &said[..160]).unwrap_or_else(|| panic!("{who} hears the beginning"));
    let wrong = said.iter().zip(&heard[place..]).position(|(said, heard)| said != heard);
    assert_eq!(wrong, None, "{who} hears another code at this place");
    assert!(heard.len() - place >= said.len(), "{who} hears only {} of {}", heard.len() - place, said.len());
    let others = sounds(heard).iter().map(|(_, sound)| sound.len()).sum::<usize>();
    assert_eq!(others, said.len(), "{who} hears nothing else");
}

fn assert_faithful(likeness: &Likeness, what: &str) {
    println!("{what}: SNR {:.1} dB, worst 20 ms {:.1} dB", likeness.snr_db, likeness.worst_db);
    assert!(likeness.snr_db >= FAITHFUL_DB, "{what}: {likeness:?}");
    assert!(likeness.worst_db >= FAITHFUL_DB, "{what}: {likeness:?}");
}

/// The line's pace in `from..to`: no pause, nothing missing, no burst.
fn assert_steady(recording: &Recording, from: Instant, to: Instant, what: &str) {
    let intervals = intervals(recording, from, to);
    let (p99, longest) = (percentile(&intervals, 0.99), percentile(&intervals, 1.0));
    println!("{what}: {} intervals, p99 {p99:?}, longest {longest:?}", intervals.len());
    assert!(longest <= LONGEST_GAP, "{what}: a gap of {longest:?}");
    let wanted = (to - from).as_secs_f64() * 50.0;
    assert!((intervals.len() as f64 - wanted).abs() <= 4.0, "{what}: {} packets, not {wanted}", intervals.len());
    // Of the frames that a late thread owes, three at most leave at once.
    let most = densest(recording, Duration::from_millis(100));
    assert!(most <= 5 + 3, "{what}: {most} packets within 100 ms");
    let packets: Vec<&Packet> = recording.audio().collect();
    for pair in packets.windows(2) {
        assert_eq!(pair[1].sequence.wrapping_sub(pair[0].sequence), 1, "{what}: sequence numbers");
        assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp), 160, "{what}: timestamps");
    }
}

/// The format of both directions in the client's `session.update`.
fn wire_formats(session: &Session) -> [String; 2] {
    let update = session.wait_event("session.update", 0, SOON).expect("the session is configured").json;
    ["input", "output"].map(|direction| {
        let format = &update["session"]["audio"][direction]["format"];
        format["type"].as_str().unwrap_or_default().to_owned()
    })
}

#[test]
fn g711_passes_untouched_both_ways() {
    undisturbed(|| {
        let stage = silent_stage("audio = auto", "");
        for (codec, wire) in [(Codec::Alaw, "audio/pcma"), (Codec::Ulaw, "audio/pcmu")] {
            let talk = Talk::begin_on(stage.clone(), codec, "100");
            assert_eq!(wire_formats(&talk.session), [wire, wire]);
            // No whole number of packets.
            let (caller, agent) = (codes(1, 12_077), codes(2, 12_077));
            talk.call.play_bytes(&caller);
            talk.agent_says(&agent);
            talk.wait_heard(Duration::from_millis(1500));
            assert_hears_exactly(&talk.session.caller_audio(), &caller, "the agent");
            assert_hears_exactly(&talk.call.heard().bytes(), &agent, "the caller");
        }
    });
}

#[test]
fn a_wideband_phone_loses_nothing_through_pcm24() {
    undisturbed(|| {
        let talk = Talk::begin(Codec::Slin16, "audio = pcm24");
        assert_eq!(wire_formats(&talk.session), ["audio/pcm", "audio/pcm"]);
        let length = Duration::from_millis(2007);
        let (caller, agent) = (Chord::wide(1, length), Chord::wide(2, length));
        talk.call.play(&caller.at_rate(16000));
        talk.agent_says(&agent.slin(24000));
        talk.wait_heard(length);
        let likeness = compare(&talk.session.caller_pcm(), &caller.at_rate(24000), 24000);
        assert_faithful(&likeness, "caller to agent, 16 to 24 kHz");
        let likeness = compare(&talk.call.heard().pcm(), &agent.at_rate(16000), 16000);
        assert_faithful(&likeness, "agent to caller, 24 to 16 kHz");
    });
}

#[test]
fn a_g711_phone_loses_nothing_but_what_its_law_takes_through_pcm24() {
    undisturbed(|| {
        let talk = Talk::begin(Codec::Alaw, "audio = pcm24");
        let length = Duration::from_millis(2007);
        let (caller, agent) = (Chord::narrow(3, length), Chord::narrow(4, length));
        let quantised = |chord: &Chord| Codec::Alaw.decode(&Codec::Alaw.encode(&chord.at_rate(8000)));
        talk.call.play(&caller.at_rate(8000));
        talk.agent_says(&agent.slin(24000));
        talk.wait_heard(length);

        // Every third sample at 24 kHz is one of those at 8 kHz; which ones, the comparison finds out.
        let got = talk.session.caller_pcm();
        let thirds = |offset: usize| got[offset..].iter().step_by(3).copied().collect::<Vec<_>>();
        let phases = (0..3).map(|offset| compare(&thirds(offset), &quantised(&caller), 8000));
        let likeness = phases.max_by(|a, b| a.snr_db.total_cmp(&b.snr_db)).expect("three of them");
        assert_faithful(&likeness, "caller to agent, A-law to 24 kHz");

        let said = agent.at_rate(8000);
        let likeness = compare(&talk.call.heard().pcm(), &said, 8000);
        let law_db = snr_db(&quantised(&agent), &said);
        println!("agent to caller, 24 kHz to A-law: SNR {:.1} dB; A-law alone: {law_db:.1} dB", likeness.snr_db);
        // With 40 dB to that alone, the noise of the way adds this much to the law's own.
        let limit_db = -10.0 * (10f64.powf(-law_db / 10.0) + 10f64.powf(-FAITHFUL_DB / 10.0)).log10();
        assert!(likeness.snr_db >= limit_db, "{likeness:?}, A-law alone: {law_db:.1} dB, at least {limit_db:.1} dB");
    });
}

#[test]
fn an_answer_cut_anywhere_has_no_seam() {
    undisturbed(|| {
        let stage = silent_stage("\n[wide](test)\naudio = pcm24", &extension("101", "wide"));
        let narrow = Talk::begin_on(stage.clone(), Codec::Alaw, "100");
        let wide = Talk::begin_on(stage, Codec::Slin16, "101");
        let length = Duration::from_millis(1507);
        let (noise, chord) = (codes(5, 12_056), Chord::wide(5, length));
        narrow.session.perform(answer_in_pieces("a", noise.chunks(ODD_PIECE)));
        wide.session.perform(answer_in_pieces("a", chord.slin(24000).chunks(ODD_PIECE)));
        sleep(length + Duration::from_millis(500));

        assert_hears_exactly(&narrow.call.heard().bytes(), &noise, "the caller");
        let likeness = compare(&wide.call.heard().pcm(), &chord.at_rate(16000), 16000);
        assert_faithful(&likeness, "24 to 16 kHz in pieces of 333 bytes");
    });
}

#[test]
fn the_last_syllable_of_an_answer_is_heard() {
    undisturbed(|| {
        let talk = Talk::begin(Codec::Slin16, "audio = pcm24");
        // Shorter than a frame, than the resampler's block and than what playout waits for; and with a bit over each.
        for ms in [13, 21, 45, 333] {
            let length = Duration::from_millis(ms);
            let chord = Chord::wide(ms, length);
            let before = talk.call.heard().pcm().len();
            talk.agent_says(&chord.slin(24000));
            talk.session.wait_performed(SOON).expect("the agent has said it");
            sleep(length + Duration::from_millis(250));
            let likeness = compare(&talk.call.heard().pcm()[before..], &chord.at_rate(16000), 16000);
            assert_faithful(&likeness, &format!("an answer of {ms} ms"));
        }
    });
}

#[test]
fn the_stream_goes_on_both_ways_while_the_phone_sends_nothing() {
    undisturbed(|| {
        let talk = Talk::begin(Codec::Alaw, "");
        let heard_in = |from: Instant, to: Instant| {
            let appends = talk.session.appends();
            let bytes: usize =
                appends.iter().filter(|append| (from..to).contains(&append.at)).map(|append| append.len).sum();
            bytes as f64 / 8000.0
        };
        talk.call.mute(true);
        let muted = Instant::now();
        sleep(Duration::from_secs(2));
        let unmuted = Instant::now();
        talk.call.mute(false);
        talk.call.play_bytes(&codes(7, 4000));
        sleep(Duration::from_millis(800));
        let end = Instant::now();

        for (what, from, to) in [("nothing sent", muted, unmuted), ("sending again", unmuted, end)] {
            let (time_s, heard_s) = ((to - from).as_secs_f64(), heard_in(from, to));
            println!("{what}: {heard_s:.3} s of audio in {time_s:.3} s");
            assert!((time_s - heard_s).abs() <= 0.1, "{what}: {heard_s:.3} s of audio in {time_s:.3} s");
        }
        assert_hears_exactly(&talk.session.caller_audio(), &codes(7, 4000), "the agent");
        assert_steady(&talk.call.heard(), muted, unmuted, "the line while the phone sends nothing");
    });
}

#[test]
fn a_silent_agent_is_silence_in_the_phones_own_law() {
    undisturbed(|| {
        let stage = silent_stage("", "");
        let talks = [(Codec::Alaw, 0xD5), (Codec::Ulaw, 0xFF)]
            .map(|(codec, silence)| (Talk::begin_on(stage.clone(), codec, "100"), silence));
        let from = Instant::now();
        sleep(Duration::from_secs(3));
        let to = Instant::now();
        for (talk, silence) in talks {
            let heard = talk.call.heard();
            assert_steady(&heard, from, to, &format!("silence {silence:#04x}"));
            assert!(heard.audio().all(|packet| packet.payload == [silence; 160]), "only silence {silence:#04x}");
        }
    });
}

#[test]
fn an_answer_sent_at_once_leaves_in_step() {
    undisturbed(|| {
        let talk = Talk::begin(Codec::Alaw, "");
        let from = Instant::now();
        let said = codes(8, 24_000);
        talk.session.perform(Script::new().say(Speech::wire("a lot", said.clone()).at(Pace::Burst)));
        sleep(Duration::from_millis(3500));
        let heard = talk.call.heard();
        assert_steady(&heard, from, Instant::now(), "3 s of answer in one go");
        let packets: Vec<_> = heard.audio().filter(|packet| is_sound(packet)).collect();
        assert_eq!(packets.len(), 150, "packets with the answer");
        assert_hears_exactly(&heard.bytes(), &said, "the caller");
    });
}

#[test]
fn an_alaw_phone_can_talk_ulaw_to_the_ai() {
    undisturbed(|| {
        let talk = Talk::begin(Codec::Alaw, "audio = ulaw");
        assert_eq!(wire_formats(&talk.session), ["audio/pcmu", "audio/pcmu"]);
        let length = Duration::from_secs(1);
        let (caller, agent) = (Chord::narrow(9, length), Chord::narrow(10, length));
        talk.call.play(&caller.at_rate(8000));
        talk.agent_says(&Codec::Ulaw.encode(&agent.at_rate(8000)));
        talk.wait_heard(length);
        let ways = [
            ("caller to agent", talk.session.caller_pcm(), &caller),
            ("agent to caller", talk.call.heard().pcm(), &agent),
        ];
        for (way, heard, chord) in ways {
            let likeness = compare(&heard, &chord.at_rate(8000), 8000);
            println!("{way}: SNR {:.1} dB", likeness.snr_db);
            // Two laws, one after the other, quantise twice: 38 dB each.
            assert!(likeness.snr_db >= 33.0, "{way}: {likeness:?}");
        }
    });
}

#[test]
fn the_channel_has_its_formats_back_after_the_conversation() {
    undisturbed(|| {
        const FORMATS: &str = "<${CHANNEL(audioreadformat)} ${CHANNEL(audiowriteformat)}>";
        let dialplan = format!(
            "exten => 101,1,Answer()\n same => n,Verbose(0,FORMATS before: {FORMATS})\n same => n,AI()\n \
         same => n,Verbose(0,FORMATS after ${{AISTATUS}}: {FORMATS})\n same => n,Echo()\n"
        );
        // A-law through µ-law and back is not the same any more, so a format that was kept would be heard.
        let stage = silent_stage("audio = ulaw", &dialplan);
        let talk = Talk::begin_on(stage.clone(), Codec::Alaw, "101");
        talk.session.perform(Script::new().close(1000, "that was all"));
        let formats = |when: &str| {
            let line = stage.rig.wait_log(&format!("FORMATS {when}: <"), SOON).expect("the dialplan goes on");
            let (_, formats) = line.split_once('<').expect("just found");
            formats.split_once('>').expect("a whole line").0.to_owned()
        };
        assert_eq!(formats("after COMPLETE"), formats("before"));

        let said = codes(11, 8000);
        talk.call.play_bytes(&said);
        talk.call.wait_played(SOON).expect("the phone sends");
        sleep(Duration::from_millis(300));
        assert_hears_exactly(&talk.call.heard().bytes(), &said, "the caller, an echo:");
    });
}
