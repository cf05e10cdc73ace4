//! Another phone gets into a conversation: it is transferred there, or takes the place of the first. For a running `AI()`
//! the line changes under its feet, with codec and packet numbers.

mod common;

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::signal::{Chord, codes, is_sound, likest_db, longest_interval, sounds};
use common::witness::undisturbed;
use common::{SOON, Stage, eventually};
use practice_agent::{Script, Server, Session, Speech};
use rig::{CallEvent, Codec, Direction, Ended, Phone, PhoneCall};

/// Extensions that call the phone at this port, and one that is an echo after the conversation.
const DIALPLAN: &str = "
exten => _5.,1,Dial(PJSIP/1001/sip:phone@127.0.0.1:${EXTEN:1})
 same => n,Hangup()
exten => 101,1,Set(FROM=${EXTEN})
 same => n,AI()
 same => n,Verbose(0,FORMATS ${AISTATUS} <${CHANNEL(audioreadformat)} ${CHANNEL(audiowriteformat)}>)
 same => n,Echo()
";
/// What is said: long enough for a codec to settle.
const LENGTH: Duration = Duration::from_millis(1500);
/// Longest time without a packet for the phone that is transferred.
const LONGEST_GAP: Duration = Duration::from_millis(250);
/// Most that neither the one nor the other phone hears of the agent, or the AI of the phone.
const MOST_LOST: Duration = Duration::from_millis(250);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn stage(keys: &str) -> Stage {
    Stage::new(Server::builder().script(Script::new()), keys, DIALPLAN)
}

fn phone(stage: &Stage, codec: Codec) -> Phone {
    Phone::new(&stage.rig).codec(codec)
}

/// An answered call of `extension`, its audio flowing to the AI.
fn talk_to_ai(stage: &Stage, codec: Codec, extension: &str) -> (PhoneCall, Session) {
    let call = phone(stage, codec).dial(extension).expect("the phone dials");
    call.wait_answered(SOON).expect("the call is answered");
    (call, heard(stage.session()))
}

fn heard(session: Session) -> Session {
    session.wait_caller_audio(ms(300), SOON).expect("the caller is heard");
    session
}

/// `caller` calls `called`, and they hear each other.
fn bridged(stage: &Stage, caller: Codec, called: Codec) -> (PhoneCall, PhoneCall) {
    let called = phone(stage, called).listen().expect("the phone listens");
    let uri = called.uri();
    let (_, port) = uri.rsplit_once(':').expect("a port");
    let caller = phone(stage, caller).dial(&format!("5{port}")).expect("the phone dials");
    for call in [&caller, &called] {
        call.wait_answered(SOON).expect("the call is answered");
        call.play(&Chord::narrow(1, ms(200)).at_rate(call.heard().codec.rate_hz()));
    }
    for call in [&caller, &called] {
        eventually("the two phones hear each other", SOON, || {
            call.heard().pcm().iter().any(|sample| sample.unsigned_abs() > 1000)
        });
    }
    sleep(ms(300));
    (caller, called)
}

/// A phone with A-law, and one with `codec` that the first is going to transfer: it calls the other or is called by it.
fn transferor_and_other(stage: &Stage, codec: Codec, calls: bool) -> (PhoneCall, PhoneCall) {
    if calls {
        return bridged(stage, Codec::Alaw, codec);
    }
    let (other, transferor) = bridged(stage, codec, Codec::Alaw);
    (transferor, other)
}

/// Both say something at the same time, and hear it from each other; the AI at 24 kHz.
fn assert_converse(call: &PhoneCall, session: &Session, least_db: f64, what: &str) {
    let codec = call.heard().codec;
    let chord = Chord::narrow(2, LENGTH);
    let sound = |rate_hz| chord.at_rate(rate_hz);
    let (heard_before, said_before) = (call.heard().pcm().len(), session.caller_pcm().len());
    call.play(&sound(codec.rate_hz()));
    session.perform(Script::new().say(Speech::wire("a sound", chord.slin(24_000))));
    call.wait_played(SOON).expect("the phone sends");
    session.wait_performed(SOON).expect("the agent has said it");
    sleep(ms(500));
    let to_agent = likest_db(&session.caller_pcm()[said_before..], &sound, 24_000);
    let to_caller = likest_db(&call.heard().pcm()[heard_before..], &sound, codec.rate_hz());
    println!("{what}: SNR caller to agent {to_agent:.1} dB, agent to caller {to_caller:.1} dB");
    assert!(to_agent >= least_db && to_caller >= least_db, "{what}: {to_agent:.1} and {to_caller:.1} dB");
}

/// The agent ends it: the dialplan goes on with the formats that the phone has, and the phone hears its own echo.
fn assert_ends_well(stage: &Stage, call: &PhoneCall, session: &Session, formats: &str, what: &str) {
    session.perform(Script::new().close(1000, "that was all"));
    let line = stage.rig.wait_log("FORMATS COMPLETE <", SOON).expect("the dialplan goes on");
    assert!(line.contains(&format!("<{formats}>")), "{what}: {line}");
    let before = call.heard().pcm().len();
    call.play(&Chord::narrow(3, ms(400)).at_rate(call.heard().codec.rate_hz()));
    eventually("the phone hears itself", SOON, || {
        call.heard().pcm()[before..].iter().any(|sample| sample.unsigned_abs() > 1000)
    });
    call.hang_up();
    call.wait_for(CallEvent::Ended(Ended::ByCaller), SOON).expect("the phone hangs up");
    stage.assert_nothing_left();
}

#[test]
fn a_phone_is_transferred_to_the_ai_unannounced() {
    for (codec, calls, formats, least_db) in [
        (Codec::Alaw, true, "alaw alaw", 33.0),
        // What a bridge between two codecs has left.
        (Codec::Ulaw, false, "ulaw alaw", 33.0),
        (Codec::G722, true, "slin16 slin16", 25.0),
    ] {
        undisturbed(|| {
            let what = format!("{codec:?}, transferred to the AI");
            let stage = stage("audio = pcm24");
            let (transferor, call) = transferor_and_other(&stage, codec, calls);
            let from = Instant::now();
            transferor.transfer("101", SOON).expect("Asterisk agrees");
            transferor.wait_ended(SOON).expect("the transferor is out of it");
            let session = heard(stage.session());
            assert_converse(&call, &session, least_db, &what);
            let gap = longest_interval(&call.heard(), from, Instant::now());
            assert!(gap <= LONGEST_GAP, "{what}: {gap:?} without a packet");
            assert_ends_well(&stage, &call, &session, formats, &what);
        });
    }
}

#[test]
fn a_phone_is_transferred_into_a_conversation_that_was_begun_for_it() {
    for (codec, calls, formats, least_db) in [
        (Codec::Alaw, true, "alaw alaw", 33.0),
        (Codec::Ulaw, false, "ulaw ulaw", 33.0),
        (Codec::G722, true, "g722 g722", 15.0),
        (Codec::Slin16, false, "slin16 slin16", 40.0),
    ] {
        undisturbed(|| {
            let what = format!("{codec:?}, joined with the AI");
            let stage = stage("audio = pcm24");
            let (transferor, call) = transferor_and_other(&stage, codec, calls);
            let (consultation, session) = talk_to_ai(&stage, Codec::Alaw, "101");
            let from = Instant::now();
            transferor.join(&consultation, SOON).expect("Asterisk agrees");
            for call in [&transferor, &consultation] {
                call.wait_ended(SOON).expect("the transferor is out of it");
            }
            assert_converse(&call, &session, least_db, &what);
            let gap = longest_interval(&call.heard(), from, Instant::now());
            assert!(gap <= LONGEST_GAP, "{what}: {gap:?} without a packet");
            assert_ends_well(&stage, &call, &session, formats, &what);
        });
    }
}

#[test]
fn a_phone_takes_the_place_of_the_first() {
    for (codec, formats, least_db) in
        [(Codec::Alaw, "alaw alaw", 33.0), (Codec::Ulaw, "ulaw ulaw", 33.0), (Codec::G722, "g722 g722", 15.0)]
    {
        undisturbed(|| {
            let what = format!("{codec:?} in the place of A-law");
            let stage = stage("audio = pcm24");
            let (first, session) = talk_to_ai(&stage, Codec::Alaw, "101");
            // Its packets have numbers that those of the first had a moment ago.
            let call = phone(&stage, codec).take_over(&first, "101").expect("the phone calls");
            call.wait_answered(SOON).expect("the call is answered");
            first.wait_ended(SOON).expect("the first is out of it");
            assert_converse(&call, &session, least_db, &what);
            assert_ends_well(&stage, &call, &session, formats, &what);
        });
    }
}

/// Has Asterisk play music to those who are on hold.
fn load_music(stage: &Stage) {
    let sound: String =
        std::iter::repeat_n("UUUUUUUU\u{16}\u{16}\u{16}\u{16}\u{16}\u{16}\u{16}\u{16}", 10_000).collect();
    stage.rig.write_config("music.ulaw", &sound).expect("the music is written");
    let class = format!("[default]\nmode = playlist\nentry = {}\n", stage.rig.path_inside("etc/music"));
    stage.rig.write_config("musiconhold.conf", &class).expect("the configuration is written");
    stage.cli("module load res_musiconhold.so");
}

#[test]
fn a_phone_that_hears_music_on_hold_is_transferred_and_hears_the_agent() {
    for announced in [true, false] {
        undisturbed(|| {
            let stage = stage("audio = pcm24");
            load_music(&stage);
            let (transferor, call) = transferor_and_other(&stage, Codec::Alaw, true);
            transferor.renegotiate(Codec::Alaw, Direction::SendOnly, SOON).expect("Asterisk agrees");
            transferor.mute(true);
            let before = call.heard().pcm().len();
            eventually("the music plays", SOON, || {
                call.heard().pcm()[before..].iter().filter(|sample| sample.unsigned_abs() > 1000).count() > 4000
            });
            let session = if announced {
                let (consultation, session) = talk_to_ai(&stage, Codec::Alaw, "101");
                transferor.join(&consultation, SOON).expect("Asterisk agrees");
                consultation.wait_ended(SOON).expect("the transferor is out of it");
                session
            } else {
                transferor.transfer("101", SOON).expect("Asterisk agrees");
                heard(stage.session())
            };
            sleep(ms(300));
            let what = if announced { "from hold, announced" } else { "from hold, unannounced" };
            assert_converse(&call, &session, 33.0, what);
            assert_ends_well(&stage, &call, &session, "alaw alaw", what);
        });
    }
}

/// Phone and agent both speak without a pause while the phone is put into the conversation of `first` by `transfer`.
fn assert_nothing_is_lost(first: &PhoneCall, session: &Session, what: &str, transfer: impl FnOnce(&[u8]) -> PhoneCall) {
    let (caller, agent) = (codes(5, 32_000), codes(6, 40_000));
    session.perform(Script::new().start_saying(Speech::wire("a long story", agent.clone())));
    eventually("the first phone hears the agent", SOON, || first.heard().audio().any(is_sound));
    sleep(ms(500));
    let call = transfer(&caller);
    call.wait_played(SOON).expect("the phone sends");
    sleep(ms(2000));

    // Codes at the end of `heard` that are those at the end of `said`.
    let common_end =
        |heard: &[u8], said: &[u8]| heard.iter().rev().zip(said.iter().rev()).take_while(|(a, b)| a == b).count();
    let sound = |codes: &[u8]| sounds(codes).iter().flat_map(|(_, sound)| *sound).copied().collect::<Vec<_>>();
    let most_lost = MOST_LOST.as_millis() as usize * 8;
    let begun = sound(&first.heard().bytes()).len();
    let rest = common_end(&sound(&call.heard().bytes()), &agent);
    println!("{what}: {begun} and {rest} of {} codes of the agent are heard", agent.len());
    assert!(begun + rest + most_lost >= agent.len(), "{what}: only {begun} and {rest} codes of the agent are heard");
    let rest = common_end(&sound(&session.caller_audio()), &caller);
    println!("{what}: the AI hears the last {rest} of {} codes", caller.len());
    assert!(rest + most_lost >= caller.len(), "{what}: only the last {rest} of {} codes without a hole", caller.len());
}

#[test]
fn not_a_word_is_lost_when_a_phone_is_put_into_a_conversation() {
    undisturbed(|| {
        let stage = stage("audio = alaw");
        let (first, session) = talk_to_ai(&stage, Codec::Alaw, "101");
        assert_nothing_is_lost(&first, &session, "taken over", |said| {
            let call = phone(&stage, Codec::Alaw).take_over(&first, "101").expect("the phone calls");
            call.play_bytes(said);
            call
        });

        let (transferor, call) = transferor_and_other(&stage, Codec::Alaw, true);
        let (consultation, session) = talk_to_ai(&stage, Codec::Alaw, "101");
        assert_nothing_is_lost(&consultation, &session, "transferred", |said| {
            call.play_bytes(said);
            transferor.join(&consultation, SOON).expect("Asterisk agrees");
            call
        });
    });
}
