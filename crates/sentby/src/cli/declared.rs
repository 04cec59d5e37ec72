//! Options that protocols declare: switches, and filters over their fields.

use crate::asked::Asked;
use crate::filter::FieldArg;
use clap::{Arg, ArgAction, ArgMatches, Command};
use wire::{FieldFilter, PROTOCOLS, Protocol, Switch, Switches};

/// Adds what the protocols declare. Help is about one of them, or with `all` about each.
pub fn with_protocols(mut command: Command, name: &'static str) -> Command {
    for (switch, owners) in switches() {
        // Others can be named as well, so that all are taken; but help is about this one.
        let own = name == "all" || owners.contains(&name);
        let help = match owners.as_slice() {
            [only] if *only == name => switch.doc.to_owned(),
            _ => format!("{} ({})", switch.doc, owners.join(", ")),
        };
        command = command.arg(
            Arg::new(switch.name)
                .long(switch.name)
                .action(ArgAction::SetTrue)
                .hide(!own)
                .help(help)
                .help_heading("Protocols"),
        );
    }
    for (option, owners) in filters() {
        let own = owners.iter().any(|(owner, _)| name == "all" || *owner == name);
        command = command.arg(
            Arg::new(option)
                .long(option)
                .action(ArgAction::Append)
                .hide(!own)
                .value_name(owners[0].1.value)
                .help(filter_help(name, &owners))
                .help_heading("Fields (as above: often, and '!VALUE' excludes)"),
        );
    }
    command
}

/// An option over fields and the protocols that have it, each with what it means there.
type Filters = (&'static str, Vec<(&'static str, &'static FieldFilter)>);

fn filters() -> Vec<Filters> {
    let mut all: Vec<Filters> = Vec::new();
    for protocol in PROTOCOLS {
        for filter in protocol.filters() {
            let own = (protocol.name(), filter);
            match all.iter_mut().find(|(known, _)| *known == filter.name) {
                Some((_, owners)) => owners.push(own),
                None => all.push((filter.name, vec![own])),
            }
        }
    }
    all
}

/// What an option means to the protocol that the help is about; if that has none or
/// help is about all, to every one.
fn filter_help(name: &str, owners: &[(&str, &'static FieldFilter)]) -> String {
    match owners.iter().find(|(owner, _)| *owner == name) {
        Some((_, filter)) => filter.doc.to_owned(),
        None => {
            let each = owners.iter().map(|(owner, filter)| format!("{} ({owner})", filter.doc));
            each.collect::<Vec<_>>().join("; ")
        }
    }
}

/// What was given to options over fields.
pub fn field_args(asked: &[Asked], matches: &ArgMatches) -> Vec<FieldArg> {
    let given = |(name, owners): Filters| {
        let values: Vec<String> = matches.get_many(name)?.cloned().collect();
        let has = |a: &&Asked| owners.iter().any(|(owner, _)| *owner == a.protocol.name());
        Some(FieldArg { name, values, of: asked.iter().filter(has).copied().collect() })
    };
    filters().into_iter().filter_map(given).collect()
}

/// Every switch by name, with the protocols that have it.
fn switches() -> Vec<(&'static Switch, Vec<&'static str>)> {
    let mut all: Vec<(&'static Switch, Vec<&'static str>)> = Vec::new();
    for protocol in PROTOCOLS {
        for switch in protocol.switches() {
            match all.iter_mut().find(|(known, _)| known.name == switch.name) {
                Some((_, owners)) => owners.push(protocol.name()),
                None => all.push((switch, vec![protocol.name()])),
            }
        }
    }
    all
}

pub fn switched_on(protocol: &dyn Protocol, matches: &ArgMatches) -> Switches {
    let names = protocol.switches().iter().map(|s| s.name).enumerate();
    let on = names.filter(|(_, name)| matches.get_flag(name));
    on.fold(Switches::OFF, |on, (position, _)| on.with(position))
}
