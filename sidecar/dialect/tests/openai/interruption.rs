//! The caller speaks while the agent does.

use super::*;

fn speech_started() -> Value {
    json!({"type": "input_audio_buffer.speech_started"})
}

fn truncate(item: &str, audio_end_ms: u64) -> Value {
    json!({"type": "conversation.item.truncate", "item_id": item, "content_index": 0, "audio_end_ms": audio_end_ms})
}

fn delete(item: &str) -> Value {
    json!({"type": "conversation.item.delete", "item_id": item})
}

/// In the middle of item `i` of response `r`, 1 s of which has arrived.
fn speaking(session: Session) -> Talk {
    let mut talk = Talk::ready(session);
    talk.response("response.created", "r");
    talk.audio("r", "i");
    talk
}

#[test]
fn the_server_cancels_by_itself_and_we_tell_it_what_was_heard() {
    let mut talk = speaking(session());
    assert_eq!(talk.hear(speech_started()), [Output::CallerSpeechStarted]);
    assert_eq!(talk.interrupt(&[("i", 480, 1000)]), [truncate("i", 480)]);
}

#[test]
fn we_cancel_once_when_the_server_does_not() {
    for turn_detection in [TurnDetection::ServerVad, TurnDetection::None] {
        let interrupt_response = turn_detection == TurnDetection::None;
        let mut talk = speaking(Session { turn_detection, interrupt_response, ..session() });
        let cancel = json!({"type": "response.cancel", "response_id": "r"});
        assert_eq!(talk.interrupt(&[("i", 480, 1000)]), [cancel, truncate("i", 480)]);
        assert_eq!(talk.interrupt(&[]), [] as [Value; 0]);
    }
}

#[test]
fn late_audio_of_a_cancelled_response_is_never_heard() {
    for interrupt_response in [true, false] {
        let mut talk = speaking(Session { interrupt_response, ..session() });
        talk.hear(speech_started());
        talk.interrupt(&[("i", 480, 1000)]);
        assert_eq!(talk.audio("r", "i"), []);
        assert_eq!(talk.audio("r", "next item"), []);
        let done = json!({"type": "response.output_audio.done", "response_id": "r", "item_id": "i"});
        assert_eq!(talk.hear(done), [], "the owner has thrown that audio away");
        assert_eq!(talk.response("response.done", "r"), []);
        talk.response("response.created", "r2");
        assert_eq!(talk.audio("r", "i"), [], "later than late");
        assert!(matches!(talk.audio("r2", "i2")[..], [Output::AgentAudio { .. }]));
    }
}

#[test]
fn audio_is_dropped_from_the_moment_the_server_cancelled() {
    let mut talk = speaking(session());
    talk.hear(speech_started());
    assert_eq!(talk.audio("r", "i"), [], "before the owner had counted what was heard");
    // 1 s was received and heard, but the server has made more.
    assert_eq!(talk.interrupt(&[("i", 1000, 1000)]), [truncate("i", 1000)]);
}

#[test]
fn an_answer_nobody_cuts_off_is_heard_to_its_end() {
    let mut talk = speaking(Session { interrupt_response: false, ..session() });
    talk.hear(speech_started());
    assert!(matches!(talk.audio("r", "i")[..], [Output::AgentAudio { .. }]));
    assert_eq!(talk.response("response.done", "r"), [Output::AgentAudioDone]);
}

#[test]
fn queued_audio_is_corrected_after_its_response_is_done() {
    let mut talk = Talk::ready(Session { interrupt_response: false, ..session() });
    talk.response("response.created", "r");
    for item in ["whole", "half", "not at all"] {
        talk.audio("r", item);
    }
    talk.response("response.done", "r");
    let sent = talk.interrupt(&[("whole", 1000, 1000), ("half", 500, 1000), ("not at all", 0, 1000)]);
    assert_eq!(sent, [truncate("half", 500), delete("not at all")], "and nothing is left to cancel");
}

#[test]
fn never_more_is_reported_as_heard_than_was_received() {
    assert_eq!(speaking(session()).interrupt(&[("i", 1040, 1000)]), [truncate("i", 1000)]);
}

#[test]
fn speech_while_the_agent_is_silent_cancels_nothing() {
    let mut talk = Talk::ready(Session { interrupt_response: false, ..session() });
    assert_eq!(talk.hear(speech_started()), [Output::CallerSpeechStarted]);
    assert_eq!(talk.interrupt(&[]), [] as [Value; 0]);
}

#[test]
fn the_content_part_that_holds_the_audio_is_the_one_cut() {
    let mut talk = Talk::ready(session());
    talk.hear(json!({"type": "response.output_audio.delta", "item_id": "i", "content_index": 1, "delta": "AAAA"}));
    assert_eq!(talk.interrupt(&[("i", 1, 2)])[0]["content_index"], 1);
}

#[test]
fn an_item_that_was_cut_off_stays_so_even_if_its_response_is_not_named() {
    let mut talk = Talk::ready(session());
    let delta = |item: &str| json!({"type": "response.audio.delta", "item_id": item, "delta": "AAAA"});
    talk.hear(delta("i"));
    talk.interrupt(&[("i", 1, 2)]);
    assert_eq!(talk.hear(delta("i")), []);
    assert_eq!(talk.hear(delta("next")).len(), 1);
}

#[test]
fn a_server_that_names_neither_responses_nor_items_can_be_interrupted_and_goes_on() {
    let mut talk = Talk::ready(session());
    let delta = json!({"type": "response.audio.delta", "delta": "AAAA"});
    assert!(matches!(talk.hear(delta.clone())[..], [Output::AgentAudio { .. }]));
    assert_eq!(talk.interrupt(&[("", 0, 1)]), [] as [Value; 0]);
    assert!(matches!(talk.hear(delta)[..], [Output::AgentAudio { .. }]));
}

#[test]
fn what_the_server_did_not_notice_is_cancelled_by_us() {
    let mut talk = speaking(session());
    talk.0.handle_interrupted(&[Heard { item: "i".into(), heard_ms: 480, received_ms: 1000 }], Noticed::ByUs);
    let cancel = json!({"type": "response.cancel", "response_id": "r"});
    assert_eq!(talk.sent(), [cancel, truncate("i", 480)]);
}
