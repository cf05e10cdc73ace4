//! A model's stand-in: hints by the words in the caller's last line.

use serde_json::{Map, Value, json};

use super::ChatRequest;

/// The hint for the last line of the caller in `request`, with the fields that its schema asks for.
pub(crate) fn hint(request: &ChatRequest) -> Value {
    let line = callers_line(request.question());
    let hint = suggest(line);
    let Some(fields) =
        request.body.pointer("/response_format/json_schema/schema/properties").and_then(Value::as_object)
    else {
        return hint;
    };
    fields.iter().map(|(name, schema)| (name.clone(), fitting(&hint[name], schema))).collect::<Map<_, _>>().into()
}

/// The last line that the caller said, where lines say who did; else the last one.
fn callers_line(dialogue: &str) -> &str {
    let lines = || dialogue.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let said_by = |line: &str, who: &str| line.to_lowercase().starts_with(who);
    let last = lines().find(|line| CALLERS.iter().any(|who| said_by(line, who))).or_else(|| lines().next());
    let last = last.unwrap_or_default();
    last.split_once(':').map_or(last, |(_, words)| words.trim())
}

fn suggest(line: &str) -> Value {
    let words = line.to_lowercase();
    let rule = RULES.iter().find(|rule| rule.words.iter().any(|word| words.contains(word))).unwrap_or(&OTHER);
    let russian = words.contains(|letter| matches!(letter, 'а'..='я' | 'ё'));
    let (title, advice) = if russian { rule.russian } else { rule.english };
    let content = if russian { format!("{advice} («{line}»)") } else { format!("{advice} (\"{line}\")") };
    json!({"type": rule.kind, "title": title, "content": content, "priority": rule.priority})
}

/// `value`, unless the schema does not allow it.
fn fitting(value: &Value, schema: &Value) -> Value {
    let allowed = schema["enum"].as_array();
    match (value, allowed) {
        (value, Some(allowed)) if !allowed.contains(value) => {
            allowed.iter().find(|word| **word == "other").or(allowed.first()).cloned().unwrap_or_default()
        }
        (Value::Null, _) => json!(""),
        (value, _) => value.clone(),
    }
}

struct Rule {
    words: &'static [&'static str],
    kind: &'static str,
    priority: &'static str,
    russian: (&'static str, &'static str),
    english: (&'static str, &'static str),
}

/// How lines of the caller begin.
const CALLERS: &[&str] = &["caller:", "client:", "customer:", "клиент:", "абонент:"];

/// The first that fits counts.
const RULES: &[Rule] = &[
    Rule {
        words: &["верните", "возврат", "жалоб", "обман", "refund", "complain", "money back"],
        kind: "warning",
        priority: "high",
        russian: ("Клиент недоволен", "Извинитесь и предложите решение прямо сейчас."),
        english: ("The caller is upset", "Say sorry, and offer a way out right now."),
    },
    Rule {
        words: &["дорог", "цен", "стои", "скидк", "дешевле", "price", "expensive", "cost", "discount", "cheaper"],
        kind: "objection",
        priority: "high",
        russian: ("Вопрос о цене", "Назовите, что входит в цену, и предложите рассрочку."),
        english: ("It is about the price", "Say what the price includes, and offer to pay in parts."),
    },
    Rule {
        words: &["когда", "срок", "как долго", "when", "how long", "how soon"],
        kind: "question",
        priority: "medium",
        russian: ("Вопрос о сроках", "Назовите срок изготовления и ближайшую дату доставки."),
        english: ("It is about the time", "Say how long it takes, and the next day of delivery."),
    },
    Rule {
        words: &["беру", "оформ", "заказыва", "договорились", "i'll take", "order it", "deal"],
        kind: "closing",
        priority: "high",
        russian: ("Клиент готов купить", "Оформите заказ: имя, адрес, способ оплаты."),
        english: ("The caller wants to buy", "Take the order: name, address, how to pay."),
    },
    Rule {
        words: &["гарант", "размер", "материал", "warranty", "guarantee", "size", "material"],
        kind: "information",
        priority: "medium",
        russian: ("Спрашивают о товаре", "Откройте карточку товара и прочитайте характеристики."),
        english: ("It is about the product", "Open its page, and read out what is asked for."),
    },
];

const OTHER: Rule = Rule {
    words: &[],
    kind: "other",
    priority: "low",
    russian: ("Уточните", "Спросите, чем ещё можно помочь."),
    english: ("Find out more", "Ask what else you can do."),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_last_line_counts() {
        assert_eq!(callers_line("Caller: one\nOperator: two\nCaller: three: 3\nOperator: four\n"), "three: 3");
        assert_eq!(callers_line("Клиент: раз\nОператор: два"), "раз");
        assert_eq!(callers_line("one\n\ntwo\n"), "two");
        assert_eq!(callers_line(""), "");
    }

    #[test]
    fn words_decide_on_the_hint() {
        for (line, kind, priority) in [
            ("Сколько стоит перегородка?", "objection", "high"),
            ("That is too expensive.", "objection", "high"),
            ("Когда привезёте?", "question", "medium"),
            ("Верните деньги, это дорого!", "warning", "high"),
            ("Hello?", "other", "low"),
        ] {
            let hint = suggest(line);
            assert_eq!((&hint["type"], &hint["priority"]), (&json!(kind), &json!(priority)), "{line}");
            assert!(hint["content"].as_str().is_some_and(|content| content.contains(line)));
        }
    }
}
