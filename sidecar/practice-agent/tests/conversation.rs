//! The agent as the program runs it: turns, answers, interruptions.

mod common;

use std::thread;
use std::time::{Duration, Instant};

use ai_media::Format;
use common::{Client, PCM24, SOON, agent_audio, kinds, session_update, silence, tone};
use practice_agent::Server;
use serde_json::{Value, json};

fn converse() -> Server {
    Server::builder().start().expect("loopback has a free port")
}

#[test]
fn a_turn_is_answered_with_the_callers_own_words_in_every_format() {
    for format in [PCM24, Format::ULAW, Format::ALAW] {
        let server = converse();
        let mut client = Client::configured(&server, format);
        let words = tone(format, 800);
        client.speak(format, &silence(format, 500));
        client.speak(format, &words);
        client.speak(format, &silence(format, 300));
        let events = client.until("rate_limits.updated");

        let started = &events[0];
        assert_eq!(started["type"], "input_audio_buffer.speech_started");
        assert_eq!(started["audio_start_ms"], 400, "500 ms of silence less 100 ms of padding");
        assert_eq!(events[1]["type"], "input_audio_buffer.speech_stopped");
        assert_eq!(events[1]["audio_end_ms"], 1500, "500 + 800 ms, and 200 ms of silence");
        let audio = agent_audio(&events);
        let at = audio.windows(words.len()).position(|window| window == words);
        assert!(at.is_some_and(|at| at > format.bytes_in_ms(500)), "{format}: the words come back, after a sentence");
    }
}

#[test]
fn the_events_of_a_turn_come_in_order_with_matching_ids() {
    let server = converse();
    let mut client = Client::configured(&server, Format::ULAW);
    client.speak(Format::ULAW, &tone(Format::ULAW, 500));
    client.speak(Format::ULAW, &silence(Format::ULAW, 300));
    let events = client.until("rate_limits.updated");

    let mut order = kinds(&events);
    let is_stream = |kind: &&str| kind.ends_with("audio.delta") || kind.ends_with("audio_transcript.delta");
    let streamed = order.iter().filter(|kind| is_stream(kind)).count();
    order.retain(|kind| !is_stream(kind));
    assert!(streamed >= 2);
    assert_eq!(
        order,
        [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "conversation.item.input_audio_transcription.delta",
            "conversation.item.input_audio_transcription.completed",
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
            "rate_limits.updated",
        ]
    );
    let of = |kind: &str| events.iter().find(|event| event["type"] == kind).expect("checked above");
    let caller_item = &of("input_audio_buffer.speech_started")["item_id"];
    assert_eq!(&of("input_audio_buffer.committed")["item_id"], caller_item);
    assert_eq!(&of("conversation.item.added")["item"]["id"], caller_item);
    assert_eq!(of("conversation.item.input_audio_transcription.completed")["transcript"], "(0.5 s of speech)");
    let response = &of("response.created")["response"]["id"];
    assert_eq!(&of("response.output_audio.delta")["response_id"], response);
    assert_eq!(&of("response.done")["response"]["id"], response);
    assert_eq!(of("response.done")["response"]["status"], "completed");
    let agent_item = &of("response.output_audio.delta")["item_id"];
    assert_eq!(&of("response.output_item.added")["item"]["id"], agent_item);
    let transcript: String = events
        .iter()
        .filter(|event| event["type"] == "response.output_audio_transcript.delta")
        .filter_map(|event| event["delta"].as_str())
        .collect();
    assert_eq!(of("response.output_audio_transcript.done")["transcript"], transcript.as_str());
    assert!(transcript.starts_with("I listened for 0.5 seconds. You said:"), "{transcript}");
    let mut ids: Vec<&str> = events.iter().filter_map(|event| event["event_id"].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), events.len(), "every event has its own id");
}

#[test]
fn a_greeting_is_spoken_when_asked_for() {
    let server = converse();
    let mut client = Client::configured(&server, Format::ALAW);
    client.send(json!({"type": "response.create", "response": {"instructions": "Say \"Good morning.\""}}));
    let events = client.until("response.done");
    assert!(agent_audio(&events).len() > 1000);
    let done = events.last().expect("`until` ends with it");
    assert_eq!(done["response"]["output"][0]["content"][0]["transcript"], "Good morning.");
}

#[test]
fn speech_interrupts_the_answer() {
    let server = converse();
    let mut client = Client::configured(&server, Format::ULAW);
    client.send(json!({"type": "response.create"}));
    client.wait("response.output_audio.delta");
    client.speak(Format::ULAW, &tone(Format::ULAW, 100));
    client.wait("input_audio_buffer.speech_started");
    let done = client.wait("response.done");
    assert_eq!(done["response"]["status"], "cancelled");
    assert_eq!(done["response"]["status_details"], json!({"type": "cancelled", "reason": "turn_detected"}));
    assert_eq!(done["response"]["output"][0]["status"], "incomplete");
}

#[test]
fn without_interrupt_response_the_answer_goes_on() {
    let server = converse();
    let mut client = Client::configured(&server, Format::ULAW);
    let mut update = session_update(Format::ULAW);
    update["session"]["audio"]["input"]["turn_detection"]["interrupt_response"] = false.into();
    client.send(update);
    client.send(json!({"type": "response.create"}));
    client.wait("response.output_audio.delta");
    client.speak(Format::ULAW, &tone(Format::ULAW, 100));
    client.wait("input_audio_buffer.speech_started");
    assert_eq!(client.wait("response.done")["response"]["status"], "completed");
}

#[test]
fn without_create_response_the_client_asks_for_the_answer() {
    let server = converse();
    let mut client = Client::configured(&server, Format::ULAW);
    let mut update = session_update(Format::ULAW);
    update["session"]["audio"]["input"]["turn_detection"]["create_response"] = false.into();
    client.send(update);
    client.speak(Format::ULAW, &tone(Format::ULAW, 300));
    client.speak(Format::ULAW, &silence(Format::ULAW, 500));
    client.wait("conversation.item.input_audio_transcription.completed");
    client.send(json!({"type": "response.create"}));
    let done = client.wait("response.done");
    let transcript = done["response"]["output"][0]["content"][0]["transcript"].as_str().unwrap_or_default();
    assert!(transcript.starts_with("I listened for 0.3 seconds"), "{transcript}");
}

#[test]
fn without_turn_detection_the_client_commits() {
    let server = converse();
    let mut client = Client::configured(&server, PCM24);
    let mut update = session_update(PCM24);
    update["session"]["audio"]["input"]["turn_detection"] = Value::Null;
    client.send(update);
    client.wait("session.updated");
    client.send(json!({"type": "input_audio_buffer.commit"}));
    assert_eq!(client.wait("error")["error"]["code"], "input_audio_buffer_commit_empty");
    client.speak(PCM24, &tone(PCM24, 600));
    client.send(json!({"type": "input_audio_buffer.commit"}));
    let events = client.until("conversation.item.done");
    assert_eq!(kinds(&events)[0], "input_audio_buffer.committed");
    client.send(json!({"type": "response.create"}));
    assert_eq!(client.wait("response.done")["response"]["status"], "completed");
    client.speak(PCM24, &tone(PCM24, 600));
    client.send(json!({"type": "input_audio_buffer.clear"}));
    client.wait("input_audio_buffer.cleared");
    client.send(json!({"type": "input_audio_buffer.commit"}));
    assert_eq!(client.wait("error")["error"]["code"], "input_audio_buffer_commit_empty");
}

#[test]
fn typed_words_are_answered_too() {
    let server = converse();
    let mut client = Client::configured(&server, Format::ULAW);
    client.send(json!({"type": "conversation.item.create", "item": {"type": "message", "role": "user",
        "content": [{"type": "input_text", "text": "Hello"}]}}));
    client.wait("conversation.item.done");
    client.send(json!({"type": "response.create", "response": {"output_modalities": ["text"]}}));
    let events = client.until("response.done");
    assert!(agent_audio(&events).is_empty());
    let text = events.iter().find(|event| event["type"] == "response.output_text.done").expect("text was asked for");
    assert_eq!(text["text"], "You wrote: Hello");
}

#[test]
fn the_last_turn_ends_with_a_call_of_hangup_and_its_result_is_accepted() {
    let server = Server::builder().turns(Some(1)).start().expect("loopback has a free port");
    let mut client = Client::configured(&server, Format::ULAW);
    client.send(json!({"type": "session.update", "session": {"type": "realtime",
        "tools": [{"type": "function", "name": "hangup", "parameters": {"type": "object"}}]}}));
    client.speak(Format::ULAW, &tone(Format::ULAW, 200));
    client.speak(Format::ULAW, &silence(Format::ULAW, 300));
    let call = client.wait("response.function_call_arguments.done");
    assert_eq!((&call["name"], &call["output_index"]), (&json!("hangup"), &json!(1)));
    client.wait("response.done");
    let output = |call_id: &Value| {
        json!({"type": "conversation.item.create",
            "item": {"type": "function_call_output", "call_id": call_id, "output": "{}"}})
    };
    client.send(output(&call["call_id"]));
    client.wait("conversation.item.done");
    assert_eq!(client.error_of(output(&json!("call_nobody_made")))["code"], "invalid_tool_call_id");
}

#[test]
fn audio_is_sent_several_times_faster_than_it_plays() {
    let server = converse();
    let mut client = Client::configured(&server, Format::ULAW);
    client.send(json!({"type": "response.create"}));
    client.wait("response.output_audio.delta");
    let begun = Instant::now();
    let played = Duration::from_millis(agent_audio(&client.until("response.done")).len() as u64 / 8);
    let took = begun.elapsed();
    assert!(took > played / 6 && took < played / 2, "{played:?} of audio in {took:?}");
}

#[test]
fn the_older_event_names_are_spoken_to_a_client_that_asks_for_them() {
    let server = converse();
    let url = format!("{}?model=practice", server.url());
    let flat = json!({"type": "session.update", "session": {"modalities": ["text", "audio"],
        "input_audio_format": "g711_ulaw", "output_audio_format": "g711_ulaw",
        "turn_detection": {"type": "server_vad", "silence_duration_ms": 200}}});
    for header in [&[("OpenAI-Beta", "realtime=v1")][..], &[]] {
        let mut client = Client::try_connect(&url, header).expect("the handshake succeeds");
        client.send(flat.clone());
        let updated = client.wait("session.updated");
        assert_eq!(updated["session"]["input_audio_format"], "g711_ulaw");
        client.send(json!({"type": "response.create"}));
        let events = client.until("response.done");
        assert!(agent_audio(&events).len() > 1000);
        let names = kinds(&events);
        assert!(names.contains(&"conversation.item.created") && names.contains(&"response.audio_transcript.done"));
        assert!(!names.iter().any(|kind| kind.contains("output_audio") || *kind == "conversation.item.done"));
    }
}

#[test]
fn twenty_callers_each_hear_their_own_words() {
    let server = converse();
    thread::scope(|scope| {
        for n in 0..20 {
            let server = &server;
            scope.spawn(move || {
                let mut client = Client::configured(server, Format::ALAW);
                let words = tone(Format::ALAW, 300 + 20 * n);
                client.speak(Format::ALAW, &words);
                client.speak(Format::ALAW, &silence(Format::ALAW, 300));
                let audio = agent_audio(&client.until("response.done"));
                assert!(audio.windows(words.len()).any(|window| window == words), "caller {n}");
            });
        }
    });
    assert_eq!(server.sessions().len(), 20);
    for session in server.sessions() {
        session.wait_closed(SOON).expect("clients that are gone end their sessions");
    }
}
