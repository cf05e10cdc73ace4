//! Tools that run a routine of the dialplan.

use std::time::{Duration, Instant};

use practice_agent::{Script, Session};
use rig::PhoneCall;
use serde_json::json;

use super::common::{SOON, Stage, eventually, extension};
use super::{answers, assert_goes_on, call, hang_up, passive, refused, texts, tools};

/// The routines, in a context of their own.
const ROUTINES: &str = "
[ai-tools]
exten => echo,1,Return(${ARGC}:${ARG1}|${ARG2}|)
exten => call,1,Set(SHARED(SEEN,${AICHANNEL})=${AITOOL})
 same => n,Set(CUSTOMER=changed)
 same => n,Return({\"customer\":\"${IMPORT(${AICHANNEL},CUSTOMER)}\",\"inherited\":\"${INHERITED}\",\"caller\":\"${CALLERID(num)}\",\"session\":\"${AISESSION}\"})
exten => json,1,Return(${JSON_DECODE(AIARGUMENTS,a)})
exten => jump,1,Gosub(inner,1(deep))
 same => n,Goto(end,1)
exten => inner,1,Set(LOCAL(x)=${ARG1})
 same => n,Return(${x})
exten => end,1,Return(${GOSUB_RETVAL})
exten => stays,1,NoOp()
exten => leaves,1,Hangup()
exten => slow,1,Wait(1)
 same => n,Return(waited)
exten => hangs,1,Wait(60)
 same => n,Return()
exten => loops,1,Goto(1)
";

fn routine(name: &str, keys: &str) -> String {
    format!("action = dialplan\nroutine = ai-tools,{name},1\n{keys}")
}

fn talk(sections: &[(&str, String)]) -> (Stage, PhoneCall, Session) {
    let dialplan = format!(
        "exten => 201,1,Set(CUSTOMER=Ann)\n same => n,Set(INHERITED=a,b)\n same => n,Goto(run,1)\n{}\n{ROUTINES}",
        extension("run", "").replace("FROM=${EXTEN}", "FROM=201"),
    );
    let stage = Stage::new(passive(), &tools("", sections), &dialplan);
    let (phone, session) = stage.talk("201");
    (stage, phone, session)
}

#[test]
fn what_the_agent_says_arrives_as_plain_text_whatever_it_is() {
    let (stage, phone, session) =
        talk(&[("echo", routine("echo", &format!("{}\nargument = b\nargument = a", texts(&["a", "b"]))))]);
    let hostile = [
        "a,b",
        "1)&System(touch /tmp/pwned)",
        "${SHELL(id)}",
        "$[1+1]",
        "\"quoted\\\"",
        "x\r\nAction: Originate",
        "%s%n",
        "(((",
        ")",
        "",
        " blank ",
        "Ünïcödé 🙂",
        "${ARG2}",
        "\\,",
        "|",
    ];
    for text in hostile {
        let answer = call(&session, "echo", &json!({"a": "A", "b": text}));
        assert_eq!(answer, json!({"ok": true, "result": format!("2:{text}|A|")}), "{text:?}");
    }
    assert!(!stage.rig.log().contains("uid="), "something was run");
    hang_up(&stage, &phone);
}

#[test]
fn a_routine_sees_the_calls_variables_and_changes_only_its_own() {
    let none = "";
    let (stage, phone, session) = talk(&[
        ("look", routine("call", none)),
        ("decode", routine("json", &texts(&["a"]))),
        ("jump", routine("jump", none)),
    ]);
    let seen = call(&session, "look", &json!({}));
    let result = &seen["result"];
    assert_eq!((&result["customer"], &result["inherited"]), (&json!("Ann"), &json!("a,b")), "{seen}");
    assert!(result["caller"].as_str().is_some_and(|number| !number.is_empty()), "{seen}");
    assert!(stage.cli("ai show sessions").contains(result["session"].as_str().expect("an id")));
    let again = call(&session, "look", &json!({}));
    assert_eq!(again["result"]["customer"], "Ann", "the call's own variable was not touched");
    assert_eq!(call(&session, "decode", &json!({"a": "4,2"}))["result"], "4,2");
    assert_eq!(call(&session, "jump", &json!({}))["result"], "deep");
    assert_goes_on(&session);
    hang_up(&stage, &phone);
}

#[test]
fn a_routine_that_is_not_there_or_does_not_return_is_an_error() {
    let (stage, phone, session) = talk(&[
        ("lost", routine("lost", "")),
        ("stays", routine("stays", "")),
        ("leaves", routine("leaves", "")),
        ("hangs", routine("hangs", "timeout_ms = 600")),
        ("loops", routine("loops", "timeout_ms = 600")),
    ]);
    let none = json!({});
    assert_eq!(refused(&session, "lost", &none), "there is no routine ai-tools,lost,1 in the dialplan");
    assert_eq!(refused(&session, "stays", &none), "the routine ended without Return()");
    assert_eq!(refused(&session, "leaves", &none), "the routine ended without Return()");
    for name in ["hangs", "loops"] {
        let asked = Instant::now();
        assert_eq!(refused(&session, name, &none), "not done within 600 ms");
        assert!(asked.elapsed() < Duration::from_millis(2500), "{:?}", asked.elapsed());
    }
    eventually("the routines are gone", SOON, || !stage.cli("core show channels concise").contains("AITool"));
    assert_goes_on(&session);
    hang_up(&stage, &phone);
}

#[test]
fn routines_run_at_once_beside_the_call_and_end_with_it() {
    let (stage, phone, session) = talk(&[("slow", routine("slow", "")), ("hangs", routine("hangs", ""))]);
    let asked = Instant::now();
    session.perform(Script::new().call_tool("slow", "{}").call_tool("slow", "{}").call_tool("slow", "{}"));
    let before = session.caller_audio_time();
    eventually("all answer", SOON, || answers(&session).len() == 3);
    let (took, heard) = (asked.elapsed(), session.caller_audio_time() - before);
    assert!(answers(&session).iter().all(|answer| answer["result"] == "waited"), "{:?}", answers(&session));
    assert!(took < Duration::from_millis(2000), "one after the other: {took:?}");
    assert!(heard + Duration::from_millis(300) > took, "the caller was heard for {heard:?} of {took:?}");

    session.perform(Script::new().call_tool("hangs", "{}"));
    eventually("it runs", SOON, || stage.cli("core show channels concise").contains("AITool"));
    let hung_up = Instant::now();
    hang_up(&stage, &phone);
    assert!(hung_up.elapsed() < Duration::from_secs(5), "{:?}", hung_up.elapsed());
    assert!(!stage.cli("core show channels concise").contains("AITool"));
    assert!(!stage.rig.log().contains("AITool/") || !stage.rig.log().contains("ERROR"), "{}", stage.rig.log());
}
