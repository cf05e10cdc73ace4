use std::path::Path;

use super::*;
use crate::options::CallOptions;

/// Sections out of text in the exchange's own format, enough of it for a test.
fn sections(text: &str) -> Vec<RawSection> {
    let mut sections: Vec<RawSection> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(name) = line.strip_prefix('[') {
            sections.push(RawSection { name: name.trim_end_matches(']').to_owned(), entries: Vec::new() });
        } else if let (Some((key, value)), Some(section)) = (line.split_once('='), sections.last_mut()) {
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            section.entries.push(RawEntry { file: "ai_bridge.conf".to_owned(), line: index as u32 + 1, key, value });
        }
    }
    sections
}

pub(crate) fn parse(text: &str) -> Result<Settings, Vec<String>> {
    Settings::parse(&sections(text), Path::new("/nonexistent"))
        .map_err(|errors| errors.iter().map(SettingsError::to_string).collect())
}

const PRACTICE: &str = "[practice]\nurl = ws://127.0.0.1:9797/v1/realtime\n";

#[test]
fn a_profile_needs_no_more_than_its_url() {
    let settings = parse(&format!("[general]\ndefault_profile = practice\n{PRACTICE}")).expect("valid");
    let profile = settings.profile(None).expect("the default");
    assert_eq!(profile.dialect, "openai");
    assert_eq!(profile.session.vad_threshold, 0.3);
    assert!(settings.profile(Some("other")).is_none());
}

#[test]
fn an_empty_value_means_the_default() {
    let settings = parse(&format!("{PRACTICE}vad_silence_ms =\nvoice =\n")).expect("valid");
    assert_eq!(settings.profiles["practice"].session.vad_silence_ms, 200);
}

#[test]
fn everything_wrong_is_told_at_once_with_its_line_and_what_is_allowed() {
    let errors = parse(
        "[general]\nworkers = many\ndefault_profile = sales\n[practice]\nvad_treshold = 0.5\nvad_threshold = 2\n\
         turn_detection = magic\ncreate_response = perhaps\naudio = pcm16\nheader = X-Nothing\nfrobnicate = 1\n",
    )
    .expect_err("nothing here is right");
    let expected = [
        "ai_bridge.conf:2: [general] workers: 'many' is not a number from 0 to 64",
        "ai_bridge.conf:5: [practice] unknown key 'vad_treshold'; did you mean 'vad_threshold'?",
        "ai_bridge.conf:6: [practice] vad_threshold: '2' is not a number from 0 to 1",
        "ai_bridge.conf:7: [practice] turn_detection: 'magic' is none of server_vad, semantic_vad, none",
        "ai_bridge.conf:8: [practice] create_response: 'perhaps' is neither yes nor no",
        "ai_bridge.conf:10: [practice] header: expected 'name: value'",
        "ai_bridge.conf:5: [practice] url: missing; give the provider's ws:// or wss:// address",
        "ai_bridge.conf:9: [practice] audio: dialect openai has no 'pcm16'; it has auto, ulaw, alaw, pcm24",
        "ai_bridge.conf:3: [general] default_profile: there is no section [sales]; there are ",
    ];
    for line in expected {
        assert!(errors.iter().any(|error| error == line), "missing: {line}\nin: {errors:#?}");
    }
    let unknown = errors.iter().find(|error| error.contains("frobnicate")).expect("reported");
    assert!(unknown.contains("known are type, dialect, url"), "{unknown}");
    assert_eq!(errors.len(), expected.len() + 1);
}

#[test]
fn a_key_of_another_dialect_is_an_error_that_names_its_own() {
    let errors = parse("[p]\nurl = ws://bot\ndialect = twilio\nvoice = cedar\ninstructions_file = x\nvoice =\n")
        .expect_err("twilio has neither");
    assert!(errors[0].starts_with("ai_bridge.conf:4: [p] voice: dialect twilio has no such key; it is for openai, "));
    assert!(errors[1].starts_with("ai_bridge.conf:5: [p] instructions_file: dialect twilio has no such key; "));
    let errors = parse("[p]\nurl = ws://bot\nagent_id = a\n").expect_err("openai has no agents");
    assert!(errors[0].starts_with("ai_bridge.conf:3: [p] agent_id: dialect openai has no such key; it is for "));
}

#[test]
fn a_dialect_that_cannot_do_without_a_key_says_so() {
    let errors = parse("[p]\nurl = wss://h\ndialect = elevenlabs\n").expect_err("no agent");
    assert_eq!(errors, ["ai_bridge.conf:2: [p] agent_id: missing; give the id of the agent, like agent_0123"]);
}

#[test]
fn settings_in_the_providers_words_are_a_json_object() {
    let text = r#"[p]
url = ws://h
provider_settings = {"speed": 1.2, "secret": "hunter2"}"#;
    let settings = parse(text).expect("valid");
    assert_eq!(settings.profiles["p"].session.provider_settings["speed"], 1.2);
    for wrong in ["[1]", "{\"secret\": \"hunter2\"", "hunter2"] {
        let errors = parse(&format!("[p]\nurl = ws://h\nprovider_settings = {wrong}\n")).expect_err(wrong);
        assert!(errors[0].contains("provider_settings: expected a JSON object") && !errors[0].contains("hunter2"));
    }
}

#[test]
fn loudness_interrupts_unless_the_dialect_had_better_not() {
    let barge_in = |keys: &str| parse(&format!("[p]\nurl = ws://h\n{keys}")).expect("valid").profiles["p"].barge_in;
    assert_eq!(barge_in("dialect = raw\n"), BargeInMode::Both);
    assert_eq!(barge_in("dialect = twilio\n"), BargeInMode::Server);
    assert_eq!(barge_in("dialect = twilio\nbarge_in = both\n"), BargeInMode::Both);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let errors =
        parse(&format!("{PRACTICE}instructions_file = lost.md\ntls_ca_file = lost.pem\n")).expect_err("missing");
    assert!(
        errors[0].starts_with("ai_bridge.conf:3: [practice] instructions_file: /nonexistent/lost.md: "),
        "{errors:?}"
    );
    assert!(errors[1].starts_with("ai_bridge.conf:4: [practice] tls_ca_file: /nonexistent/lost.pem: "), "{errors:?}");
}

#[test]
fn a_secret_is_in_no_message() {
    let text = "[p]\nurl = https://user:hunter2@example.com\napi_key = hunter2\nheader = hunter2\n";
    let errors = parse(text).expect_err("wrong");
    assert!(errors.iter().all(|error| !error.contains("hunter2")), "{errors:?}");
    let settings = parse(&format!("{PRACTICE}api_key = hunter2\nheader = X-Key: hunter2\n")).expect("valid");
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn options_of_the_call_override_the_profile_and_variables_fill_the_texts() {
    let text = format!(
        "{PRACTICE}voice = alloy\ninstructions = Help {{{{name}}}} of {{{{ tier }}}}{{{{x}}}}.\nvariable = tier=gold\n\
         variable = name=nobody\nheader = X-A: 1\n"
    );
    let settings = parse(&text).expect("valid");
    let options = CallOptions::parse("practice,v(cedar)x(name=Ann)g(Hello {{name}})H(X-B: 2)").expect("valid");
    let session = settings.profiles["practice"].session(&options);
    assert_eq!(session.instructions, "Help Ann of gold.");
    assert_eq!((session.voice.as_str(), session.greeting.as_str()), ("cedar", "Hello Ann"));
    assert_eq!(session.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["X-A", "X-B"]);
    assert_eq!(session.variables.last(), Some(&("name".to_owned(), "Ann".to_owned())));
    assert!(session.tools.iter().any(|tool| tool.name == "hangup"));
    assert!(!session.tools.iter().any(|tool| tool.name == "transfer"));
}

const TOOL: &str = "[order]\ntype = tool\naction = webhook\ndescription = Looks\nurl = https://h/?key=hunter2\n";

#[test]
fn a_profile_has_the_tools_it_names_wherever_they_stand() {
    let keys = "tool = order\ntool = send_dtmf\ntool = order\nsettable_variable = NOTE\n";
    let text = format!("{PRACTICE}{keys}{TOOL}header = X-Key: hunter2\nparameters = {{\"type\":\"object\"}}\n");
    let settings = parse(&text).expect("valid");
    let session = settings.profiles["practice"].session(&CallOptions::default());
    let names: Vec<_> = session.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["hangup", "send_dtmf", "set_variable", "order"]);
    assert_eq!(session.tools[3].parameters, serde_json::json!({"type": "object"}));
    assert!(!settings.profiles.contains_key("order"));
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn what_is_wrong_with_a_tool_is_told_with_its_line_and_what_is_allowed() {
    let wrong = [
        ("action = telepathy", "action: 'telepathy' is none of webhook, dialplan"),
        ("action = dialplan", "url: this is for action = webhook"),
        ("routine = a,b,1", "routine: this is for action = dialplan"),
        ("url = ftp://hunter2", "url: expected an address like https://host/path"),
        ("timeout_ms = 5", "timeout_ms: '5' is not a number from 100 to 600000"),
        ("parameters = {\"type\":\"objekt\"}", "parameters: expected a JSON Schema with \"type\": \"object\""),
        ("parameters = {\"type\":\"object\",\"required\":1}", "parameters: "),
        ("parameters = hunter2", "parameters: expected a JSON object"),
        ("parameters_file = lost.json", "parameters_file: /nonexistent/lost.json: No such file"),
        ("filler = lost", "filler: there is no sound /nonexistent/lost with one of the extensions wav, "),
        ("tls_ca_file = lost.pem", "tls_ca_file: /nonexistent/lost.pem: No such file"),
        ("voice = cedar", "unknown key 'voice'; known are type, action, "),
    ];
    for (line, problem) in wrong {
        let errors = parse(&format!("{PRACTICE}tool = order\n{TOOL}{line}\n")).expect_err(line);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains("[order] ") && errors[0].contains(problem), "{line}: {}", errors[0]);
        assert!(!errors[0].contains("hunter2"), "{}", errors[0]);
    }
    let dialplan = "[t]\ntype = tool\naction = dialplan\ndescription = x\n";
    for (line, problem) in [
        ("", "routine: missing; give context,extension,priority"),
        ("routine = order", "routine: expected context,extension,priority"),
        ("routine = a,b,1(${X})", "routine: expected context,extension,priority"),
        ("routine = a,b,1\nargument = x", "argument: the parameters have no property 'x'"),
    ] {
        let errors = parse(&format!("{dialplan}{line}\n")).expect_err(line);
        assert!(errors[0].contains(problem), "{errors:?}");
    }
    let errors = parse(&TOOL.replace("[order]", "[hangup]")).expect_err("a name that is taken");
    assert!(errors[0].ends_with("'hangup' is built in; give the tool another name"), "{errors:?}");
    let errors = parse(&TOOL.replace("[order]", "[my tool]")).expect_err("a name no provider takes");
    assert!(errors[0].ends_with("at most 64 of A-Z, a-z, 0-9, _ and -"), "{errors:?}");
    let errors = parse(&format!("{PRACTICE}tool = ordre\nsettable_variable = CHANNEL(x)\n{TOOL}")).expect_err("typo");
    assert!(errors.iter().any(|error| error.ends_with("tool: there is no tool 'ordre'; there are order, send_dtmf")));
    assert!(
        errors.iter().any(|error| error.contains("'CHANNEL(x)' is not the name of a channel variable")),
        "{errors:?}"
    );
    let errors = parse(&format!("[general]\ndefault_profile = order\n{PRACTICE}{TOOL}")).expect_err("a tool");
    assert!(errors[0].contains("there is no section [order]; there are practice"), "{errors:?}");
}

#[test]
fn the_account_of_a_profile_goes_to_its_own_server_only() {
    let text = format!("{PRACTICE}api_key = hunter2\nheader = X-Key: hunter2\nvariable = token=hunter2\n");
    let settings = parse(&format!("{text}provider_settings = {{\"token\": \"hunter2\"}}\n")).expect("valid");
    let session = |options: &str| settings.profiles["practice"].session(&CallOptions::parse(options).expect("valid"));
    let same = session("practice,u(ws://127.0.0.1:9797/other)H(x-key: mine)");
    assert_eq!(same.api_key.reveal(), "hunter2");
    assert_eq!(same.headers.iter().map(|(_, value)| value.reveal()).collect::<Vec<_>>(), ["mine"]);
    for url in ["ws://127.0.0.1:9798/", "wss://127.0.0.1:9797/", "ws://user@127.0.0.1:9797/", "ws://example.com/"] {
        let other = session(&format!("practice,u({url})H(X-Mine: 1)"));
        assert!(other.api_key.is_empty(), "{url}");
        assert_eq!(other.headers.len(), 1, "{url}");
        assert!(other.variables.is_empty() && other.provider_settings.is_empty(), "{url}");
    }
    assert!(!same.variables.is_empty() && !same.provider_settings.is_empty());
}

#[test]
fn a_section_that_stands_twice_is_an_error() {
    let errors = parse(&format!("{PRACTICE}{PRACTICE}")).expect_err("twice");
    assert_eq!(errors, ["ai_bridge.conf:4: [practice] this section stands twice; '[name](+)' adds to one"]);
}

const TRUNK: &str = "[exolve]\ntype = trunk\ndial = PJSIP/{{number}}@exolve\n";

#[test]
fn a_trunk_needs_no_more_than_its_dial_string() {
    let settings =
        parse(&format!("{PRACTICE}{TRUNK}[second]\ntype = trunk\ndial = Local/{{{{number}}}}@out\n")).expect("valid");
    assert_eq!(settings.trunks.iter().map(|trunk| trunk.name.as_str()).collect::<Vec<_>>(), ["exolve", "second"]);
    let trunk = settings.trunk("exolve").expect("there");
    let number = crate::outbound::number::Number::parse("+79123456789").expect("a number");
    assert!(trunk.takes(&number));
    assert_eq!(trunk.dial.fill_in(&number), ("PJSIP".to_owned(), "+79123456789@exolve".to_owned()));
    assert_eq!((trunk.context.as_str(), trunk.extension_for(&number).as_str()), ("ai-outbound", "+79123456789"));
    assert!(settings.profile(Some("exolve")).is_none(), "a trunk is no profile");
}

#[test]
fn what_is_wrong_with_a_trunk_is_told_with_its_line() {
    let errors = parse(
        "[general]\ndefault_profile = t\n[t]\ntype = trunk\ndial = PJSIP/exolve\npattern = _7!\nmax_calls = -1\n\
         calls_per_second = 0\ncaller_id = Ann\ncontext = a,b\nextension = ${SHELL(id)}\ntimeout_s = 0\nurl = ws://h\n\
         [u]\ntype = trunk\n",
    )
    .expect_err("nothing here is right");
    let expected = [
        "ai_bridge.conf:5: [t] dial: 'PJSIP/exolve' is not like PJSIP/{{number}}@trunk: a channel technology, /, and {{number}} once",
        "ai_bridge.conf:6: [t] pattern: '_7!' is neither e164, nor a number, nor a pattern like _7XXXXXXXXXX out of 0-9 + X Z N [2-5] and a . at the end",
        "ai_bridge.conf:7: [t] max_calls: '-1' is not a number from 0 to 100000",
        "ai_bridge.conf:8: [t] calls_per_second: '0' is not a number from 0.01 to 1000",
        "ai_bridge.conf:9: [t] caller_id: 'Ann': expected 1 to 24 digits, perhaps after a +, and nothing else",
        "ai_bridge.conf:10: [t] context: 'a,b' is no name of the dialplan",
        "ai_bridge.conf:11: [t] extension: '${SHELL(id)}' is no name of the dialplan",
        "ai_bridge.conf:12: [t] timeout_s: '0' is not a number from 1 to 600",
        "ai_bridge.conf:15: [u] dial: missing; give a dial string like PJSIP/{{number}}@u",
        "ai_bridge.conf:2: [general] default_profile: there is no section [t]; there are ",
    ];
    for line in expected {
        assert!(errors.iter().any(|error| error == line), "missing: {line}\nin: {errors:#?}");
    }
    assert!(errors.iter().any(|error| error.starts_with("ai_bridge.conf:13: [t] unknown key 'url'")), "{errors:#?}");
    assert_eq!(errors.len(), expected.len() + 1, "{errors:#?}");
    for dial in
        ["PJSIP/{{number}}@a&PJSIP/{{number}}@b", "PJSIP/1001&SIP/{{number}}", "/{{number}}", "P JSIP/{{number}}"]
    {
        assert!(parse(&format!("[t]\ntype = trunk\ndial = {dial}\n")).is_err(), "{dial}");
    }
}

#[test]
fn a_profile_says_what_becomes_of_machines() {
    let machine =
        |keys: &str| parse(&format!("{PRACTICE}{keys}")).map(|settings| settings.profiles["practice"].on_machine);
    assert_eq!(machine(""), Ok(OnMachine::Hangup));
    assert_eq!(machine("on_machine = continue\n"), Ok(OnMachine::Continue));
    assert_eq!(machine("on_machine = message\nmachine_message = hello-world\n"), Ok(OnMachine::Message));
    let errors = machine("on_machine = message\n").expect_err("which");
    assert_eq!(
        errors,
        ["ai_bridge.conf:3: [practice] on_machine: message needs a machine_message, the name of a sound"]
    );
    assert!(machine("amd_arguments = 2500,,800\n").is_ok());
    for wrong in ["1,2,3,4,5,6,7,8,9,/etc/passwd", "a", "1;2", "-1", "1,2,3,4,5,6,7,8,9,10"] {
        assert!(machine(&format!("amd_arguments = {wrong}\n")).is_err(), "{wrong}");
    }
}
