//! What the exchange writes down of a call (CDR, CEL).

use std::fs;

use crate::common::{SOON, eventually};
use crate::{ANN, Office, wait_ringing};

#[test]
fn the_call_detail_record_tells_how_the_conversation_went() {
    let mut office = Office::with(crate::passive(), "", |rig| {
        rig.config("cdr.conf", "[general]\nenable = yes\nunanswered = yes\n[csv]\nusegmtime = yes\nloguserfield = yes\nloguniqueid = yes\n")
            .edit("modules.conf", "load = app_amd.so\n", "load = app_amd.so\nload = cdr_csv.so\n")
    });
    fs::create_dir_all(office.stage.rig.directory().join("log/cdr-csv")).expect("a folder");
    office.general = "cdr_userfield = yes".to_owned();
    let phone = office.phone("line", "caller_id = 74950000001");
    let id = office.dial(&[]);
    wait_ringing(&phone);
    phone.answer();
    office.stage.session();
    phone.wait_answered(SOON).expect("answered");
    std::thread::sleep(std::time::Duration::from_millis(1200));
    phone.hang_up();
    office.assert_over(&id, "HANGUP");
    let busy = office.phone("busy", "");
    let busy_id = office.dial(&[("Trunk", "busy")]);
    wait_ringing(&busy);
    busy.refuse(486);
    office.assert_over(&busy_id, "BUSY");

    let file = office.stage.rig.directory().join("log/cdr-csv/Master.csv");
    let mut text = String::new();
    eventually("both calls are recorded", SOON, || {
        text = fs::read_to_string(&file).unwrap_or_default();
        text.lines().count() >= 2
    });
    let record = |id: &str| text.lines().find(|line| line.contains(id)).unwrap_or_else(|| panic!("no {id} in {text}"));
    let answered = record(&id);
    let field = format!("AISTATUS=HANGUP;AISESSION={id};AIDURATION=1");
    assert!(answered.contains(&field), "{answered}");
    for word in ["\"ANSWERED\"", "\"ai-outbound\"", "\"74950000001\"", &format!("\"{ANN}\"")] {
        assert!(answered.contains(word), "{word} in {answered}");
    }
    assert!(record(&busy_id).contains("\"BUSY\""), "{text}");
}

#[test]
fn the_channel_event_log_tells_how_the_conversation_went() {
    /// As docs/outbound.md has it.
    const LINE: &str = "CELGenUserEvent(AI,${AISTATUS} ${AISESSION} ${AIDURATION})";
    let mut office = Office::with(crate::passive(), "", |rig| {
        rig.config("cel.conf", "[general]\nenable = yes\nevents = USER_DEFINED\n")
            .config(
                "cel_custom.conf",
                "[mappings]\nMaster.csv => ${userdeftype}: ${eventextra}, ${CHANNEL(uniqueid)}\n",
            )
            .edit("extensions.conf", "exten => h,1,", &format!("exten => h,1,{LINE}\n same => n,"))
            .edit(
                "modules.conf",
                "load = app_amd.so\n",
                "load = app_amd.so\nload = app_celgenuserevent.so\nload = res_cdrel_custom.so\nload = cel_custom.so\n",
            )
    });
    fs::create_dir_all(office.stage.rig.directory().join("log/cel-custom")).expect("a folder");
    let phone = office.phone("line", "");
    let id = office.dial(&[]);
    wait_ringing(&phone);
    phone.answer();
    office.stage.session();
    phone.hang_up();
    office.assert_over(&id, "HANGUP");

    let file = office.stage.rig.directory().join("log/cel-custom/Master.csv");
    let line = format!("AI: {{\"extra\":\"HANGUP {id} 0\"}}, {id}");
    eventually("the call is recorded", SOON, || fs::read_to_string(&file).unwrap_or_default().contains(&line));
    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/outbound.md")).expect("it is there");
    assert!(docs.contains(&format!("exten => h,1,{LINE}")), "the line is documented");
}
