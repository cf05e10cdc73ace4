//! Behaviour of the dialect `gemini`: messages as Google documents them.

mod common;

use std::time::Duration;

use ai_dialect::{Noticed, Output, Payload, Secret, Session, Speaker, Tool, TurnDetection};
use ai_media::Format;
use common::{Talk, audio_sent, sent, unrecognised};
use serde_json::{Value, json};

const URL: &str = "wss://generativelanguage.googleapis.com/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";

fn session() -> Session {
    Session { url: URL.into(), model: "gemini-live".into(), api_key: Secret::new("AIza-secret"), ..Session::default() }
}

fn new(session: Session) -> Talk {
    Talk::new("gemini", session, Format::ALAW)
}

fn ready() -> Talk {
    let mut talk = new(session());
    talk.open();
    assert_eq!(talk.hear(json!({"setupComplete": {}})), [Output::Ready]);
    talk
}

fn content(fields: Value) -> Value {
    json!({"serverContent": fields})
}

fn audio() -> Value {
    content(json!({"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "AAECAw=="}}]}}))
}

fn said() -> Vec<Output> {
    vec![Output::AgentAudio { item: "answer".into(), audio: vec![0, 1, 2, 3] }]
}

fn transcript(speaker: Speaker, text: &str, complete: bool) -> Output {
    Output::Transcript { speaker, text: text.into(), complete }
}

#[test]
fn the_key_goes_into_the_header_the_server_wants() {
    let header = |session: Session| {
        let mut headers = new(session).dialect.handshake().headers;
        assert_eq!(headers.len(), 1);
        let (name, value) = headers.remove(0);
        (name, value.reveal().to_owned())
    };
    assert_eq!(header(session()), ("x-goog-api-key".into(), "AIza-secret".into()));
    let short_lived = Session { api_key: Secret::new("auth_tokens/x"), ..session() };
    assert_eq!(header(short_lived), ("Authorization".into(), "Token auth_tokens/x".into()));
    let vertex = Session { url: "wss://us-central1-aiplatform.googleapis.com/ws/x".into(), ..session() };
    assert_eq!(header(vertex), ("Authorization".into(), "Bearer AIza-secret".into()));
    let own = Session { headers: vec![("X-Goog-Api-Key".into(), Secret::new("own"))], ..session() };
    assert_eq!(header(own), ("X-Goog-Api-Key".into(), "own".into()));
}

#[test]
fn the_setup_says_what_the_profile_does() {
    let setup = |session: Session| sent(&new(session).open()).remove(0)["setup"].take();
    let least = json!({
        "model": "models/gemini-live",
        "generationConfig": {"responseModalities": ["AUDIO"]},
        "realtimeInputConfig": {
            "automaticActivityDetection": {"disabled": false, "silenceDurationMs": 200},
            "activityHandling": "START_OF_ACTIVITY_INTERRUPTS",
        },
        "inputAudioTranscription": {},
        "outputAudioTranscription": {},
        "contextWindowCompression": {"slidingWindow": {}},
        "sessionResumption": {},
    });
    assert_eq!(setup(session()), least);
    let full = setup(Session {
        model: "projects/P/locations/L/publishers/google/models/M".into(),
        voice: "Kore".into(),
        language: "de-DE".into(),
        instructions: "Be brief.".into(),
        turn_detection: TurnDetection::None,
        interrupt_response: false,
        tools: vec![Tool {
            name: "hangup".into(),
            description: "Ends the call".into(),
            parameters: json!({"type": "object"}),
        }],
        provider_settings: json!({"generationConfig": {"temperature": 0.5}, "sessionResumption": {}})
            .as_object()
            .cloned()
            .unwrap(),
        ..session()
    });
    assert_eq!(full["model"], "projects/P/locations/L/publishers/google/models/M");
    assert_eq!(
        full["generationConfig"],
        json!({"responseModalities": ["AUDIO"], "temperature": 0.5, "speechConfig": {"languageCode": "de-DE",
            "voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}})
    );
    assert_eq!(full["systemInstruction"], json!({"parts": [{"text": "Be brief."}]}));
    assert_eq!(
        full["realtimeInputConfig"],
        json!({"automaticActivityDetection": {"disabled": true}, "activityHandling": "NO_INTERRUPTION"})
    );
    assert_eq!(
        full["tools"],
        json!([{"functionDeclarations": [{"name": "hangup", "description": "Ends the call",
            "parametersJsonSchema": {"type": "object"}}]}])
    );
    assert_eq!(full["sessionResumption"], json!({}));
}

#[test]
fn caller_audio_is_linear_at_16_khz_and_waits_for_the_setup() {
    let mut talk = new(session());
    assert_eq!((talk.dialect.caller_format(), talk.dialect.agent_format()), (Format::slin(16000), Format::slin(24000)));
    talk.open();
    assert_eq!(talk.say(&[1; 640]), []);
    let expected = r#"{"realtimeInput":{"audio":{"data":"AAEC","mimeType":"audio/pcm;rate=16000"}}}"#;
    assert_eq!(audio_sent(&ready().say(&[0, 1, 2])), (&Payload::Text(expected.into()), 3));
}

#[test]
fn the_greeting_is_asked_for_as_soon_as_the_session_is_ready() {
    let mut talk = new(Session { greeting: "Good morning".into(), ..session() });
    talk.open();
    let outputs = talk.hear(json!({"setupComplete": {}}));
    assert_eq!(outputs[0], Output::Ready);
    let text = sent(&outputs[1..])[0]["realtimeInput"]["text"].as_str().unwrap().to_owned();
    assert!(text.ends_with("Greeting: Good morning"), "{text}");
    assert_eq!(talk.hear(json!({"setupComplete": {}})), []);
}

#[test]
fn messages_come_in_text_or_binary_frames() {
    let mut talk = new(session());
    talk.open();
    assert_eq!(talk.hear_binary(br#"{"setupComplete": {}}"#), [Output::Ready]);
    assert_eq!(talk.hear_binary(audio().to_string().as_bytes()), said());
}

#[test]
fn an_answer_ends_when_it_is_made() {
    let mut talk = ready();
    assert_eq!(talk.hear(audio()), said());
    assert_eq!(talk.hear(content(json!({"generationComplete": true}))), [Output::AgentAudioDone]);
    assert_eq!(talk.hear(content(json!({"turnComplete": true}))), []);
    talk.hear(audio());
    assert_eq!(talk.hear(content(json!({"turnComplete": true}))), [Output::AgentAudioDone]);
}

#[test]
fn an_interruption_silences_the_agent() {
    let mut talk = ready();
    talk.hear(audio());
    assert_eq!(talk.hear(content(json!({"interrupted": true}))), [Output::Flush]);
    assert_eq!(talk.hear(content(json!({"turnComplete": true}))), []);
    assert_eq!(talk.hear(audio()), said(), "the next answer");
}

#[test]
fn after_an_interruption_heard_here_the_answer_is_silent_to_its_end() {
    for end in [json!({"interrupted": true}), json!({"generationComplete": true}), json!({"turnComplete": true})] {
        let mut talk = ready();
        talk.hear(audio());
        assert_eq!(talk.interrupt(&[("answer", 20, 100)], Noticed::ByUs), [] as [Value; 0]);
        assert_eq!(talk.hear(audio()), []);
        assert!(!talk.hear(content(end)).contains(&Output::AgentAudioDone));
        assert_eq!(talk.hear(audio()), said());
    }
    let mut talk = ready();
    talk.interrupt(&[], Noticed::ByUs);
    assert_eq!(talk.hear(audio()), said(), "what was all made already is followed by another answer");
}

#[test]
fn pieces_of_transcripts_are_put_together() {
    let mut talk = ready();
    let input = |text: &str| content(json!({"inputTranscription": {"text": text}}));
    let output = |text: &str| content(json!({"outputTranscription": {"text": text}}));
    assert_eq!(talk.hear(input("hel")), [transcript(Speaker::Caller, "hel", false)]);
    assert_eq!(talk.hear(input("lo ")), [transcript(Speaker::Caller, "lo ", false)]);
    assert_eq!(
        talk.hear(output("Hi")),
        [transcript(Speaker::Caller, "hello", true), transcript(Speaker::Agent, "Hi", false)]
    );
    talk.hear(output(" there"));
    assert_eq!(talk.hear(content(json!({"turnComplete": true}))), [transcript(Speaker::Agent, "Hi there", true)]);
}

#[test]
fn a_function_is_called_and_its_result_goes_back_as_an_object() {
    let mut talk = ready();
    let calls = json!({"toolCall": {"functionCalls": [{"id": "fc1", "name": "f", "args": {"a": "1"}}, {"id": "fc2", "name": "g"}]}});
    let call = |id: &str, name: &str, arguments: &str| Output::ToolCall {
        call_id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
    };
    assert_eq!(talk.hear(calls), [call("fc1", "f", r#"{"a":"1"}"#), call("fc2", "g", "{}")]);
    let response = |id: &str, name: &str, response: Value| {
        [json!({"toolResponse": {"functionResponses": [{"id": id, "name": name, "response": response}]}})]
    };
    assert_eq!(talk.tool_result("fc1", r#"{"ok":true}"#), response("fc1", "f", json!({"ok": true})));
    assert_eq!(talk.tool_result("fc1", "again"), [] as [Value; 0]);
    assert_eq!(talk.tool_result("fc2", "sunny"), response("fc2", "g", json!({"result": "sunny"})));
}

#[test]
fn the_result_of_a_cancelled_call_is_not_wanted() {
    let mut talk = ready();
    talk.hear(json!({"toolCall": {"functionCalls": [{"id": "fc1", "name": "f", "args": {}}]}}));
    assert_eq!(talk.hear(json!({"toolCallCancellation": {"ids": ["fc1"]}})), []);
    assert_eq!(talk.tool_result("fc1", "{}"), [] as [Value; 0]);
}

#[test]
fn keys_are_told_in_words() {
    let text = "(The caller pressed these keys on the telephone: 5)";
    assert_eq!(ready().digits("5"), [json!({"realtimeInput": {"text": text}})]);
}

#[test]
fn voice_activity_is_passed_on_where_the_server_tells() {
    let mut talk = ready();
    let activity = |kind: &str| json!({"voiceActivity": {"voiceActivityType": kind}});
    assert_eq!(talk.hear(activity("ACTIVITY_START")), [Output::CallerSpeechStarted]);
    assert_eq!(talk.hear(activity("ACTIVITY_END")), [Output::CallerSpeechStopped { at_ms: None }]);
}

#[test]
fn a_server_that_is_about_to_leave_says_so() {
    for (left, ms) in [
        (json!("50s"), 50_000),
        (json!("9.500s"), 9_500),
        (json!(null), 0),
        (json!("soon"), 0),
        (json!("-1s"), 0),
        (json!("1e300s"), 0),
        (json!("NaNs"), 0),
    ] {
        let outputs = ready().hear(json!({"goAway": {"timeLeft": left}}));
        assert_eq!(outputs, [Output::Expiring { within: Duration::from_millis(ms) }], "{left}");
    }
}

#[test]
fn a_session_can_be_resumed_by_its_latest_handle() {
    let update = |handle: Value, resumable: bool| json!({"sessionResumptionUpdate": {"newHandle": handle, "resumable": resumable}});
    let mut talk = ready();
    assert_eq!(talk.hear(update(json!("h1"), true)), [Output::Resumable { handle: "h1".into() }]);
    for nothing in
        [update(json!(""), false), update(json!("h2"), false), update(json!(""), true), update(json!(7), true)]
    {
        assert_eq!(talk.hear(nothing.clone()), [], "{nothing}");
    }
    assert_eq!(talk.hear(update(json!("h".repeat(100_000)), true)), [], "nobody keeps that");
}

#[test]
fn what_is_no_message_is_not_recognised() {
    let mut talk = ready();
    assert_eq!(talk.hear(json!({"usageMetadata": {"totalTokenCount": 10}})), []);
    assert_eq!(talk.hear(json!({"serverContent": {"modelTurn": null, "groundingMetadata": {}}})), []);
    let picture = json!({"modelTurn": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "AAEC"}}]}});
    assert_eq!(unrecognised(&talk.hear(content(picture))), "data of type image/png");
    let wrong_rate =
        json!({"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm;rate=8000", "data": "AAEC"}}]}});
    assert_eq!(unrecognised(&talk.hear(content(wrong_rate))), "data of type audio/pcm;rate=8000");
}
