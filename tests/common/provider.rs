//! A telephone company: another real Asterisk, at an address of its own, where an exchange registers with an account.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};

use rig::{Phone, PhoneCall, Ports, Rig};

use super::{SOON, eventually};

/// The account at the provider.
pub const USER: &str = "883140000000001";
pub const PASSWORD: &str = "It's;-- #1 \\; ${x}=>";
/// The number of the exchange in the world, and one that it calls.
pub const OWN: &str = "74950000000";
pub const ANN: &str = "79123456789";

/// An address that no other test has: nobody else's calls come from there.
pub fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(20);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, NEXT.fetch_add(1, Ordering::Relaxed), high, low)
}

/// The company that has the lines.
pub struct Provider {
    pub rig: Rig,
}

impl Provider {
    pub fn start() -> Self {
        let ports =
            Ports { address: own_address(), sip: 5070, http: 8088, manager: 5038, spare: 9000, rtp: 15000..=19999 };
        let account = format!(
            "[customer](!)\ntype = endpoint\ncontext = customers\ndisallow = all\nallow = ulaw,alaw\ndirect_media = no\n\
             [{USER}](customer)\nauth = {USER}\naors = {USER}\n[{USER}]\ntype = auth\nauth_type = userpass\n\
             username = {USER}\npassword = {}\n[{USER}](contacts)\n",
            PASSWORD.replace(';', "\\;")
        );
        // Customers call the phone in PHONE; phones call the customer, by account or by number.
        let dialplan = format!(
            "exten => {OWN},1,Dial(PJSIP/{USER})\n same => n,Verbose(0,DIALLED ${{DIALSTATUS}} ${{HANGUPCAUSE}})\n\
             exten => 1{OWN},1,Dial(PJSIP/{OWN}@{USER})\n\
             exten => 2{OWN},1,Dial(PJSIP/{USER}/${{EXCHANGE}})\n\n[customers]\n\
             exten => _X.,1,Verbose(0,CUSTOMER ${{CALLERID(num)}} <${{PJSIP_HEADER(read,P-Asserted-Identity)}}> calls ${{EXTEN}})\n \
             same => n,Dial(PJSIP/1001/${{PHONE}})\n same => n,Hangup()\n"
        );
        let rig = Rig::builder().without_bridge().append("pjsip.conf", account).append("extensions.conf", dialplan);
        Self { rig: rig.ports(ports).start().expect("the provider starts") }
    }

    pub fn domain(&self) -> String {
        self.rig.sip_addr().to_string()
    }

    /// A phone somewhere in the world.
    pub fn phone(&self) -> Phone {
        Phone::new(&self.rig)
    }

    /// A phone that rings when the exchange calls a number.
    pub fn ringing_phone(&self) -> PhoneCall {
        self.rings(self.phone())
    }

    pub fn rings(&self, phone: Phone) -> PhoneCall {
        let phone = phone.ring().expect("the phone starts");
        self.rig.cli(&format!("dialplan set global PHONE {}", phone.uri())).expect("Asterisk answers");
        phone
    }

    pub fn wait_registered(&self) {
        let contacts = || self.rig.cli("pjsip show contacts").expect("Asterisk answers");
        eventually("the exchange is registered", SOON, || contacts().contains(USER));
    }
}
