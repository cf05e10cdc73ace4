//! The practice agent as a program: answers realtime clients on loopback until it is stopped.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;
use practice_agent::{Api, Keep, Pace, Script, Server};

/// A voice agent with no account and no network, speaking the OpenAI Realtime protocol.
///
/// It greets, listens, and says back what it heard.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Address and port to listen on
    #[arg(long, default_value = "127.0.0.1:9797")]
    listen: String,
    /// Voice of espeak-ng; without that program the agent hums
    #[arg(long, default_value = "en")]
    voice: String,
    /// Say goodbye after this many turns, and hang up if the client declared a tool of that name
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    turns: Option<u32>,
    /// How many times faster than it plays audio is sent
    #[arg(long, default_value_t = 4.0)]
    pace: f64,
    /// Refuse clients that ask for the beta interface, as the vendor does
    #[arg(long)]
    ga_only: bool,
    /// Be a bot for another protocol than OpenAI's
    #[arg(long, value_parser = ["twilio", "raw"], conflicts_with = "ga_only")]
    protocol: Option<String>,
    /// Do not converse: send the caller's audio straight back
    #[arg(long, conflicts_with = "turns")]
    echo: bool,
    /// What is said in streams that are transcribed: a JSON file, {"caller": ["Hello?", …], "operator": […]}
    #[arg(long)]
    words: Option<PathBuf>,
    /// Tell what happens
    #[arg(long)]
    verbose: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut builder = Server::builder()
        .bind(&options.listen)
        .voice(options.voice)
        .turns(options.turns)
        .script(if options.echo { Script::echo() } else { Script::converse() })
        .pace(Pace::Times(options.pace))
        .api(match options.protocol.as_deref() {
            Some("twilio") => Api::Twilio,
            Some(_) => Api::Raw,
            None if options.ga_only => Api::Ga,
            None => Api::Auto,
        })
        .keep(Keep::Nothing);
    if let Some(file) = &options.words {
        let lines = read_words(file).with_context(|| format!("cannot read the words in {}", file.display()))?;
        // A stream's name ends in whom it hears.
        builder = builder.words(move |name| {
            let leg = name.rsplit('-').next().unwrap_or_default();
            lines.get(leg).cloned().unwrap_or_default()
        });
    }
    if options.verbose {
        builder = builder.log(|line| eprintln!("{line}"));
    }
    let server = builder.start().with_context(|| format!("cannot listen on {}", options.listen))?;
    eprintln!("practice-agent listens on {}", server.url());
    eprintln!("speech to text: {}, chat completions: {}", server.soniox_url(), server.chat_url());
    loop {
        std::thread::park();
    }
}

fn read_words(file: &Path) -> anyhow::Result<HashMap<String, Vec<String>>> {
    let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    let legs = json.as_object().context("it is not an object")?;
    let text = |line: &serde_json::Value| line.as_str().map(str::to_owned).context("a line is a text");
    legs.iter()
        .map(|(leg, lines)| {
            let lines =
                lines.as_array().context("lines are a list")?.iter().map(text).collect::<anyhow::Result<_>>()?;
            Ok((leg.clone(), lines))
        })
        .collect()
}
