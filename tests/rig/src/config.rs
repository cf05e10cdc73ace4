//! The configuration of one Asterisk: `asterisk-conf/` with directories and ports of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::Ports;

/// Configuration files by name.
pub(crate) struct Config {
    files: BTreeMap<String, String>,
}

/// A test's change to the configuration.
pub(crate) enum Change {
    Replace { file: String, text: String },
    Append { file: String, text: String },
    Edit { file: String, from: String, to: String },
}

impl Config {
    /// Reads every file of `folder`.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder).with_context(|| format!("no configuration at {}", folder.display()))? {
            let path = entry?.path();
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            files.insert(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), text);
        }
        Ok(Self { files })
    }

    /// Points every directory below `instance` (as Asterisk sees it). Programs and keys stay where they are.
    pub(crate) fn set_directories(&mut self, instance: &str) -> Result<()> {
        for (key, folder) in [
            ("astetcdir", "etc"),
            ("astmoddir", "modules"),
            ("astvarlibdir", "lib"),
            ("astdbdir", "lib"),
            ("astkeydir", "lib"),
            ("astdatadir", "data"),
            ("astspooldir", "spool"),
            ("astrundir", "run"),
            ("astlogdir", "log"),
        ] {
            self.set("asterisk.conf", key, &format!("{instance}/{folder}"))?;
        }
        self.set("pjsip_tls.conf", "cert_file", &format!("{instance}/etc/tls.crt"))?;
        self.set("pjsip_tls.conf", "priv_key_file", &format!("{instance}/etc/tls.key"))
    }

    /// Has everything logged that is logged at all, what is said in calls included.
    pub(crate) fn log_everything(&mut self) -> Result<()> {
        self.set("logger.conf", "full", "notice,warning,error,verbose(5)")
    }

    /// Puts the ports of this rig where `asterisk-conf/` has the standard ones.
    pub(crate) fn set_ports(&mut self, ports: &Ports) -> Result<()> {
        self.set("pjsip.conf", "bind", &format!("{}:{}", ports.address, ports.sip))?;
        self.set("pjsip_tls.conf", "bind", &format!("{}:{}", ports.address, ports.sips()))?;
        self.set("rtp.conf", "rtpstart", &ports.rtp.start().to_string())?;
        self.set("rtp.conf", "rtpend", &ports.rtp.end().to_string())?;
        self.set("http.conf", "bindport", &ports.http.to_string())?;
        self.set("manager.conf", "port", &ports.manager.to_string())
    }

    /// Makes a test's change.
    ///
    /// # Errors
    /// When there is nothing to append to, or the text to edit is not there.
    pub(crate) fn apply(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::Replace { file, text } => {
                self.files.insert(file.clone(), text.clone());
            }
            Change::Append { file, text } => {
                let file = self.file(file)?;
                file.push('\n');
                file.push_str(text);
            }
            Change::Edit { file, from, to } => {
                let text = self.file(file)?;
                ensure!(text.contains(from), "{file} has no `{from}` to replace");
                *text = text.replace(from, to);
            }
        }
        Ok(())
    }

    /// Whether modules.conf loads the module under test.
    pub(crate) fn loads_bridge(&self) -> bool {
        let modules = self.files.get("modules.conf").map_or("", String::as_str);
        modules.lines().any(|line| matches!(line.split_once('='), Some((key, value))
            if matches!(key.trim(), "load" | "preload" | "require") && value.trim_start_matches('>').trim() == "res_ai_bridge.so"))
    }

    /// Writes all files into `folder`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        for (name, text) in &self.files {
            fs::write(folder.join(name), text).with_context(|| format!("cannot write {name}"))?;
        }
        Ok(())
    }

    /// Sets the one line `key = value` of `file`.
    ///
    /// # Errors
    /// When the line is missing or there are several: the rig would then run on somebody else's port or directory.
    fn set(&mut self, file: &str, key: &str, value: &str) -> Result<()> {
        let text = self.file(file)?;
        let is_the_line = |line: &&str| line.split_once('=').is_some_and(|(name, _)| name.trim() == key);
        let matching = text.lines().filter(is_the_line).count();
        if matching != 1 {
            bail!("asterisk-conf/{file} must have exactly one line `{key} = …`; it has {matching}");
        }
        let replaced = |line| if is_the_line(&line) { format!("{key} = {value}\n") } else { format!("{line}\n") };
        *text = text.lines().map(replaced).collect();
        Ok(())
    }

    fn file(&mut self, name: &str) -> Result<&mut String> {
        self.files.get_mut(name).with_context(|| format!("there is no configuration file {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config { files: BTreeMap::from([("modules.conf".to_owned(), text.to_owned())]) }
    }

    #[test]
    fn a_line_to_rewrite_that_is_missing_or_double_is_an_error() {
        assert!(config("a = 1\n").set("modules.conf", "b", "2").is_err());
        assert!(config("a = 1\na = 2\n").set("modules.conf", "a", "3").is_err());
        let mut one = config("; a = 0\na => 1\nb = 2\n");
        one.set("modules.conf", "a", "3").unwrap();
        assert_eq!(one.files["modules.conf"], "; a = 0\na = 3\nb = 2\n");
    }

    #[test]
    fn the_module_under_test_is_recognised_in_both_spellings() {
        assert!(config("load = res_ai_bridge.so").loads_bridge());
        assert!(config("load => res_ai_bridge.so").loads_bridge());
        assert!(!config(";load = res_ai_bridge.so").loads_bridge());
    }
}
