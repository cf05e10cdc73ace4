//! The rig proves itself: a plain Asterisk, real calls, and nothing left behind.

use std::thread;
use std::time::{Duration, Instant};

use rig::{CallEvent, Codec, Ended, Phone, Rig};

const SOON: Duration = Duration::from_secs(5);

const DIALPLAN: &str = "
exten => echo,1,Answer()
 same => n,Echo()
exten => busy,1,Hangup(17)
exten => ring,1,Ringing()
 same => n,Wait(30)
exten => short,1,Answer()
 same => n,Wait(1)
 same => n,Hangup()
exten => digit,1,Answer()
 same => n,Read(got,,2)
 same => n,Verbose(1,digits: ${got})
 same => n,SendDTMF(42#)
 same => n,Wait(1)
 same => n,Hangup()
";

fn plain_asterisk() -> Rig {
    Rig::builder().without_bridge().append("extensions.conf", DIALPLAN).start().unwrap()
}

/// Two seconds in which no 20 ms are like any other.
fn signal(codec: Codec) -> Vec<u8> {
    (0..codec.packet_bytes() * 100).map(|i| (i * i / 97 + i) as u8).collect()
}

#[test]
fn what_is_played_comes_back_to_the_byte() {
    let rig = plain_asterisk();
    let codecs = [Codec::Alaw, Codec::Ulaw, Codec::G722, Codec::Slin16];
    let calls = codecs.map(|codec| (codec, Phone::new(&rig).codec(codec).dial("echo").unwrap()));
    for (codec, call) in &calls {
        call.wait_answered(SOON).unwrap();
        call.play_bytes(&signal(*codec));
    }
    for (codec, call) in calls {
        call.wait_played(SOON).unwrap();
        thread::sleep(Duration::from_millis(200));
        let (heard, signal) = (call.heard(), signal(codec));
        let found = heard.bytes().windows(signal.len()).any(|window| window == signal);
        assert!(found, "{codec:?}: {} packets, longest gap {:?}", heard.packets.len(), heard.max_gap());
        assert_eq!(heard.lost(), 0);
    }
    rig.wait_no_channels(SOON).unwrap();
}

#[test]
fn caller_hangs_up_before_and_after_the_answer() {
    let rig = plain_asterisk();
    let answered = Phone::new(&rig).dial("echo").unwrap();
    let ringing = Phone::new(&rig).dial("ring").unwrap();
    let at_once = Phone::new(&rig).dial("ring").unwrap();
    at_once.hang_up();
    answered.wait_answered(SOON).unwrap();
    ringing.wait_for(CallEvent::Ringing, SOON).unwrap();
    answered.hang_up();
    ringing.hang_up();
    assert_eq!(answered.wait_ended(SOON).unwrap(), Ended::ByCaller);
    assert_eq!(ringing.wait_ended(SOON).unwrap(), Ended::Cancelled);
    assert_eq!(at_once.wait_ended(SOON).unwrap(), Ended::Cancelled);
    rig.wait_no_channels(SOON).unwrap();
}

#[test]
fn hanging_up_is_possible_at_any_moment() {
    let rig = plain_asterisk();
    // The answer comes 2 to 4 ms after the call has left the phone.
    let moments = (0..32).map(|step| Duration::from_micros(step * 250));
    let mut ends = Vec::new();
    for moment in moments {
        let call = Phone::new(&rig).dial("echo").unwrap();
        thread::sleep(moment);
        call.hang_up();
        ends.push(call.wait_ended(SOON).unwrap());
    }
    assert!(ends.iter().all(|end| matches!(end, Ended::ByCaller | Ended::Cancelled)), "{ends:?}");
    rig.wait_no_channels(SOON).unwrap();
}

#[test]
fn exchange_hangs_up_and_refuses() {
    let rig = plain_asterisk();
    let short = Phone::new(&rig).dial("short").unwrap();
    assert_eq!(short.wait_ended(SOON).unwrap(), Ended::ByPbx);
    let busy = Phone::new(&rig).dial("busy").unwrap();
    assert_eq!(busy.wait_ended(SOON).unwrap(), Ended::Refused(486));
    let nowhere = Phone::new(&rig).dial("nowhere").unwrap();
    assert_eq!(nowhere.wait_ended(SOON).unwrap(), Ended::Refused(404));
    let stranger = Phone::new(&rig).account("1001", "wrong").dial("echo").unwrap();
    assert_eq!(stranger.wait_ended(SOON).unwrap(), Ended::Refused(401));
}

#[test]
fn digits_go_both_ways() {
    let rig = plain_asterisk();
    let call = Phone::new(&rig).dial("digit").unwrap();
    call.wait_answered(SOON).unwrap();
    call.send_digit('5');
    call.send_digit('*');
    rig.wait_log("digits: 5*", SOON).unwrap();
    call.wait_ended(SOON).unwrap();
    assert_eq!(call.heard().digits(), "42#");
}

#[test]
fn audio_is_sent_on_a_grid_and_its_time_is_known() {
    let rig = plain_asterisk();
    let call = Phone::new(&rig).dial("echo").unwrap();
    call.wait_answered(SOON).unwrap();
    thread::sleep(Duration::from_millis(300));
    let tone: Vec<i16> = (0..8000).map(|i| if i % 20 < 10 { 9000 } else { -9000 }).collect();
    let before = Instant::now();
    let first = call.play(&tone);
    call.wait_played(SOON).unwrap();
    thread::sleep(Duration::from_millis(200));

    let left = call.played_at(first).unwrap();
    let back = call.heard().first_sound(before, 0.1).unwrap();
    assert!(back - left < Duration::from_millis(60), "the echo took {:?}", back - left);
    let length = call.played_at(first + 7999).unwrap() - left;
    assert!(length.abs_diff(Duration::from_millis(980)) < Duration::from_millis(20), "49 steps took {length:?}");
    assert!(call.heard().level_between(back, back + Duration::from_millis(900)) > 0.25);
    assert!(call.played_at(first + 8000).is_none());
}

#[test]
fn twenty_phones_hear_only_themselves() {
    let rig = plain_asterisk();
    let calls: Vec<_> = (0..20).map(|_| Phone::new(&rig).dial("echo").unwrap()).collect();
    for (number, call) in calls.iter().enumerate() {
        call.wait_answered(SOON).unwrap();
        call.play_bytes(&[number as u8 + 1; 160 * 50]);
    }
    for call in &calls {
        call.wait_played(SOON).unwrap();
    }
    thread::sleep(Duration::from_millis(200));
    for (number, call) in calls.iter().enumerate() {
        let heard = call.heard().bytes();
        let own = heard.iter().filter(|&&byte| byte == number as u8 + 1).count();
        let silence = heard.iter().filter(|&&byte| byte == 0xD5).count();
        assert_eq!((own, own + silence), (160 * 50, heard.len()), "phone {number}");
    }
}

#[test]
fn two_rigs_run_at_once_and_leave_nothing_behind() {
    let (mut one, two) = (plain_asterisk(), plain_asterisk());
    assert!(one.is_running());
    let calls = [Phone::new(&one).dial("echo").unwrap(), Phone::new(&two).dial("echo").unwrap()];
    for call in &calls {
        call.wait_answered(SOON).unwrap();
    }
    let processes = [one.pid(), two.pid(), calls[0].sipp_pid(), calls[1].sipp_pid()];
    let directories = [one.directory().to_owned(), two.directory().to_owned()];
    assert!(one.figures().unwrap().threads > 1);
    drop(calls);
    assert!(one.stop().unwrap().success());
    drop(two);
    for process in processes {
        assert!(!std::path::Path::new(&format!("/proc/{process}")).exists(), "process {process} is left");
    }
    for directory in directories {
        assert!(!directory.exists());
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        assert!(!mounts.contains(directory.to_str().unwrap()));
    }
}
