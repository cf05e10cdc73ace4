//! `ai_bridge.conf.sample` explains every key of every kind of section, with the default and the values that the code has.

use std::collections::{BTreeMap, BTreeSet};

use super::tests::parse;
use super::{assist, keys, profile, tool, trunk};

const SAMPLE: &str = include_str!("../../../asterisk-conf/ai_bridge.conf.sample");

/// A kind of section: where the sample begins with it, the least that a section needs, and its keys.
struct Kind {
    begins: &'static str,
    least: &'static str,
    keys: BTreeSet<&'static str>,
}

fn kinds() -> [Kind; 5] {
    fn names<T>(keys: &[keys::Key<T>]) -> BTreeSet<&'static str> {
        keys.iter().map(|(name, _)| *name).collect()
    }
    let kind = |begins, least, keys| Kind { begins, least, keys };
    [
        kind("\n[general]\n", "[general]\n", names(&keys::general())),
        kind("\n[assistant]\n", "[assistant]\nurl = ws://h\n", names(profile::KEYS)),
        kind("\n; A trunk. ", "[exolve]\ntype = trunk\ndial = PJSIP/{{number}}@exolve\n", names(trunk::KEYS)),
        kind("\n; --- Assistants ---", "[desk]\ntype = assist\nhint_model = m\n", names(assist::KEYS)),
        kind(
            "\n; --- Tools ---",
            // The settings have only tools that an agent has.
            "[agent]\nurl = ws://h\ntool = order\n[order]\ntype = tool\naction = webhook\ndescription = x\nurl = https://h/\n",
            names(tool::KEYS),
        ),
    ]
}

/// The keys of one kind of section: what the sample says before each, and its value there. `None`: that it is as elsewhere.
type Explained = BTreeMap<&'static str, Option<(String, &'static str)>>;

fn explained(part: &'static str) -> Explained {
    let (mut explained, mut told) = (BTreeMap::new(), String::new());
    for line in part.lines() {
        let bare = line.strip_prefix(';').unwrap_or(line);
        let is_key = |(key, _): &(&str, &str)| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        match (bare.split_once(" =").filter(is_key), line.strip_prefix("; ")) {
            (Some((key, value)), _) => drop(explained.insert(key, Some((told.clone(), value.trim())))),
            (None, Some(comment)) => told += &format!("{comment} "),
            (None, None) => told.clear(),
        }
    }
    for sentence in part.split("keys ").skip(1).filter_map(|rest| rest.split_once(" are as those of ")) {
        let names = sentence.0.split([' ', ',', ';', '\n']).filter(|word| !word.is_empty() && *word != "and");
        explained.extend(names.map(|name| (name, None)));
    }
    explained
}

/// Each kind of section, with what the sample says of its keys.
fn parts() -> Vec<(Kind, Explained)> {
    let place = |begins: &str| SAMPLE.find(begins).unwrap_or_else(|| panic!("there is no {begins:?}"));
    let kinds = kinds();
    let begins: Vec<_> =
        kinds.iter().map(|kind| kind.begins).chain(["\n; --- Other providers ---"]).map(place).collect();
    kinds.into_iter().enumerate().map(|(i, kind)| (kind, explained(&SAMPLE[begins[i]..begins[i + 1]]))).collect()
}

#[test]
fn it_explains_every_key_and_no_other() {
    for (kind, explained) in parts() {
        assert_eq!(explained.into_keys().collect::<BTreeSet<_>>(), kind.keys, "{}", kind.begins);
    }
}

/// What a key takes, as the code says it when it is given something else.
#[derive(Debug, PartialEq)]
enum Takes {
    Numbers(f64, f64),
    Words(BTreeSet<String>),
    YesOrNo,
    Text,
}

fn numbers(text: &str) -> Option<(f64, f64)> {
    let (least, most) = text.split_once(" to ")?;
    Some((least.trim().parse().ok()?, most.trim().parse().ok()?))
}

fn words(text: &str) -> BTreeSet<String> {
    // What stands in brackets explains.
    let bare: String = text.split('(').map(|part| part.split_once(')').map_or(part, |(_, rest)| rest)).collect();
    bare.split(", ").map(|word| word.trim().to_owned()).collect()
}

/// What the code says against nonsense, of all keys of a kind of section.
fn refusals(kind: &Kind) -> Vec<String> {
    // Another type would be another kind.
    let keys = kind.keys.iter().filter(|key| **key != "type" || !kind.least.contains("type ="));
    let lines: String = keys.map(|key| format!("{key} = nonsense\n")).collect();
    parse(&format!("{}{lines}", kind.least)).expect_err("nonsense")
}

fn takes(key: &str, refusals: &[String]) -> Takes {
    let said = refusals.iter().find_map(|error| error.split_once(&format!(" {key}: 'nonsense' is ")));
    let said = said.map_or("", |(_, said)| said);
    match (said.strip_prefix("not a number from "), said.strip_prefix("none of ")) {
        (Some(range), _) => numbers(range).map(|(least, most)| Takes::Numbers(least, most)).expect("two numbers"),
        (_, Some(list)) => Takes::Words(words(list)),
        _ if said == "neither yes nor no" => Takes::YesOrNo,
        _ => Takes::Text,
    }
}

/// What follows `label` in an explanation, up to the end of the sentence.
fn after<'a>(explanation: &'a str, label: &str) -> Option<&'a str> {
    let rest = explanation.split_once(label)?.1;
    let ends = [". ", ";"].iter().filter_map(|end| rest.find(end)).min();
    Some(rest[..ends.unwrap_or(rest.len())].trim())
}

#[test]
fn values_and_defaults_are_the_codes() {
    let mut compared = 0;
    for (kind, explained) in parts() {
        let refusals = refusals(&kind);
        let with = |lines: &str| parse(&format!("{}{lines}", kind.least)).map(|settings| format!("{settings:?}"));
        let without = with("").expect("it needs no more");
        let mut defaults = String::new();
        for (key, explanation) in explained {
            let (Some((told, example)), takes) = (explanation, takes(key, &refusals)) else { continue };
            let allowed = after(&told, "Allowed: ");
            let is_required = told.contains("Required.");
            let mut others: Vec<_> = match &takes {
                Takes::Numbers(least, most) => {
                    assert_eq!(allowed.and_then(numbers), Some((*least, *most)), "[{key}] {told}");
                    [least, most].map(f64::to_string).into()
                }
                Takes::Words(list) => {
                    // Which audio goes depends on the dialect, too.
                    let all = list.iter().all(|word| told.contains(&**word));
                    let same = allowed.is_some_and(|allowed| words(allowed) == *list);
                    assert!(same || (all && (key == "audio" || is_required)), "[{key}] {list:?}: {told}");
                    list.iter().cloned().collect()
                }
                Takes::YesOrNo => ["yes", "no"].map(str::to_owned).into(),
                Takes::Text => continue,
            };
            if key == "type" || is_required {
                continue;
            }
            match after(&told, "Default: ") {
                None => panic!("[{key}] has no default: {told}"),
                Some("the service's own") => {}
                Some(default) => defaults += &format!("{key} = {default}\n"),
            }
            // The settings would tell of another.
            others.push(example.to_owned());
            let differs =
                |other: &String| with(&format!("{key} = {other}\n")).is_ok_and(|settings| settings != without);
            assert!(others.iter().any(differs), "[{key}] changes nothing: {others:?}");
            compared += 1;
        }
        assert_eq!(with(&defaults).as_deref(), Ok(&*without), "with the defaults of the sample:\n{defaults}");
    }
    assert!(compared > 45, "{compared} keys");
}
