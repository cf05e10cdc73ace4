//! The settings of what looks at calls from outside: HTTP, webhooks, call log.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ai_dialect::Secret;

use super::keys::{self, number, set};
use super::{General, RawSection, SettingsError};

/// Fewer characters can be guessed. [characters]
const SECRET_MIN: usize = 16;

/// The control API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Where it listens; `None`: nowhere.
    pub bind: Option<SocketAddr>,
    /// What a client has to know; empty: nothing.
    pub token: Secret,
    /// Web pages that may use it, as `https://host[:port]`.
    pub cors_origins: Vec<String>,
    /// Largest request. [bytes]
    pub body_max: usize,
    /// Longest a request may take.
    pub timeout: Duration,
    /// Most requests at a time.
    pub requests_max: usize,
    /// Most requests a second; 0: no limit.
    pub rate_max: u32,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            bind: None,
            token: Secret::default(),
            cors_origins: Vec::new(),
            body_max: 64 << 10,
            timeout: Duration::from_secs(10),
            requests_max: 64,
            rate_max: 100,
        }
    }
}

/// The call log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// The file, as it stands in the configuration; `None`: there is none.
    pub database: Option<PathBuf>,
    /// Calls that began longer ago are forgotten; zero: none.
    pub retention: Duration,
}

/// Whom to tell of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Webhooks {
    /// Addresses.
    pub urls: Vec<String>,
    /// What the messages are signed with.
    pub secret: Secret,
}

impl Webhooks {
    /// Adds an address.
    pub(super) fn add(&mut self, value: &str) -> Result<(), String> {
        let host = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://")).unwrap_or_default();
        let usable = !host.is_empty() && !host.starts_with('/') && value.parse::<hyper::Uri>().is_ok();
        if !usable {
            // Not repeated: there may be a key in it.
            return Err("expected an http:// or https:// address".to_owned());
        }
        self.urls.push(value.to_owned());
        Ok(())
    }

    /// What is missing, if anything is.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.urls.is_empty() || !self.secret.is_empty() {
            return Ok(());
        }
        Err(("webhook", "webhook: needs a webhook_secret, which the messages are signed with".to_owned()))
    }
}

impl General {
    /// Tells what does not go together.
    pub(super) fn check(&self, section: &RawSection, errors: &mut Vec<SettingsError>) {
        for (key, problem) in [self.check_bind(), self.webhooks.check()].into_iter().filter_map(Result::err) {
            errors.push(keys::at(section, key, problem));
        }
    }

    fn check_bind(&self) -> Result<(), (&'static str, String)> {
        match self.http.bind {
            Some(address) if !address.ip().is_loopback() && self.http.token.is_empty() => {
                let problem =
                    format!("http_bind: {address} can be reached from other machines, so it takes an http_token");
                Err(("http_bind", problem))
            }
            _ => Ok(()),
        }
    }
}

/// Keys of `[general]` that are about HTTP, webhooks, the call log and recordings.
pub(super) const KEYS: &[keys::Key<General>] = &[
    ("http_bind", |general, value| set(&mut general.http.bind, address(value))),
    ("http_token", |general, value| set(&mut general.http.token, secret(value))),
    ("http_cors_origin", |general, value| {
        general.http.cors_origins.push(web_origin(value)?);
        Ok(())
    }),
    ("http_body_max", |general, value| set(&mut general.http.body_max, number(value, 1024, 1 << 20))),
    ("http_timeout_s", |general, value| set(&mut general.http.timeout, number(value, 1, 60).map(Duration::from_secs))),
    ("http_requests_max", |general, value| set(&mut general.http.requests_max, number(value, 1, 1000))),
    ("http_rate_max", |general, value| set(&mut general.http.rate_max, number(value, 0, 100_000))),
    ("webhook", |general, value| general.webhooks.add(value)),
    ("webhook_secret", |general, value| set(&mut general.webhooks.secret, secret(value))),
    ("database", |general, value| {
        general.log.database = (!keys::off(value)).then(|| value.into());
        Ok(())
    }),
    ("recordings", |general, value| {
        general.recordings = (!keys::off(value)).then(|| value.into());
        Ok(())
    }),
    ("log_retention_days", |general, value| {
        let days = number(value, 0, 36_500).map(|days: u64| Duration::from_secs(days * 86_400));
        set(&mut general.log.retention, days)
    }),
];

fn address(value: &str) -> Result<Option<SocketAddr>, String> {
    if keys::off(value) {
        return Ok(None);
    }
    value.parse().map(Some).map_err(|_| format!("'{value}' is neither 'no' nor an address like 127.0.0.1:9000"))
}

/// A secret that can stand in a header.
pub(super) fn secret(value: &str) -> Result<Secret, String> {
    if value.len() < SECRET_MIN || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("expected at least {SECRET_MIN} characters of ASCII without blanks"));
    }
    Ok(Secret::new(value))
}

fn web_origin(value: &str) -> Result<String, String> {
    let host = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://")).unwrap_or_default();
    if host.is_empty() || host.contains(['/', '*', ' ', '?', '#', '@']) || !host.is_ascii() {
        return Err(format!("'{value}' is not an origin like https://desk.example.com"));
    }
    Ok(value.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_loopback_or_has_a_token() {
        let general = |bind: &str, token: &str| {
            let mut general = General::default();
            general.http.bind = address(bind).expect("an address");
            general.http.token = Secret::new(token);
            general.check_bind()
        };
        assert!(general("127.0.0.1:9000", "").is_ok());
        assert!(general("[::1]:9000", "").is_ok());
        assert!(general("no", "").is_ok());
        assert!(general("0.0.0.0:9000", "0123456789abcdef").is_ok());
        for bind in ["0.0.0.0:9000", "192.0.2.1:9000", "[::]:9000"] {
            assert!(general(bind, "").expect_err(bind).1.contains("takes an http_token"), "{bind}");
        }
    }

    #[test]
    fn values_are_what_they_must_be() {
        assert!(address("9000").is_err() && address("localhost:9000").is_err());
        assert!(secret("too short").is_err() && secret("sixteen letters and blanks").is_err());
        assert!(!format!("{:?}", secret("shortsecret")).contains("shortsecret"));
        assert_eq!(web_origin("https://Desk.example.com:8443"), Ok("https://desk.example.com:8443".to_owned()));
        for wrong in ["*", "desk.example.com", "https://desk.example.com/", "https://*.example.com"] {
            assert!(web_origin(wrong).is_err(), "{wrong}");
        }
        let mut webhooks = Webhooks::default();
        for wrong in ["ftp://h/", "https://", "https:///x", "h"] {
            assert!(webhooks.add(wrong).is_err(), "{wrong}");
        }
        assert!(webhooks.add("https://example.com/hook?key=1").is_ok());
        assert_eq!(webhooks.check().expect_err("no secret").0, "webhook");
    }
}
