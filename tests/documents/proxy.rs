//! The proxy of the documentation lets the operator's page through, with all that it does.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

use rig::{Browser, Screen};

use crate::common::SOON;
use crate::common::markdown::Document;
use crate::place::{Place, SECRET, printed};

/// This machine's nginx; or that of Debian's package, without what else the package does: it would start a server at port 80.
fn nginx() -> PathBuf {
    let installed = PathBuf::from("/usr/sbin/nginx");
    if installed.exists() {
        return installed;
    }
    let folder = super::root().join("target/nginx");
    let program = folder.join("usr/sbin/nginx");
    if !program.exists() {
        fs::create_dir_all(&folder).expect("target can be written");
        printed(
            Command::new("sh").args(["-ec", "apt-get -qq download nginx; dpkg -x nginx_*.deb ."]).current_dir(&folder),
        );
    }
    program
}

/// A running nginx. Dropping it ends it.
struct Proxy {
    process: Child,
    address: String,
    folder: PathBuf,
}

impl Proxy {
    fn start(location: &str) -> Self {
        let port = rig::http::free_port();
        let folder = super::root().join(format!("target/tmp/nginx-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).expect("target can be written");
        let paths =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {name};\n"));
        let config = format!(
            "daemon off;\nmaster_process off;\npid pid;\nerror_log error;\nevents {{}}\nhttp {{\naccess_log off;\n{}\
             server {{\nlisten 127.0.0.1:{port};\n{location}}}\n}}\n",
            paths.concat()
        );
        fs::write(folder.join("nginx.conf"), config).expect("target can be written");
        let mut command = Command::new(nginx());
        let process = command.arg("-p").arg(&folder).args(["-c", "nginx.conf"]).spawn().expect("nginx runs");
        let address = format!("127.0.0.1:{port}");
        let proxy = Self { process, address, folder };
        rig::http::Api { address: proxy.address.parse().expect("an address"), token: SECRET.to_owned() }
            .wait(SOON)
            .expect("nginx answers");
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What a page of the proxy gets: the status of an order, and whether events come.
fn ask(proxy: &Proxy, place: &Place) -> (String, String) {
    let browser = Browser::start().expect("Chromium starts");
    let page =
        browser.open("reader", &format!("http://{}/", proxy.address), Screen::default()).expect("the page opens");
    let script = Document::read("docs/events.md").blocks().into_iter().find(|block| block.language == "js");
    let script = script.expect("an example").text.replace("wss://pbx.example.com", &format!("ws://{}", proxy.address));
    page.evaluate(&format!(
        "(() => {{ window.posted = ''; window.told = '';
        fetch('/api/calls/{}/context', {{method: 'POST', body: '{{\"text\":\"a guest\"}}',
            headers: {{'Authorization': 'Bearer {SECRET}', 'Content-Type': 'application/json'}}}})
            .then(answer => window.posted = answer.status);
        const last = 0; {}; socket.onmessage = () => window.told = 'events'; socket.onclose = () => window.told = 'closed'; }})()",
        place.session,
        script.replace("<http_token>", SECRET),
    ))
    .expect("the script runs");
    page.wait("window.posted !== '' && window.told !== ''", SOON).expect("answers come");
    let answer = |name: &str| page.evaluate(name).expect("the page is there").to_string();
    (answer("window.posted"), answer("window.told").trim_matches('"').to_owned())
}

#[test]
fn the_page_works_through_a_proxy_that_is_told_what_the_documentation_says() {
    let place = Place::new("");
    let blocks = Document::all().into_iter().flat_map(|document| document.blocks());
    let blocks: Vec<_> = blocks.filter(|block| block.language == "nginx").collect();
    assert_eq!(blocks.len(), 1, "{blocks:?}");
    let location = place.own(&blocks[0].text);
    assert_eq!(ask(&Proxy::start(&location), &place), ("202".to_owned(), "events".to_owned()));
    let lines: Vec<_> =
        location.lines().filter(|line| line.contains(" proxy_") && !line.contains("proxy_pass")).collect();
    assert_eq!(lines.len(), 4, "{location}");
    for needed in lines {
        let rest: String = location.lines().filter(|line| *line != needed).map(|line| format!("{line}\n")).collect();
        let (posted, told) = ask(&Proxy::start(&rest), &place);
        println!("without {}: an order is answered with {posted}, the WebSocket has {told}", needed.trim());
        assert!(posted != "202" || told != "events", "`{needed}` is there for nothing");
    }
}
