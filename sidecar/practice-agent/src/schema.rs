//! Checks a client's JSON against a table, and words the complaint as the vendor does.
//!
//! Runs on the connection's task. The tables themselves are in [`crate::shapes`]; a check allocates only when it fails.

use std::fmt;

use serde_json::{Map, Value, json};

/// What a value may be.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Anything at all.
    Any,
    /// `true` or `false`.
    Bool,
    /// Any string.
    Text,
    /// A string that is not empty.
    Name,
    /// One of these strings.
    Word(&'static [&'static str]),
    /// A whole number from the first to the second, both included.
    Int(i64, i64),
    /// A number from the first to the second, both included.
    Number(f64, f64),
    /// An object with exactly these fields.
    Object(&'static [Field]),
    /// An object whose `type` selects its other fields.
    Tagged(&'static [(&'static str, &'static [Field])]),
    /// An object of any content.
    Map,
    /// An array of one kind.
    List(&'static Kind),
    /// The kind, or `null`.
    Nullable(&'static Kind),
    /// The first of these that accepts the value; the last one words the complaint.
    Either(&'static [Kind]),
}

/// One key of an object.
#[derive(Debug)]
pub(crate) struct Field {
    name: &'static str,
    kind: Kind,
    required: bool,
}

/// A complaint about a client's message, as it goes on the wire in an `error` event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) param: Option<String>,
}

/// The way from the message's root to the value under check, kept on the stack.
#[derive(Clone, Copy)]
pub(crate) enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

/// A field that may be left out.
pub(crate) const fn opt(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, required: false }
}

/// A field that must be there.
pub(crate) const fn must(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, required: true }
}

/// Checks `value` against `kind`.
pub(crate) fn check(value: &Value, kind: &Kind, path: Path<'_>) -> Result<(), ApiError> {
    match kind {
        Kind::Any => Ok(()),
        Kind::Bool => expect(value.is_boolean(), value, "a boolean", path),
        Kind::Text => expect(value.is_string(), value, "a string", path),
        Kind::Name => {
            expect(value.is_string(), value, "a string", path)?;
            if value.as_str() == Some("") { Err(ApiError::empty_string(path)) } else { Ok(()) }
        }
        Kind::Word(words) => check_word(value, words.iter().copied(), path),
        Kind::Int(low, high) => check_int(value, *low, *high, path),
        Kind::Number(low, high) => check_number(value, *low, *high, path),
        Kind::Object(fields) => {
            let object = value.as_object().ok_or_else(|| ApiError::wrong_type(value, "an object", path))?;
            check_fields(object, fields, &[], path)
        }
        Kind::Tagged(variants) => check_tagged(value, variants, path),
        Kind::Map => expect(value.is_object(), value, "an object", path),
        Kind::List(kind) => {
            let list = value.as_array().ok_or_else(|| ApiError::wrong_type(value, "an array", path))?;
            list.iter().enumerate().try_for_each(|(n, value)| check(value, kind, Path::Index(&path, n)))
        }
        Kind::Nullable(kind) => {
            if value.is_null() {
                Ok(())
            } else {
                check(value, kind, path)
            }
        }
        Kind::Either(kinds) => match kinds.split_last() {
            Some((_, others)) if others.iter().any(|kind| check(value, kind, path).is_ok()) => Ok(()),
            Some((last, _)) => check(value, last, path),
            None => Ok(()),
        },
    }
}

/// Checks the fields of `object`; keys in `always` are allowed besides and not looked at.
pub(crate) fn check_fields(
    object: &Map<String, Value>,
    fields: &[Field],
    always: &[&str],
    path: Path<'_>,
) -> Result<(), ApiError> {
    for (key, value) in object {
        match fields.iter().find(|field| field.name == key) {
            Some(field) => check(value, &field.kind, Path::Key(&path, key))?,
            None if always.contains(&key.as_str()) => {}
            None => return Err(ApiError::unknown_parameter(Path::Key(&path, key))),
        }
    }
    match fields.iter().find(|field| field.required && !object.contains_key(field.name)) {
        Some(field) => Err(ApiError::missing(Path::Key(&path, field.name))),
        None => Ok(()),
    }
}

fn check_tagged(value: &Value, variants: &[(&'static str, &'static [Field])], path: Path<'_>) -> Result<(), ApiError> {
    let object = value.as_object().ok_or_else(|| ApiError::wrong_type(value, "an object", path))?;
    let tag_path = Path::Key(&path, "type");
    let tag = object.get("type").ok_or_else(|| ApiError::missing(tag_path))?;
    check_word(tag, variants.iter().map(|(name, _)| *name), tag_path)?;
    match variants.iter().find(|(name, _)| tag == name) {
        Some((_, fields)) => check_fields(object, fields, &["type"], path),
        None => Ok(()),
    }
}

fn check_word<'w>(
    value: &Value,
    mut words: impl Iterator<Item = &'w str> + Clone,
    path: Path<'_>,
) -> Result<(), ApiError> {
    let supported = words.clone();
    match value.as_str() {
        Some(text) if words.any(|word| word == text) => Ok(()),
        Some(text) => Err(ApiError::invalid_value(text, supported, path)),
        None => Err(ApiError::wrong_type(value, "a string", path)),
    }
}

fn check_int(value: &Value, low: i64, high: i64, path: Path<'_>) -> Result<(), ApiError> {
    let number = value.as_i64().ok_or_else(|| ApiError::wrong_type(value, "an integer", path))?;
    match number {
        _ if number < low => Err(ApiError::out_of_range("integer_below_min_value", &number, &low, path)),
        _ if number > high => Err(ApiError::out_of_range("integer_above_max_value", &number, &high, path)),
        _ => Ok(()),
    }
}

fn check_number(value: &Value, low: f64, high: f64, path: Path<'_>) -> Result<(), ApiError> {
    let number = value.as_f64().ok_or_else(|| ApiError::wrong_type(value, "a decimal", path))?;
    match number {
        _ if number < low => Err(ApiError::out_of_range("decimal_below_min_value", &number, &low, path)),
        _ if number > high => Err(ApiError::out_of_range("decimal_above_max_value", &number, &high, path)),
        _ => Ok(()),
    }
}

fn expect(holds: bool, value: &Value, expected: &str, path: Path<'_>) -> Result<(), ApiError> {
    if holds { Ok(()) } else { Err(ApiError::wrong_type(value, expected, path)) }
}

impl ApiError {
    /// A complaint that concerns no single parameter.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None }
    }

    /// The same complaint about the parameter `param`.
    pub(crate) fn about(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// `text` is not among the supported values.
    pub(crate) fn invalid_value<'w>(text: &str, supported: impl Iterator<Item = &'w str>, path: Path<'_>) -> Self {
        let list = supported.map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ");
        Self::new("invalid_value", format!("Invalid value: '{text}'. Supported values are: {list}."))
            .about(path.to_string())
    }

    /// A required parameter is not there.
    pub(crate) fn missing(path: Path<'_>) -> Self {
        Self::new("missing_required_parameter", format!("Missing required parameter: '{path}'."))
            .about(path.to_string())
    }

    /// The body of the `error` event.
    pub(crate) fn to_json(&self, client_event_id: Option<&str>) -> Value {
        json!({"error": {
            "type": "invalid_request_error",
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "event_id": client_event_id,
        }})
    }

    fn unknown_parameter(path: Path<'_>) -> Self {
        Self::new("unknown_parameter", format!("Unknown parameter: '{path}'.")).about(path.to_string())
    }

    fn empty_string(path: Path<'_>) -> Self {
        Self::new("empty_string", format!("Invalid '{path}': empty string. Expected a string with minimum length 1."))
            .about(path.to_string())
    }

    fn wrong_type(value: &Value, expected: &str, path: Path<'_>) -> Self {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(number) if number.is_f64() => "a decimal",
            Value::Number(_) => "an integer",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        Self::new("invalid_type", format!("Invalid type for '{path}': expected {expected}, but got {found} instead."))
            .about(path.to_string())
    }

    fn out_of_range(code: &'static str, found: &dyn fmt::Display, limit: &dyn fmt::Display, path: Path<'_>) -> Self {
        let sign = if code.ends_with("below_min_value") { ">=" } else { "<=" };
        let message =
            format!("Invalid '{path}': out of range. Expected a value {sign} {limit}, but got {found} instead.");
        Self::new(code, message).about(path.to_string())
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, key) => f.write_str(key),
            Path::Key(parent, key) => write!(f, "{parent}.{key}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINT: Kind = Kind::Object(&[must("x", Kind::Number(0.0, 1.0)), opt("tags", Kind::List(&Kind::Name))]);

    #[test]
    fn a_complaint_names_the_place_it_is_about() {
        let bad = json!({"x": 0.5, "tags": ["a", ""]});
        let error = check(&bad, &POINT, Path::Key(&Path::Root, "p")).unwrap_err();
        assert_eq!((error.code, error.param.as_deref()), ("empty_string", Some("p.tags[1]")));
    }

    #[test]
    fn unknown_missing_and_out_of_range_are_told_apart() {
        let code = |value| check(&value, &POINT, Path::Root).unwrap_err().code;
        assert_eq!(code(json!({"x": 0, "y": 1})), "unknown_parameter");
        assert_eq!(code(json!({})), "missing_required_parameter");
        assert_eq!(code(json!({"x": 1.5})), "decimal_above_max_value");
        assert_eq!(code(json!({"x": "1"})), "invalid_type");
        assert_eq!(code(json!([])), "invalid_type");
    }
}
