//! The actions that make calls happen and hang them up.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::time::Duration;

use ai_sidecar::outbound::DialRequest;

use super::headers::Headers;
use super::{Action, act};
use crate::ffi::{mansession, message};
use crate::module;

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_ami_dial(client: *mut mansession, message: *const message) -> c_int {
    act(client, message, |action| {
        let Some(bridge) = module::bridge() else { return action.fail("the module is being unloaded") };
        let request = match request(action) {
            Ok(request) => request,
            Err(problem) => return action.fail(&problem),
        };
        match bridge.sidecar.outbound().dial(&bridge.settings(), request) {
            Ok(call) => {
                let headers = Headers::default().add("Session", &call.id).add("Trunk", &call.trunk);
                action.succeed_with("The call is being dialled", headers);
            }
            Err(problem) => {
                let wait = problem.retry_after().map(|wait| format!("; try again in {:.1} s", wait.as_secs_f64()));
                action.fail(&format!("{problem}{}", wait.unwrap_or_default()));
            }
        }
    })
}

/// The call that an action asks for.
fn request(action: &Action) -> Result<DialRequest, String> {
    let some = |name| Some(action.header(name)).filter(|value| !value.is_empty());
    let detect_machine = match action.header(c"DetectMachine").to_ascii_lowercase().as_str() {
        "yes" => true,
        "no" | "" => false,
        _ => return Err("DetectMachine: expected yes or no".to_owned()),
    };
    let timeout = some(c"Timeout").map(|text| text.parse().map(Duration::from_secs));
    let mut variables = BTreeMap::new();
    if let Some(list) = some(c"Variables") {
        for pair in list.split('^') {
            let (name, value) =
                pair.split_once('=').ok_or("Variables: expected name=value, more of them joined by ^")?;
            variables.insert(name.trim().to_owned(), value.trim().to_owned());
        }
    }
    Ok(DialRequest {
        phone_number: action.header(c"Number"),
        profile: some(c"Profile"),
        caller_id: some(c"CallerID"),
        variables,
        detect_machine,
        timeout: timeout.transpose().map_err(|_| "Timeout: expected whole seconds".to_owned())?,
        trunk: some(c"Trunk"),
    })
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_ami_hangup(client: *mut mansession, message: *const message) -> c_int {
    act(client, message, |action| {
        let session = action.header(c"Session");
        let hung_up = module::bridge().is_some_and(|bridge| bridge.sidecar.hang_up(&session).is_ok());
        if hung_up { action.succeed("Call hung up") } else { action.fail("Session: there is no such call") }
    })
}
