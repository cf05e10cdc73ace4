//! One running Asterisk: built from `asterisk-conf/`, in a directory and on ports of its own.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::config::{Change, Config};
use crate::ports::PortBlock;
use crate::wait::poll_for;
use crate::{Ports, checkout, mortal};

/// Longest a start, a stop or a CLI command may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Lines of a log shown in an error.
const TAIL_LINES: usize = 25;

/// What the next [`Rig`] will be.
#[derive(Default)]
pub struct Builder {
    changes: Vec<Change>,
    environment: Vec<(String, String)>,
    module: Option<PathBuf>,
    ports: Option<Ports>,
}

impl Builder {
    /// Puts `text` in the place of a configuration file; any other file name is added to the folder.
    pub fn config(mut self, file: &str, text: impl Into<String>) -> Self {
        self.changes.push(Change::Replace { file: file.into(), text: text.into() });
        self
    }

    /// Adds `text` at the end of a configuration file.
    pub fn append(mut self, file: &str, text: impl Into<String>) -> Self {
        self.changes.push(Change::Append { file: file.into(), text: text.into() });
        self
    }

    /// Replaces `from` by `to` in a configuration file. The start fails when `from` is not there.
    pub fn edit(mut self, file: &str, from: &str, to: &str) -> Self {
        self.changes.push(Change::Edit { file: file.into(), from: from.into(), to: to.into() });
        self
    }

    /// Switches AMI on, for users with these names and classes to read and to write.
    pub fn ami(self, users: &[(&str, &str, &str)]) -> Self {
        let user = |(name, read, write): &(&str, &str, &str)| {
            format!("[{name}]\nsecret = {}\nread = {read}\nwrite = {write}\n", crate::ami::SECRET)
        };
        let users: String = users.iter().map(user).collect();
        self.edit("manager.conf", "enabled = no", "enabled = yes").append("manager.conf", users)
    }

    /// Leaves the module under test out: a plain Asterisk.
    pub fn without_bridge(self) -> Self {
        self.edit("modules.conf", "load = res_ai_bridge.so", "")
    }

    /// Sets a variable in Asterisk's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The module to load, in the place of `$RES_AI_BRIDGE_SO` or `target/release/libres_ai_bridge.so`.
    pub fn module(mut self, path: impl Into<PathBuf>) -> Self {
        self.module = Some(path.into());
        self
    }

    /// Listens on these ports, in the place of a free block on loopback.
    pub fn ports(mut self, ports: Ports) -> Self {
        self.ports = Some(ports);
        self
    }

    /// Starts Asterisk and waits until it has booted fully.
    ///
    /// # Errors
    /// When the machine is not set up, the configuration cannot be built, or Asterisk ends while it starts; the
    /// message then ends with its log.
    pub fn start(self) -> Result<Rig> {
        Rig::start(self)
    }
}

/// One running Asterisk. Dropping it kills Asterisk and removes its directory; after a failed test, or with
/// `RIG_KEEP=1`, the directory with the logs stays in `target/rig/`.
pub struct Rig {
    process: Child,
    directory: PathBuf,
    /// The directory as Asterisk sees it.
    inside: String,
    ports: Ports,
    _block: Option<PortBlock>,
}

impl Rig {
    /// A rig with the configuration of `asterisk-conf/`, ready to be changed.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn start(builder: Builder) -> Result<Self> {
        let block = if builder.ports.is_none() { Some(PortBlock::claim()?) } else { None };
        let ports = builder.ports.as_ref().or(block.as_ref().map(|block| &block.ports)).context("no ports")?.clone();
        ports.check_free()?;
        let root = asterisk_root()?;
        let directory = new_directory()?;
        let inside = if root == Path::new("/") { directory.display().to_string() } else { "/mnt".into() };
        prepare(&builder, &ports, &root, &directory, &inside)?;
        let process = launch(&builder, &root, &directory, &inside)?;
        let mut rig = Self { process, directory, inside, ports, _block: block };
        rig.wait_booted()?;
        Ok(rig)
    }

    /// Runs an Asterisk CLI command and gives what it prints.
    ///
    /// # Errors
    /// When Asterisk does not listen or does not finish the command within 30 s.
    pub fn cli(&self, command: &str) -> Result<String> {
        let answer = (|| {
            let mut console = UnixStream::connect(self.visible_path("run/asterisk.ctl"))?;
            console.set_read_timeout(Some(PATIENCE))?;
            // What `asterisk -rx` sends; the server closes the connection after the command.
            console.write_all(format!("cli quit after {command}\0").as_bytes())?;
            let mut answer = Vec::new();
            console.read_to_end(&mut answer)?;
            std::io::Result::Ok(answer)
        })();
        let answer = answer.with_context(|| format!("Asterisk did not answer the command `{command}`"))?;
        let answer = String::from_utf8_lossy(&answer);
        // The first line greets with host name, process and version.
        Ok(answer.split_once('\n').map_or("", |(_, printed)| printed).to_owned())
    }

    /// Asterisk's whole log so far: notices, warnings, errors and verbose messages up to level 5.
    pub fn log(&self) -> String {
        self.read_log("full")
    }

    /// Waits until the log has a line containing `text`, and gives the first such line.
    ///
    /// # Errors
    /// When there is none within `timeout`; the message ends with the log.
    pub fn wait_log(&self, text: &str, timeout: Duration) -> Result<String> {
        let found = || self.log().lines().find(|line| line.contains(text)).map(str::to_owned);
        poll_for(timeout, found).with_context(|| self.with_log(&format!("no log line with `{text}` after {timeout:?}")))
    }

    /// Waits until no channel is left.
    ///
    /// # Errors
    /// When there still is one after `timeout`; the message names it.
    pub fn wait_no_channels(&self, timeout: Duration) -> Result<()> {
        let list = || self.cli("core show channels concise");
        let quiet = poll_for(timeout, || list().ok().filter(|channels| channels.trim().is_empty()));
        quiet.map(|_| ()).with_context(|| format!("channels left after {timeout:?}:\n{}", list().unwrap_or_default()))
    }

    /// Process id of Asterisk itself.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What Asterisk holds at this moment.
    ///
    /// # Errors
    /// When Asterisk is gone.
    pub fn figures(&self) -> Result<ProcessFigures> {
        ProcessFigures::of(self.pid()).with_context(|| self.with_log("Asterisk is gone"))
    }

    /// Whether Asterisk is still running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Where Asterisk takes SIP calls.
    pub fn sip_addr(&self) -> SocketAddr {
        let address = if self.ports.address.is_unspecified() { [127, 0, 0, 1].into() } else { self.ports.address };
        (address, self.ports.sip).into()
    }

    /// The ports of this rig.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// The directory of this rig: `etc/`, `log/`, `lib/`, `spool/`, `run/`, `modules/`, `data/`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A path in that directory as Asterisk sees it, for use in dialplan and configuration.
    pub fn path_inside(&self, path: &str) -> String {
        format!("{}/{path}", self.inside)
    }

    /// Writes a file of the configuration folder, for a reload.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_config(&self, file: &str, text: &str) -> Result<()> {
        fs::write(self.directory.join("etc").join(file), text).with_context(|| format!("cannot write {file}"))
    }

    /// Stops Asterisk as an administrator would (`core stop now`), and gives how the process ended.
    ///
    /// # Errors
    /// When it has not ended within 30 s.
    pub fn stop(mut self) -> Result<ExitStatus> {
        // Asterisk may be gone before it has answered.
        let _ = self.cli("core stop now");
        poll_for(PATIENCE, || self.process.try_wait().ok().flatten())
            .with_context(|| self.with_log("Asterisk does not stop"))
    }

    fn wait_booted(&mut self) -> Result<()> {
        let booted = poll_for(PATIENCE, || match self.process.try_wait() {
            Ok(None) => self.cli("core waitfullybooted").ok().map(|_| Ok(())),
            Ok(Some(status)) => Some(Err(anyhow!("Asterisk ended while it started ({status})"))),
            Err(error) => Some(Err(error.into())),
        });
        let booted = booted.unwrap_or_else(|| Err(anyhow!("Asterisk has not booted after {PATIENCE:?}")));
        // What went wrong before there was a log is on the console.
        booted.map_err(|error| {
            anyhow!("{}\nand the console:\n{}", self.with_log(&error.to_string()), tail(&self.read_log("console")))
        })
    }

    fn read_log(&self, file: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.join("log").join(file)).unwrap_or_default()).into_owned()
    }

    fn with_log(&self, problem: &str) -> String {
        format!("{problem}. Asterisk's log ends:\n{}", tail(&self.log()))
    }

    /// A path in the instance directory by way of the process: short enough for a socket address, whatever the
    /// checkout's own path is.
    fn visible_path(&self, path: &str) -> String {
        format!("/proc/{}/root{}", self.pid(), self.path_inside(path))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() || std::env::var_os("RIG_KEEP").is_some() {
            let _ = fs::remove_dir_all(self.directory.join("modules"));
            eprintln!("Asterisk's directory is kept: {}", self.directory.display());
        } else {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// What a process holds; two of them, before and after, show what leaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessFigures {
    /// Threads.
    pub threads: usize,
    /// Open file descriptors.
    pub descriptors: usize,
    /// Resident memory. [KiB]
    pub resident_kib: u64,
}

impl ProcessFigures {
    /// Figures of process `pid`.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let count = |folder: &str| Ok::<_, std::io::Error>(fs::read_dir(format!("/proc/{pid}/{folder}"))?.count());
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        Ok(Self {
            threads: count("task")?,
            descriptors: count("fd")?,
            resident_kib: resident.context("the process has no memory")?,
        })
    }
}

/// The Asterisk that set-up has found or built.
fn asterisk_root() -> Result<PathBuf> {
    if let Some(root) = std::env::var_os("ASTERISK_ROOT") {
        return Ok(root.into());
    }
    let settings = fs::read_to_string(checkout().join("target/rig.env")).unwrap_or_default();
    let root = settings.lines().find_map(|line| line.strip_prefix("ASTERISK_ROOT="));
    // Written for the shell: what is not plain in the path has a backslash before it.
    root.map(|root| root.replace('\\', "").into()).context("this machine is not set up: run `make setup`")
}

fn new_directory() -> Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    remove_stale(&checkout().join("target/rig"));
    let directory = checkout().join(format!("target/rig/{}-{number}", std::process::id()));
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    for folder in ["etc", "lib", "spool", "run", "log", "modules", "data/documentation/thirdparty"] {
        fs::create_dir_all(directory.join(folder)).with_context(|| format!("cannot create {}", directory.display()))?;
    }
    Ok(directory)
}

/// Removes what killed processes have left. A directory kept on purpose has no `modules` any more.
fn remove_stale(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.split('-').next()).unwrap_or_default();
        if !Path::new("/proc").join(owner).exists() && entry.path().join("modules").exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Fills the instance directory.
fn prepare(builder: &Builder, ports: &Ports, root: &Path, directory: &Path, inside: &str) -> Result<()> {
    let mut config = Config::read(&checkout().join("asterisk-conf"))?;
    config.set_directories(inside)?;
    config.set_ports(ports)?;
    config.log_everything()?;
    for change in &builder.changes {
        config.apply(change)?;
    }
    config.write(&directory.join("etc"))?;
    fs::write(directory.join("hosts"), hosts())?;

    if config.loads_bridge() {
        // A copy: the build may replace the original while it is mapped.
        let module = builder.module.clone().unwrap_or_else(module_under_test);
        fs::copy(&module, directory.join("modules/res_ai_bridge.so"))
            .with_context(|| format!("no module at {}: build it first", module.display()))?;
    }
    link_all(root, &modules_folder(root)?, &directory.join("modules"))?;
    link_all(root, Path::new("usr/share/asterisk"), &directory.join("data"))?;
    link_all(root, Path::new("usr/share/asterisk/documentation"), &directory.join("data/documentation"))?;
    let help = checkout().join("res_ai_bridge/res_ai_bridge-en_US.xml");
    if help.exists() {
        fs::copy(&help, directory.join("data/documentation/thirdparty/res_ai_bridge-en_US.xml"))?;
    }
    Ok(())
}

fn module_under_test() -> PathBuf {
    let given = std::env::var_os("RES_AI_BRIDGE_SO").map(PathBuf::from);
    given.unwrap_or_else(|| checkout().join("target/release/libres_ai_bridge.so"))
}

/// Asterisk looks up its own host name and a root server while it sets up a call, and each look-up that nobody
/// answers stalls it for 5 s; so both are answered here.
fn hosts() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = fs::read_to_string("/etc/hosts").unwrap_or_default();
    format!("127.0.0.1 localhost {} a.root-servers.net\n{machine}", name.trim())
}

/// The distribution's module directory, relative to `root`: it lies in a folder named for the architecture.
fn modules_folder(root: &Path) -> Result<PathBuf> {
    let lib = Path::new("usr/lib");
    let folders =
        fs::read_dir(root.join(lib))?.flatten().map(|entry| lib.join(entry.file_name()).join("asterisk/modules"));
    let mut candidates = folders.chain([lib.join("asterisk/modules"), "usr/lib64/asterisk/modules".into()]);
    candidates.find(|folder| root.join(folder).is_dir()).context("the Asterisk root has no modules folder")
}

/// Links every entry of `folder` (below `root`) into `target`, except those `target` has of its own.
fn link_all(root: &Path, folder: &Path, target: &Path) -> Result<()> {
    for entry in fs::read_dir(root.join(folder)).with_context(|| folder.display().to_string())? {
        let name = entry?.file_name();
        let link = target.join(&name);
        if !link.exists() {
            symlink(Path::new("/").join(folder).join(&name), link)?;
        }
    }
    Ok(())
}

fn launch(builder: &Builder, root: &Path, directory: &Path, inside: &str) -> Result<Child> {
    let config = format!("{inside}/etc/asterisk.conf");
    let mut command = if may_mount() {
        let mut command = mortal::command("unshare");
        command.args(["--mount", "--propagation", "private", "--", "sh", "-c", include_str!("launch.sh"), "launch"]);
        command.args([root, directory]).arg(&config);
        command
    } else if root == Path::new("/") {
        // An unprivileged container: its own hosts file has to do.
        let mut command = mortal::command("/usr/sbin/asterisk");
        command.args(["-f", "-n", "-C", &config]);
        command
    } else {
        bail!("starting Asterisk in its own root needs root: run this as root");
    };
    let console = File::create(directory.join("log/console"))?;
    command.envs(builder.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(std::process::Stdio::null()).stdout(console.try_clone()?).stderr(console);
    mortal::spawn(command).context("cannot start Asterisk")
}

fn may_mount() -> bool {
    Command::new("unshare").args(["--mount", "true"]).output().is_ok_and(|output| output.status.success())
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
