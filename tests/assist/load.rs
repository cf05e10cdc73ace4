//! Many calls at once: what a tap costs, and that nobody hears it.

use std::fs;
use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rig::{Crowd, PhoneCall, Ports};

use crate::common::signal::{codes, intervals, percentile};
use crate::common::witness::undisturbed;
use crate::{Desk, SOON};

/// Calls of somebody in the crowd: one that is tapped, and a plain one.
const DIALPLAN: &str = "
[default](+)
exten => tapped,1,AIAssist()
 same => n,Dial(PJSIP/1001/sip:anybody@${CROWD})
exten => plain,1,Dial(PJSIP/1001/sip:anybody@${CROWD})
";
const CALLS: usize = 50;
/// So long they are measured.
const MEASURED: Duration = Duration::from_secs(10);
/// A packet that comes so long after the one before is a gap.
const LATE: Duration = Duration::from_millis(60);
/// Most that a tapped call may cost beyond a plain one, both legs written to transcribers. [ms of a core in a second]
const MOST_MS: f64 = 4.0;

/// Room for both legs of all calls, above the blocks of other rigs and below what the kernel hands out by itself.
fn ports() -> Ports {
    let [sip, http, manager, spare] = [32_400, 32_401, 32_402, 32_403];
    Ports { address: Ipv4Addr::LOCALHOST, sip, http, manager, spare, rtp: 32_410..=32_767 }
}

/// Processor time of Asterisk so far.
fn spent(desk: &Desk) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", desk.stage.rig.pid())).expect("Asterisk runs");
    // proc(5): behind the name, which may hold anything, utime and stime are the 12th and 13th field. [1/100 s]
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks = |field| fields.split_whitespace().nth(field).and_then(|ticks| ticks.parse::<u64>().ok());
    Duration::from_millis(10 * (ticks(11).expect("utime") + ticks(12).expect("stime")))
}

/// What became of many calls of an extension.
struct Measured {
    /// Processor time of one call in a second. [ms]
    cost_ms: f64,
    /// Times from packet to packet, in all of them, the shortest first.
    intervals: Vec<Duration>,
}

impl Measured {
    fn late(&self) -> usize {
        self.intervals.iter().filter(|&&interval| interval > LATE).count()
    }

    fn p99(&self) -> Duration {
        percentile(&self.intervals, 0.99)
    }
}

fn measure(desk: &Desk, extension: &str) -> Measured {
    let calls: Vec<PhoneCall> = (0..CALLS).map(|_| desk.stage.dial(extension)).collect();
    for (seed, call) in (0..).zip(&calls) {
        call.wait_answered(2 * SOON).expect("the call is answered");
        call.play_bytes(&codes(seed, 20 * 8000));
    }
    sleep(Duration::from_secs(2));
    let (from, before) = (Instant::now(), spent(desk));
    sleep(MEASURED);
    let (to, after) = (Instant::now(), spent(desk));
    let cost_ms = (after - before).as_secs_f64() * 1000.0 / (to - from).as_secs_f64() / CALLS as f64;
    let mut intervals: Vec<_> = calls.iter().flat_map(|call| intervals(&call.heard(), from, to)).collect();
    intervals.sort();
    calls.iter().for_each(PhoneCall::hang_up);
    desk.stage.assert_nothing_left();
    let measured = Measured { cost_ms, intervals };
    let (count, late, p99) = (measured.intervals.len(), measured.late(), measured.p99());
    let longest = percentile(&measured.intervals, 1.0);
    println!(
        "{extension}: {cost_ms:.2} ms of a core a call in a second; {count} intervals, p99 {p99:?}, {late} above {LATE:?}, longest {longest:?}"
    );
    let wanted = CALLS as f64 * (to - from).as_secs_f64() * 50.0;
    assert!((count as f64 / wanted - 1.0).abs() <= 0.05, "{extension}: {count} intervals, not {wanted}");
    measured
}

#[test]
fn fifty_tapped_calls_cost_little_more_than_fifty_plain_ones() {
    undisturbed(|| {
        let desk = Desk::with(|rig| rig.append("extensions.conf", DIALPLAN).ports(ports()));
        let crowd = Crowd::start(&desk.stage.rig).expect("SIPp starts");
        desk.stage.cli(&format!("dialplan set global CROWD {}", crowd.address()));
        let [plain, tapped] = ["plain", "tapped"].map(|extension| measure(&desk, extension));
        let more = tapped.cost_ms - plain.cost_ms;
        println!("a tap costs {more:.2} ms of a core in a second");
        assert!(more <= MOST_MS, "{more:.2} ms more");
        // A hundred legs and their phones are a lot for a small machine: what is late without taps is not late for them.
        let allowed = tapped.intervals.len() / 5000 + 2 * plain.late();
        assert!(tapped.late() <= allowed, "{} packets late, {} of plain calls", tapped.late(), plain.late());
        let [p99, plain] = [tapped.p99(), plain.p99()];
        assert!(p99 <= plain + LATE / 4, "one in a hundred takes {p99:?}, of plain calls {plain:?}");
    });
}
