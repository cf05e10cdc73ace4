use std::path::Path;

use super::*;
use crate::events::{CallState, Direction, Event, Notice, Subscription, What};
use crate::settings::{RawEntry, RawSection};
use crate::{Outcome, Status};

/// Dials nothing.
#[derive(Debug)]
pub(crate) struct NoDialler;

impl Dialler for NoDialler {
    fn detects_machines(&self) -> bool {
        false
    }

    fn dial(&self, _: Order, _: Line) -> io::Result<Arc<dyn Leg>> {
        Err(io::Error::other("there is no exchange"))
    }
}

/// Keeps what is dialled for the test to go on with.
#[derive(Default)]
struct Exchange(Mutex<Vec<(Order, Line)>>);

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange")
    }
}

struct NoLeg;

impl Leg for NoLeg {
    fn hang_up(&self) {}
}

impl Dialler for Exchange {
    fn detects_machines(&self) -> bool {
        true
    }

    fn dial(&self, order: Order, line: Line) -> io::Result<Arc<dyn Leg>> {
        self.0.lock().expect("no panic").push((order, line));
        Ok(Arc::new(NoLeg))
    }
}

impl Exchange {
    fn next(&self) -> (Order, Line) {
        self.0.lock().expect("no panic").remove(0)
    }
}

struct Stage {
    exchange: &'static Exchange,
    outbound: Outbound,
    settings: Settings,
    events: Subscription,
}

const CONFIG: &str = "general/default_profile=sales\nsales/url=ws://h\nsales/max_calls=4\nother/url=ws://h\n\
    exolve/type=trunk\nexolve/dial=PJSIP/{{number}}@exolve\nexolve/pattern=_7XXXXXXXXXX\nexolve/max_calls=2\n\
    exolve/calls_per_second=100\nexolve/caller_id=74950000001\nexolve/caller_id=74950000002\n\
    world/type=trunk\nworld/dial=PJSIP/world/sip:00{{number}}@gw\nworld/max_calls=3\nworld/calls_per_second=2\n";

fn settings(config: &str) -> Settings {
    let mut sections: Vec<RawSection> = Vec::new();
    for line in config.lines() {
        let (section, (key, value)) =
            line.split_once('/').map(|(name, rest)| (name, rest.split_once('=').expect("key"))).expect("section");
        if sections.last().is_none_or(|last| last.name != section) {
            sections.push(RawSection { name: section.to_owned(), entries: Vec::new() });
        }
        let (key, value) = (key.to_owned(), value.to_owned());
        let entries = &mut sections.last_mut().expect("just pushed").entries;
        entries.push(RawEntry { file: "f".to_owned(), line: 1, key, value });
    }
    Settings::parse(&sections, Path::new("/")).expect("valid")
}

impl Stage {
    fn new() -> Self {
        let exchange: &'static Exchange = Box::leak(Box::default());
        let events = Arc::<Events>::default();
        let subscription = events.subscribe();
        Self { exchange, outbound: Outbound::new(exchange, events), settings: settings(CONFIG), events: subscription }
    }

    fn dial(&self, number: &str) -> Result<Call, DialError> {
        self.outbound.dial(&self.settings, to(number))
    }

    fn event(&mut self) -> Arc<Event> {
        match self.events.wait() {
            Some(Notice::Event(event)) => event,
            other => panic!("{other:?}"),
        }
    }

    fn state(&mut self) -> CallState {
        match &self.event().what {
            What::CallStatus { state } => *state,
            other => panic!("{other:?}"),
        }
    }
}

fn to(number: &str) -> DialRequest {
    DialRequest { phone_number: number.to_owned(), ..DialRequest::default() }
}

const ANN: &str = "79123456789";

#[test]
fn a_call_is_told_from_its_order_to_its_end_under_one_id() {
    let mut stage = Stage::new();
    let call = stage.dial(ANN).expect("possible");
    assert_eq!((call.state, call.phone_number.as_str(), call.trunk.as_str()), (CallState::Dialing, ANN, "exolve"));
    let (order, line) = stage.exchange.next();
    assert_eq!((order.id.as_str(), line.id()), (call.id.as_str(), call.id.as_str()));
    assert_eq!((order.technology.as_str(), order.resource.as_str()), ("PJSIP", "79123456789@exolve"));
    assert_eq!(order.caller_id.as_deref(), Some("74950000001"));
    assert_eq!((order.context.as_str(), order.extension.as_str()), ("ai-outbound", ANN));

    let begun = stage.event();
    assert!(matches!(begun.what, What::CallStart { .. }));
    assert_eq!((begun.origin.direction, begun.origin.callee.as_deref()), (Direction::Outbound, Some(ANN)));
    assert_eq!(stage.state(), CallState::Dialing);
    line.has_channel("PJSIP/exolve-1");
    for (progress, state) in [
        (Progress::Ringing, CallState::Ringing),
        (Progress::Ringing, CallState::Ringing),
        (Progress::EarlyMedia, CallState::Progress),
        (Progress::Answered, CallState::Answered),
    ] {
        line.progress(progress);
        assert_eq!(stage.outbound.get(&call.id).expect("up").state, state);
    }
    line.answered_by(Answerer::Human);
    let told = [CallState::Ringing, CallState::Progress, CallState::Answered, CallState::Human];
    assert_eq!(told.map(|_| stage.state()), told, "each once");

    let second = line.clone();
    line.concluded(&Outcome::new(Status::ConnFail, "the AI is away"));
    line.ended(Cause::NORMAL);
    drop(line);
    assert_eq!(stage.outbound.up(), 1, "somebody may still have something to tell");
    drop(second);
    assert_eq!(stage.outbound.up(), 0);
    let end = stage.event();
    let What::CallEnd(end) = &end.what else { panic!("{end:?}") };
    assert_eq!((end.status, end.cause), (Status::ConnFail, Some(Cause::NORMAL)));
    let over = stage.outbound.get(&call.id).expect("remembered");
    assert_eq!((over.state, over.status), (CallState::Ended, Some(Status::ConnFail)));
    assert!(over.answered.is_some() && over.ended.is_some());
}

#[test]
fn a_call_that_is_not_answered_ends_with_the_cause_of_its_line() {
    let stage = Stage::new();
    let causes = [
        (17, Status::Busy),
        (19, Status::NoAnswer),
        (21, Status::Declined),
        (34, Status::Congestion),
        (1, Status::Unallocated),
        (58, Status::Failed),
    ];
    for (q850, status) in causes {
        let call = stage.dial(ANN).expect("possible");
        let (_, line) = stage.exchange.next();
        line.ended(Cause { q850, sip: Some(486) });
        drop(line);
        let over = stage.outbound.get(&call.id).expect("remembered");
        assert_eq!((over.status, over.cause.map(|cause| cause.q850)), (Some(status), Some(q850)));
    }
    assert_eq!(stage.outbound.list().len(), causes.len());
}

#[test]
fn limits_and_pace_refuse_and_say_when_to_try_again() {
    let stage = Stage::new();
    let now = Instant::now();
    let dial = |number: &str, ms| stage.outbound.dial_at(&stage.settings, to(number), now + Duration::from_millis(ms));
    let through = |call: Result<Call, DialError>| call.map(|call| call.trunk);
    assert_eq!(through(dial(ANN, 0)), Ok("exolve".to_owned()));
    assert_eq!(through(dial(ANN, 0)), Ok("exolve".to_owned()));
    // That one is full: the next that takes the number.
    assert_eq!(through(dial(ANN, 0)), Ok("world".to_owned()));
    assert_eq!(through(dial("4930123456", 0)), Ok("world".to_owned()));
    let full = dial(ANN, 2000).expect_err("max_calls of the profile");
    assert!(matches!(&full, DialError::TooMany { limited: Limited::Profile { most: 4, .. }, .. }), "{full:?}");
    assert_eq!((full.http_status(), full.field()), (429, None));

    let other = |ms| {
        let request = DialRequest { profile: Some("other".to_owned()), ..to("4930123456") };
        stage.outbound.dial_at(&stage.settings, request, now + Duration::from_millis(ms))
    };
    let fast = other(0).expect_err("two a second");
    assert!(matches!(&fast, DialError::TooMany { limited: Limited::Pace { .. }, .. }), "{fast:?}");
    let wait = fast.retry_after().expect("said");
    assert!(wait <= Duration::from_millis(500), "{wait:?}");
    assert_eq!(through(other(wait.as_millis() as u64 + 1)), Ok("world".to_owned()));
    let full = other(5000).expect_err("max_calls of the trunk");
    assert!(matches!(&full, DialError::TooMany { limited: Limited::Trunk { most: 3, .. }, .. }), "{full:?}");
    // A call that is over gives its place back.
    drop(stage.exchange.next());
    assert_eq!(through(dial(ANN, 5000)), Ok("exolve".to_owned()));
}

#[test]
fn what_cannot_be_dialled_is_refused_with_the_field_and_what_is_allowed() {
    let stage = Stage::new();
    let refused = |request: DialRequest| {
        let error = stage.outbound.dial(&stage.settings, request).expect_err("not possible");
        assert_eq!(error.http_status(), 422, "{error}");
        (error.field().expect("a field"), error.to_string())
    };
    let text = |text: &str| Some(text.to_owned());
    let (field, words) = refused(to("7912@evil"));
    assert!(field == "phone_number" && words.contains("digits"), "{words}");
    let (field, words) = refused(to("112"));
    assert!(field == "phone_number" && words.contains("_7XXXXXXXXXX") && words.contains("e164"), "{words}");
    let (field, words) = refused(DialRequest { trunk: text("exolve"), ..to("4930123456") });
    assert!(field == "phone_number" && words.contains("exolve takes only _7XXXXXXXXXX"), "{words}");
    assert_eq!(refused(DialRequest { trunk: text("PJSIP/1001"), ..to(ANN) }).0, "trunk");
    assert_eq!(refused(DialRequest { profile: text("nobody"), ..to(ANN) }).0, "profile");
    assert_eq!(refused(DialRequest { profile: text("exolve"), ..to(ANN) }).0, "profile");
    assert_eq!(refused(DialRequest { caller_id: text("\"A\" <1>\r\nX: y"), ..to(ANN) }).0, "caller_id");
    let (field, words) = refused(DialRequest { caller_id: text("74950000003"), trunk: text("exolve"), ..to(ANN) });
    assert!(field == "caller_id" && words.contains("74950000001, 74950000002"), "{words}");
    for (name, value) in [("a b", "x"), ("", "x"), ("x}${SHELL(id)}", "x"), ("x", "a\rb"), ("x", "a\0")] {
        let variables = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert_eq!(refused(DialRequest { variables, ..to(ANN) }).0, "variables", "{name:?} {value:?}");
    }
    let timeout = Some(Duration::from_secs(601));
    assert_eq!(refused(DialRequest { timeout, ..to(ANN) }).0, "timeout_s");
    assert!(stage.outbound.list().is_empty(), "nothing was dialled");
}

#[test]
fn a_call_from_another_number_goes_through_a_trunk_that_may_show_it() {
    let stage = Stage::new();
    let from = |number: &str| DialRequest { caller_id: Some(number.to_owned()), ..to(ANN) };
    let call = stage.outbound.dial(&stage.settings, from("74950000002")).expect("one of the trunk's");
    assert_eq!((call.trunk.as_str(), call.caller_id.as_deref()), ("exolve", Some("74950000002")));
    let call = stage.outbound.dial(&stage.settings, from("4930999")).expect("that trunk shows any");
    assert_eq!((call.trunk.as_str(), call.caller_id.as_deref()), ("world", Some("4930999")));
}

#[test]
fn who_hangs_up_before_there_is_a_leg_is_heard_all_the_same() {
    struct Late(Mutex<Option<Line>>);
    impl Leg for Late {
        fn hang_up(&self) {
            self.0.lock().expect("no panic").take();
        }
    }
    let stage = Stage::new();
    let call = stage.dial(ANN).expect("possible");
    let (_, line) = stage.exchange.next();
    assert!(stage.outbound.hang_up(&call.id) && line.is_unwanted());
    let record = stage.outbound.find(&call.id).expect("up");
    record.set_leg(Arc::new(Late(Mutex::new(Some(line)))));
    assert_eq!(stage.outbound.get(&call.id).expect("remembered").status, Some(Status::Stopped));
    assert!(!stage.outbound.hang_up(&call.id), "it is over");
}

#[test]
fn nothing_is_dialled_while_the_module_goes_down_and_a_failure_leaves_nothing() {
    let stage = Stage::new();
    stage.outbound.drain();
    assert_eq!(stage.dial(ANN), Err(DialError::Draining));
    let outbound = Outbound::new(&NoDialler, Arc::default());
    let failed = outbound.dial(&stage.settings, to(ANN)).expect_err("nothing dials");
    assert!(matches!(failed, DialError::Failed(_)) && outbound.up() == 0);
    let detect = outbound.dial(&stage.settings, DialRequest { detect_machine: true, ..to(ANN) });
    assert_eq!(detect, Err(DialError::NoDetection));
}

#[test]
fn only_so_many_calls_are_remembered() {
    let stage = Stage::new();
    for _ in 0..=REMEMBERED {
        let request = DialRequest { profile: Some("other".to_owned()), trunk: Some("exolve".to_owned()), ..to(ANN) };
        let far = Instant::now() + Duration::from_secs(stage.outbound.list().len() as u64);
        stage.outbound.dial_at(&stage.settings, request, far).expect("possible");
        drop(stage.exchange.next());
    }
    assert_eq!(stage.outbound.list().len(), REMEMBERED);
}
