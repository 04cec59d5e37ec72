//! The agent's settings: the command line, over the environment, over the file.
//!
//! There is one grammar, clap's. A key of the file is an option's long name, so the file is
//! made into options which stand before the user's own; an option that was given on the
//! command line or in the environment leaves the file's out. The same holds at a reload.

use super::args::{AgentArgs, NAME};
use crate::cli;
use crate::filter::UsageError;
use anyhow::{Context, Result};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// The file that is read if it is there.
pub const DEFAULT: &str = "/etc/sentby/agent.toml";

/// Longest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// Options that say where the others come from, or ask for something else.
const NOT_IN_FILE: [&str; 2] = ["config", "help"];

/// Reads everything anew. Errors are one line each.
pub fn load(arguments: &[OsString]) -> Result<ArgMatches> {
    let given = agent(parse(arguments, true).map_err(one_line)?)?;
    let args = <AgentArgs as clap::FromArgMatches>::from_arg_matches(&given).map_err(one_line)?;
    let Some((path, text)) = read(args.config.as_deref())? else { return Ok(given) };
    let options = cli::command();
    let options = options.find_subcommand(NAME).context("the agent's grammar")?;
    let mut of_file = Vec::new();
    for entry in entries(&path, &text)? {
        let arg = entry.option(options)?;
        let source = given.value_source(arg.get_id().as_str());
        let tokens = entry.tokens()?;
        entry.check(&tokens)?;
        if !matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
            of_file.extend(tokens);
        }
    }
    let rest = arguments.iter().skip(2);
    let all = arguments.iter().take(2).cloned().chain(of_file).chain(rest.cloned());
    agent(parse(&all.collect::<Vec<_>>(), true).map_err(one_line)?)
}

fn agent(matches: ArgMatches) -> Result<ArgMatches> {
    let (_, agent) = matches.subcommand().context("not the agent's command line")?;
    Ok(agent.clone())
}

/// Parses a command line, with what the environment says or without.
fn parse(arguments: &[OsString], environment: bool) -> Result<ArgMatches, clap::Error> {
    let command = cli::command();
    let command = if environment { command.mut_subcommand(NAME, with_env) } else { command };
    command.try_get_matches_from(arguments)
}

/// Every option of the agent is a variable as well.
pub fn with_env(command: Command) -> Command {
    command.mut_args(|arg| match arg.get_long() {
        Some(long) if !NOT_IN_FILE[1..].contains(&long) => {
            let name = format!("SENTBY_{}", long.replace('-', "_").to_uppercase());
            let flag = matches!(arg.get_action(), clap::ArgAction::SetTrue);
            let arg = arg.env(name).hide_env(true);
            if flag { arg.value_parser(clap::builder::BoolishValueParser::new()) } else { arg }
        }
        _ => arg,
    })
}

/// clap says more than a line, with the usage and where help is.
pub fn one_line(error: clap::Error) -> anyhow::Error {
    UsageError(first_paragraph(&error)).into()
}

fn first_paragraph(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let lines = text.lines().take_while(|line| !line.is_empty());
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

/// The file's name and text; `None` where nobody named one and there is none.
fn read(named: Option<&Path>) -> Result<Option<(PathBuf, String)>> {
    let path = named.unwrap_or(Path::new(DEFAULT));
    let reading = || format!("reading {}", path.display());
    match fs::metadata(path) {
        Err(e) if named.is_none() && e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(reading),
        Ok(meta) if meta.len() > MAX_FILE => {
            let name = path.display();
            Err(UsageError(format!("{name}: {} bytes are no configuration", meta.len())))?;
        }
        Ok(_) => {}
    }
    Ok(Some((path.to_owned(), fs::read_to_string(path).with_context(reading)?)))
}

/// A key of the file.
#[derive(Debug)]
struct Entry {
    /// Where it stands, for errors: file and line.
    place: String,
    key: String,
    values: Values,
}

#[derive(Debug, PartialEq)]
enum Values {
    Flag(bool),
    Texts(Vec<String>),
}

/// The keys of a file, with where they stand.
fn entries(path: &Path, text: &str) -> Result<Vec<Entry>> {
    let at = |offset: usize| {
        let before = text.get(..offset.min(text.len())).unwrap_or(text);
        format!("{}:{}", path.display(), before.matches('\n').count() + 1)
    };
    let table = DeTable::parse(text).map_err(|e| {
        let place = at(e.span().map_or(0, |span| span.start));
        UsageError(format!("{place}: {}", e.message()))
    })?;
    let mut entries = Vec::new();
    for (key, value) in table.into_inner() {
        let place = at(key.span().start);
        let key = key.into_inner().into_owned();
        let values = match value.into_inner() {
            DeValue::Boolean(on) => Values::Flag(on),
            DeValue::Array(list) => Values::Texts(
                list.into_iter()
                    .map(|one| scalar(one.get_ref(), &key, &place))
                    .collect::<Result<_>>()?,
            ),
            one => Values::Texts(vec![scalar(&one, &key, &place)?]),
        };
        entries.push(Entry { place, key, values });
    }
    entries.sort_by_key(|entry| line(&entry.place));
    Ok(entries)
}

fn line(place: &str) -> usize {
    place.rsplit(':').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn scalar(value: &DeValue<'_>, key: &str, place: &str) -> Result<String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.to_string()),
        _ => {
            let wrong = format!("{place}: {key}: give a text, a number, true, or a list of texts");
            Err(UsageError(wrong).into())
        }
    }
}

impl Entry {
    /// The option of that name.
    fn option<'c>(&self, options: &'c Command) -> Result<&'c Arg> {
        let known = |arg: &&Arg| arg.get_long() == Some(self.key.as_str());
        let arg = options.get_arguments().find(known);
        arg.filter(|_| !NOT_IN_FILE.contains(&self.key.as_str())).ok_or_else(|| {
            let Entry { place, key, .. } = self;
            UsageError(format!("{place}: unknown key {key:?}; `sentby agent --help` lists them"))
                .into()
        })
    }

    /// The option as it would be given.
    fn tokens(&self) -> Result<Vec<OsString>> {
        let key = &self.key;
        Ok(match &self.values {
            Values::Flag(true) => vec![format!("--{key}").into()],
            Values::Flag(false) => Vec::new(),
            Values::Texts(texts) => texts.iter().map(|t| format!("--{key}={t}").into()).collect(),
        })
    }

    /// Whether its values can be meant, whatever else is given.
    fn check(&self, tokens: &[OsString]) -> Result<()> {
        let own = ["sentby".into(), NAME.into()].into_iter().chain(tokens.iter().cloned());
        let Err(error) = parse(&own.collect::<Vec<_>>(), false) else { return Ok(()) };
        // What it needs beside it may be given elsewhere; all together are looked at later.
        if matches!(error.kind(), ErrorKind::MissingRequiredArgument | ErrorKind::ArgumentConflict)
        {
            return Ok(());
        }
        Err(UsageError(format!("{}: {}", self.place, first_paragraph(&error))).into())
    }
}

#[cfg(test)]
mod tests;
