//! Whatever a phone and its network do to the caller's packets, the AI gets one continuous stream at the pace of time, and
//! the line to the phone keeps its rhythm.

mod common;

use std::rc::Rc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::signal::{codes, intervals, percentile, position, sounds};
use common::witness::undisturbed;
use common::{SOON, Stage};
use practice_agent::{Script, Server, Session};
use rig::{Codec, Direction, Network, Phone, PhoneCall};

/// How exactly the stream keeps to time: the length of packets, and of what the practice agent reads at once.
const PACE: Duration = Duration::from_millis(100);
/// How far from its place a packet may lie when the machine has delayed the one before it. [codes]
const OUT_OF_PLACE: usize = 5 * 160;
/// Longest time between two packets of the line.
const LONGEST_GAP: Duration = Duration::from_millis(100);

/// An answered call of an A-law phone, its bytes untouched all the way.
struct Talk {
    call: PhoneCall,
    session: Session,
    begun: Instant,
    begun_with: Duration,
}

fn stage(keys: &str) -> Rc<Stage> {
    Rc::new(Stage::new(Server::builder().script(Script::new()), keys, ""))
}

impl Talk {
    fn begin(stage: &Stage, phone: impl FnOnce(Phone) -> Phone) -> Self {
        let call = phone(Phone::new(&stage.rig)).dial("100").expect("the phone dials");
        call.wait_answered(SOON).expect("the call is answered");
        let session = stage.session();
        session.wait_caller_audio(Duration::from_millis(300), SOON).expect("caller audio flows");
        Self { begun: Instant::now(), begun_with: session.caller_audio_time(), call, session }
    }

    /// Sends `said` and waits until all of it should have arrived.
    fn say(&self, said: &[u8]) {
        self.call.play_bytes(said);
        self.call.wait_played(SOON + Duration::from_millis(said.len() as u64 / 8)).expect("the phone sends");
        sleep(Duration::from_millis(300));
    }

    /// That the AI has got as much audio as time has passed, and the phone its packets.
    fn assert_pace(&self, what: &str) {
        let now = Instant::now();
        let time = now - self.begun;
        let audio = self.session.caller_audio_time() - self.begun_with;
        let surplus_ms = (audio.as_secs_f64() - time.as_secs_f64()) * 1e3;
        let intervals = intervals(&self.call.heard(), self.begun, now);
        let longest = percentile(&intervals, 1.0);
        println!("{what}: {audio:?} of audio in {time:?} ({surplus_ms:+.0} ms); line: longest gap {longest:?}");
        assert!(surplus_ms.abs() <= PACE.as_secs_f64() * 1e3, "{what}: {audio:?} of audio in {time:?}");
        assert!(longest <= LONGEST_GAP, "{what}: a gap of {longest:?} on the line");
        let wanted = time.as_secs_f64() * 50.0;
        assert!((intervals.len() as f64 - wanted).abs() <= 5.0, "{what}: {} packets, not {wanted}", intervals.len());
    }

    /// That the AI has heard exactly `said`, and nothing else that is not silence.
    fn assert_heard(&self, said: &[u8], what: &str) {
        let heard = self.session.caller_audio();
        let place = position(&heard, &said[..80]).unwrap_or_else(|| panic!("{what}: the AI hears the beginning"));
        let heard = &heard[place..];
        let wrong = said.iter().zip(heard).position(|(said, heard)| said != heard);
        assert_eq!(wrong, None, "{what}: the AI hears another code at this place");
        assert!(heard.len() >= said.len(), "{what}: the AI hears only {} of {}", heard.len(), said.len());
        let all: usize = sounds(&self.session.caller_audio()).iter().map(|(_, sound)| sound.len()).sum();
        assert_eq!(all, said.len(), "{what}: the AI hears nothing else");
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn packets_of_any_length_are_one_stream_to_the_code() {
    undisturbed(|| {
        let stage = stage("");
        let talks: Vec<_> = [10, 20, 30, 40, 60]
            .into_iter()
            .map(|length| (length, Talk::begin(&stage, |phone| phone.packet_time(ms(length)))))
            .collect();
        let said = codes(21, 24_000);
        talks.iter().for_each(|(_, talk)| _ = talk.call.play_bytes(&said));
        sleep(ms(4000));
        for (length, talk) in talks {
            let what = format!("packets of {length} ms");
            talk.assert_pace(&what);
            talk.assert_heard(&said, &what);
        }
    });
}

#[test]
fn a_lost_packet_is_silence_in_its_place() {
    for (length, one_in) in [(20, 10), (20, 3), (60, 5)] {
        undisturbed(|| {
            let stage = stage("");
            let what = format!("one in {one_in} packets of {length} ms lost");
            let network = Network { lose_one_in: Some(one_in), ..Network::default() };
            let talk = Talk::begin(&stage, |phone| phone.packet_time(ms(length)).network(network));
            let packet = length as usize * 8;
            let said = codes(22, packet * (4000 / length as usize));
            talk.say(&said);
            talk.assert_pace(&what);

            // The first packet may be the lost one: what was said is found by one of the next.
            let heard = talk.session.caller_audio();
            let place =
                (0..3).find_map(|skip| Some((position(&heard, &said[skip * packet..][..packet])?, skip * packet)));
            let (place, skipped) = place.expect("the AI hears the caller");
            let (mut lost, mut whole) = (0, 0);
            for (number, said) in said.chunks(packet).enumerate() {
                let at = place + number * packet;
                let around = at.saturating_sub(skipped + OUT_OF_PLACE)..(at + packet + OUT_OF_PLACE).min(heard.len());
                match position(&heard[around], said) {
                    Some(_) => whole += 1,
                    None => lost += 1,
                }
            }
            let spoken: usize = sounds(&heard).iter().map(|(_, sound)| sound.len()).sum();
            assert_eq!(spoken, whole * packet, "{what}: whole packets at their place, and otherwise silence");
            println!("{what}: {lost} of {} replaced by silence", lost + whole);
            let share = lost as f64 / (lost + whole) as f64;
            assert!((share - 1.0 / f64::from(one_in)).abs() <= 0.02, "{what}: {share}");
        });
    }
}

#[test]
fn packets_that_change_places_are_put_in_order() {
    undisturbed(|| {
        let network = Network { swap_one_in: Some(4), ..Network::default() };
        let said = codes(23, 24_000);
        let ordered = stage("");
        let talk = Talk::begin(&ordered, |phone| phone.network(network));
        talk.say(&said);
        talk.assert_pace("every fourth packet overtaken");
        talk.assert_heard(&said, "every fourth packet overtaken");
    });
}

#[test]
fn nothing_is_lost_when_the_source_of_the_packets_changes() {
    undisturbed(|| {
        let stage = stage("");
        let talk = Talk::begin(&stage, |phone| phone);
        let said = codes(30, 16_000);
        talk.call.play_bytes(&said);
        for back in [30, 1000] {
            sleep(ms(500));
            talk.call.change_source(back);
        }
        sleep(ms(1500));
        talk.assert_pace("two changes of source");
        talk.assert_heard(&said, "two changes of source");
    });
}

#[test]
fn jitter_reaches_the_ai_as_an_even_stream_to_the_code() {
    undisturbed(|| {
        let stage = stage("");
        let said = codes(24, 24_000);
        let talks: Vec<_> = [15, 35]
            .into_iter()
            .map(|jitter| {
                let network = Network { jitter: ms(jitter), ..Network::default() };
                (jitter, Talk::begin(&stage, |phone| phone.network(network)))
            })
            .collect();
        talks.iter().for_each(|(_, talk)| _ = talk.call.play_bytes(&said));
        sleep(ms(4000));
        for (jitter, talk) in talks {
            let what = format!("jitter of {jitter} ms");
            talk.assert_pace(&what);
            talk.assert_heard(&said, &what);
        }
    });
}

#[test]
fn what_a_jammed_network_delivers_late_is_heard_and_the_time_given_back_in_the_next_pause() {
    undisturbed(|| {
        let stage = stage("");
        let talk = Talk::begin(&stage, |phone| phone);
        let said = codes(25, 12_000);
        talk.call.play_bytes(&said);
        sleep(ms(500));
        talk.call.stall(true);
        sleep(ms(400));
        talk.call.stall(false);
        talk.call.wait_played(SOON).expect("the phone sends");
        sleep(ms(100));
        let audio = talk.session.caller_audio_time() - talk.begun_with;
        println!("with the surplus: {:+} ms", audio.as_millis() as i64 - talk.begun.elapsed().as_millis() as i64);
        sleep(ms(1000));
        talk.assert_pace("a network that was jammed for 400 ms");

        // All that was said, with one pause in it: the silence that stood in.
        let heard = talk.session.caller_audio();
        let spoken: Vec<u8> = sounds(&heard).into_iter().flat_map(|(_, sound)| sound.to_vec()).collect();
        assert!(spoken == said, "nothing that was said is lost: {} of {}", spoken.len(), said.len());
        assert_eq!(sounds(&heard).len(), 2, "there is one pause in it");
    });
}

#[test]
fn a_phone_that_sends_nothing_or_comfort_noise_is_silence_at_the_pace_of_time() {
    undisturbed(|| {
        let stage = stage("");
        for (what, talk) in [
            ("discontinuous transmission", Talk::begin(&stage, |phone| phone)),
            ("comfort noise", Talk::begin(&stage, Phone::comfort_noise)),
        ] {
            let said = codes(26, 6400);
            for part in said.chunks(3200) {
                talk.say(part);
                talk.call.mute(true);
                sleep(ms(1500));
                talk.call.mute(false);
            }
            talk.assert_pace(what);
            let heard = talk.session.caller_audio();
            let spoken: Vec<_> = sounds(&heard).into_iter().flat_map(|(_, sound)| sound.to_vec()).collect();
            assert!(spoken == said, "{what}: {} of {}", spoken.len(), said.len());
            let parts = sounds(&heard);
            let pause = parts.last().expect("something was said").0 - parts[0].0;
            println!("{what}: {} parts, {} ms from the first to the last", parts.len(), pause / 8);
        }
    });
}

#[test]
fn the_longest_duration_ends_a_call_that_sends_nothing() {
    undisturbed(|| {
        let stage = stage("max_duration_s = 3");
        let talk = Talk::begin(&stage, |phone| phone);
        talk.call.renegotiate(Codec::Alaw, Direction::Inactive, SOON).expect("the call is put on hold");
        talk.call.mute(true);
        talk.call.wait_ended(SOON).expect("the call ends");
        assert_eq!(stage.result("100").get("STATUS"), "TIMEOUT");
    });
}
