//! Arguments of tools against the JSON Schema that the agent was told of.

use std::fmt;

use boon::{CompileError, Compiler, Draft, SchemaIndex, Schemas, SchemeUrlLoader, ValidationError};
use serde_json::Value;

/// Longest arguments of a tool call. [bytes]
const ARGUMENTS_MAX: usize = 16 * 1024;
/// Most levels of objects and lists in them.
const DEPTH_MAX: usize = 32;
/// Longest account of what is wrong. [characters]
const PROBLEM_MAX: usize = 300;
/// Where the schema stands, for those that refer to themselves.
const PLACE: &str = "tool:/parameters";

/// A JSON Schema, ready to check with. Cheap to use from any thread.
pub(crate) struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

impl Schema {
    /// Takes `schema`, of draft 2020-12 unless it says otherwise. It may refer to itself, and to nothing else.
    ///
    /// # Errors
    /// Why it is none.
    pub(crate) fn compile(schema: &Value) -> Result<Self, String> {
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V2020_12);
        compiler.enable_format_assertions();
        // No scheme is registered: nothing is fetched, and no file is read.
        compiler.use_loader(Box::new(SchemeUrlLoader::new()));
        let mut schemas = Schemas::new();
        let refused = |problem: &CompileError| one_line(&format!("{problem:#}"));
        compiler.add_resource(PLACE, schema.clone()).map_err(|problem| refused(&problem))?;
        let index = compiler.compile(PLACE, &mut schemas).map_err(|problem| refused(&problem))?;
        Ok(Self { schemas, index })
    }

    /// What is wrong with `arguments`, in words that tell an agent how to do better.
    pub(crate) fn check(&self, arguments: &Value) -> Result<(), String> {
        self.schemas.validate(arguments, self.index).map_err(|problem| {
            let mut leaves = Vec::new();
            collect(&problem, &mut leaves);
            one_line(&leaves.join("; "))
        })
    }
}

/// Every problem that has no other behind it.
fn collect(problem: &ValidationError<'_, '_>, leaves: &mut Vec<String>) {
    if problem.causes.is_empty() {
        let at = problem.instance_location.to_string();
        let at = at.trim_start_matches('/').replace('/', ".");
        leaves.push(if at.is_empty() { problem.kind.to_string() } else { format!("{at}: {}", problem.kind) });
    }
    problem.causes.iter().for_each(|cause| collect(cause, leaves));
}

/// The arguments of a tool call as JSON: an object of bounded size and depth. Nothing at all is an empty object.
///
/// # Errors
/// What is wrong, for the agent.
pub(crate) fn arguments(text: &str) -> Result<Value, String> {
    if text.len() > ARGUMENTS_MAX {
        return Err(format!("the arguments have more than {ARGUMENTS_MAX} bytes"));
    }
    if text.trim().is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let value: Value = serde_json::from_str(text).map_err(|_| "the arguments are not JSON".to_owned())?;
    if depth(&value) > DEPTH_MAX {
        return Err(format!("the arguments are nested more than {DEPTH_MAX} levels deep"));
    }
    Ok(value)
}

/// Levels of objects and lists. The parser allows no more than 128.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(PROBLEM_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_that_do_not_fit_are_told_what_does() {
        let schema = Schema::compile(&json!({
            "type": "object",
            "properties": {
                "order": {"type": "string", "pattern": "^[0-9]+$", "maxLength": 8},
                "kind": {"enum": ["a", "b"]},
                "at": {"type": "string", "format": "date"},
                "address": {"$ref": "#/$defs/address"},
            },
            "required": ["order"],
            "additionalProperties": false,
            "$defs": {"address": {"type": "object", "required": ["street"]}},
        }))
        .expect("a schema");
        let check = |arguments: Value| schema.check(&arguments);
        assert_eq!(check(json!({"order": "4711", "kind": "a", "at": "2026-02-28"})), Ok(()));
        let wrong = [
            (json!({}), "order"),
            (json!({"order": 4711}), "order: want string"),
            (json!({"order": "x"}), "order: "),
            (json!({"order": "123456789"}), "order: "),
            (json!({"order": "1", "kind": "c"}), "kind: "),
            (json!({"order": "1", "at": "2026-02-30"}), "at: "),
            (json!({"order": "1", "more": 1}), "more"),
            (json!({"order": "1", "address": {}}), "address: "),
            (json!([1]), "want object"),
        ];
        for (arguments, words) in wrong {
            let problem = check(arguments.clone()).expect_err("it does not fit");
            assert!(problem.contains(words), "{arguments}: {problem}");
        }
    }

    #[test]
    fn a_schema_that_is_none_or_lies_elsewhere_is_refused() {
        for schema in [json!({"type": "objekt"}), json!({"$ref": "file:///etc/passwd"}), json!({"$ref": "http://x/y"})]
        {
            assert!(Schema::compile(&schema).is_err(), "{schema}");
        }
        assert!(Schema::compile(&json!({"properties": {"a": {"pattern": "("}}})).is_err());
    }

    #[test]
    fn arguments_are_bounded_in_size_and_depth() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(arguments(&nested(DEPTH_MAX)).is_ok());
        for levels in [DEPTH_MAX + 1, 128, 10_000] {
            assert!(arguments(&nested(levels)).is_err(), "{levels}");
        }
        assert!(arguments(&format!("\"{}\"", "x".repeat(ARGUMENTS_MAX))).is_err());
        assert_eq!(arguments("  "), Ok(json!({})));
        assert_eq!(arguments("{"), Err("the arguments are not JSON".to_owned()));
    }
}
