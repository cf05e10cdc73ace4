//! Tools that run a routine of the dialplan.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::Place;
use crate::exchange::Routine;
use crate::settings::Tool;

/// Routines that may run at once, over all calls: each has a thread to itself, and one that hangs keeps it.
const ROUTINES_MAX: usize = 64;

static ROOM: Semaphore = Semaphore::const_new(ROUTINES_MAX);

/// Ends the routine when nobody waits for it any more.
struct StopOnDrop(Arc<dyn Routine>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Runs the routine at `routine` with those of `arguments` that `names` lists, and answers with what it returned.
pub(super) async fn run(
    routine: &str,
    names: &[String],
    tool: &Tool,
    arguments: Value,
    place: &Place,
) -> Result<Value, String> {
    let permit = ROOM.try_acquire().map_err(|_| "too many tools are running")?;
    let failed = |_| "an error in the module".to_owned();
    let values: Vec<_> = names.iter().map(|name| plain(&arguments[name.as_str()])).collect();
    let session = &place.session.info;
    let variables = [
        ("AICHANNEL", session.origin.channel.clone()),
        ("AISESSION", session.id.clone()),
        ("AITOOL", tool.name.clone()),
        ("AIARGUMENTS", arguments.to_string()),
    ];
    let (exchange, id, at) = (place.exchange, session.id.clone(), routine.to_owned());
    let made = spawn_blocking(move || exchange.routine(&id, &at, &values, &variables)).await.map_err(failed)?;
    let routine: Arc<dyn Routine> = made.map_err(|problem| problem.to_string())?.into();
    let _stop = StopOnDrop(routine.clone());
    let run = spawn_blocking(move || {
        let returned = routine.run();
        drop(permit);
        returned
    });
    let returned = run.await.map_err(failed)?.map_err(|problem| problem.to_string())?;
    Ok(structured(returned))
}

/// A value as the dialplan takes it: text as it is, nothing for what is left out, and anything else in JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What a routine returned: an object or a list in JSON is one for the agent, too.
fn structured(returned: String) -> Value {
    let parsed = returned.starts_with(['{', '[']).then(|| serde_json::from_str(&returned).ok()).flatten();
    parsed.unwrap_or(Value::String(returned))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_cross_as_text_and_structure_comes_back_as_structure() {
        assert_eq!(
            [json!("a,b"), json!(null), json!(4.5), json!(["x"])].map(|value| plain(&value)),
            ["a,b", "", "4.5", "[\"x\"]"]
        );
        assert_eq!(structured(r#"{"a":[1]}"#.to_owned()), json!({"a": [1]}));
        assert_eq!(structured("42".to_owned()), json!("42"));
        assert_eq!(structured("{not json".to_owned()), json!("{not json"));
    }
}
