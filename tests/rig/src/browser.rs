//! A real browser, headless, for the operator page.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{checkout, mortal};

/// Chromium with any number of pages, each as in a browser of its own.
pub struct Browser {
    process: Child,
    talk: Mutex<Talk>,
}

/// Orders and answers, each a line of JSON.
struct Talk {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Talk {
    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line).with_context(|| format!("it says: {line:?}"))?;
        match answer["problem"].as_str() {
            Some(problem) => bail!("{problem}"),
            None => Ok(answer["value"].clone()),
        }
    }
}

/// What a page is shown on.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// [px]
    pub width: u32,
    /// [px]
    pub height: u32,
    /// The system's colours are dark.
    pub dark: bool,
    /// The user's language, for example `ru-RU`.
    pub language: &'static str,
}

impl Default for Screen {
    fn default() -> Self {
        Self { width: 1280, height: 800, dark: false, language: "en-US" }
    }
}

impl Browser {
    /// Starts Chromium.
    ///
    /// # Errors
    /// When it, or the packages of `tests/page`, are not installed.
    pub fn start() -> Result<Self> {
        let python = checkout().join("target/page/venv/bin/python");
        ensure!(python.exists(), "there is no {}; `tests/venv.sh page` makes it", python.display());
        let mut command = mortal::command(&python.to_string_lossy());
        command.arg(checkout().join("tests/page/browser.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = mortal::spawn(command)?;
        let (Some(orders), Some(answers)) = (process.stdin.take(), process.stdout.take()) else { bail!("no pipes") };
        let mut talk = Talk { orders, answers: BufReader::new(answers) };
        talk.answer().context("Chromium does not start")?;
        Ok(Self { process, talk: Mutex::new(talk) })
    }

    /// A new page at `url`, with nothing remembered.
    ///
    /// # Errors
    /// When there is nothing at `url`.
    pub fn open(&self, name: &str, url: &str, screen: Screen) -> Result<Page<'_>> {
        let scheme = if screen.dark { "dark" } else { "light" };
        let Screen { width, height, language, .. } = screen;
        let order = json!({"do": "open", "page": name, "width": width, "height": height, "scheme": scheme,
            "language": language});
        self.order(&order)?;
        let page = Page { browser: self, name: name.to_owned() };
        page.go(url)?;
        Ok(page)
    }

    fn order(&self, order: &Value) -> Result<Value> {
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(talk.orders, "{order}")?;
        talk.answer().with_context(|| format!("in the browser: {order}"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A page of a [`Browser`].
pub struct Page<'a> {
    browser: &'a Browser,
    name: String,
}

impl Page<'_> {
    fn order(&self, what: &str, with: Value) -> Result<Value> {
        let mut order = json!({"do": what, "page": self.name});
        if let (Some(order), Value::Object(with)) = (order.as_object_mut(), with) {
            order.extend(with);
        }
        self.browser.order(&order)
    }

    /// Goes to `url`.
    ///
    /// # Errors
    /// When there is nothing.
    pub fn go(&self, url: &str) -> Result<()> {
        self.order("go", json!({"url": url})).map(drop)
    }

    /// What `script` gives, an expression of JavaScript.
    ///
    /// # Errors
    /// When it throws.
    pub fn evaluate(&self, script: &str) -> Result<Value> {
        self.order("evaluate", json!({"script": script}))
    }

    /// Waits until `script` is true; answers when that was noticed.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn wait(&self, script: &str, timeout: Duration) -> Result<SystemTime> {
        let at = self.order("wait", json!({"script": script, "timeout_ms": timeout.as_millis() as u64}))?;
        Ok(UNIX_EPOCH + Duration::from_secs_f64(at.as_f64().unwrap_or_default() / 1000.0))
    }

    /// Types `text` into the field at `selector`, in the place of what is in it.
    ///
    /// # Errors
    /// When there is none.
    pub fn fill(&self, selector: &str, text: &str) -> Result<()> {
        self.order("fill", json!({"selector": selector, "text": text})).map(drop)
    }

    /// Clicks what is at `selector`.
    ///
    /// # Errors
    /// When there is nothing that can be seen.
    pub fn click(&self, selector: &str) -> Result<()> {
        self.order("click", json!({"selector": selector})).map(drop)
    }

    /// Presses a key, for example `j` or `ArrowDown`.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn press(&self, key: &str) -> Result<()> {
        self.order("press", json!({"key": key})).map(drop)
    }

    /// Takes the network away from the page, or gives it back. Connections that are open stay so.
    ///
    /// # Errors
    /// When the page is gone.
    pub fn set_offline(&self, is_offline: bool) -> Result<()> {
        self.order("offline", json!({"is_offline": is_offline})).map(drop)
    }

    /// Writes a picture of it, PNG, to `file`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn shoot(&self, file: &Path) -> Result<()> {
        self.order("shoot", json!({"file": file.to_string_lossy()})).map(drop)
    }

    /// What axe finds that keeps people from using it: `{id, impact, where, why}` each.
    ///
    /// # Errors
    /// When axe does not run.
    pub fn check(&self) -> Result<Vec<Value>> {
        Ok(self.order("check", json!({}))?.as_array().cloned().unwrap_or_default())
    }

    /// Errors in its console, exceptions and dialogs since this was last asked.
    ///
    /// # Errors
    /// When the page is gone.
    pub fn wrong(&self) -> Result<Vec<String>> {
        let told = self.order("wrong", json!({}))?;
        Ok(told.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        let _ = self.order("close", json!({}));
    }
}
