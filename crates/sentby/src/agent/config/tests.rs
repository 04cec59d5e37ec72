use super::*;
use crate::fixture::Scratch;

fn loaded(file: &str, arguments: &[&str]) -> Result<ArgMatches> {
    let scratch = Scratch::new();
    scratch.write("agent.toml", file.as_bytes());
    let path = scratch.path("agent.toml").display().to_string();
    let line = ["sentby", "agent", "--config", &path].into_iter().chain(arguments.iter().copied());
    load(&line.map(OsString::from).collect::<Vec<_>>())
}

/// What is said about a file, without where the file is.
fn refused(file: &str) -> String {
    let error = loaded(file, &[]).expect_err("it is wrong");
    assert!(error.is::<UsageError>(), "{error:#}");
    let text = format!("{error:#}");
    assert_eq!(text.lines().count(), 1, "{text}");
    text.split_once("agent.toml:").map(|(_, rest)| rest.to_owned()).unwrap_or(text)
}

fn texts(matches: &ArgMatches, id: &str) -> Vec<String> {
    matches.get_many::<String>(id).unwrap_or_default().cloned().collect()
}

#[test]
fn keys_are_options_and_the_command_line_goes_before_them() {
    let file = "buffer-size = \"8M\"\ncomm = [\"curl\", \"!wget\"]\nkernel = true\nquiet = false\n";
    let matches = loaded(file, &[]).unwrap();
    assert_eq!(matches.get_one::<usize>("buffer_size"), Some(&(8 << 20)));
    assert_eq!(texts(&matches, "comm"), ["curl", "!wget"]);
    assert!(matches.get_flag("kernel") && !matches.get_flag("quiet"));
    let matches = loaded(file, &["--comm", "ping"]).unwrap();
    assert_eq!(texts(&matches, "comm"), ["ping"]);
    assert_eq!(matches.get_one::<usize>("buffer_size"), Some(&(8 << 20)));
}

#[test]
fn words_on_the_command_line_stand_for_those_of_the_file() {
    let file = "trace = \"icmp port 53\"\n";
    let words = |arguments: &[&str]| {
        let matches = loaded(file, arguments).unwrap();
        <AgentArgs as clap::FromArgMatches>::from_arg_matches(&matches).unwrap().all_words()
    };
    assert_eq!(words(&[]), ["icmp", "port", "53"]);
    assert_eq!(words(&["http"]), ["http"]);
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let unknown = refused("kernel = true\n\nbufer-size = \"8M\"\n");
    assert_eq!(unknown, "3: unknown key \"bufer-size\"; `sentby agent --help` lists them");
    let value = refused("kernel = true\nbuffer-size = \"8T\"\n");
    assert!(value.starts_with("2: invalid value '8T' for '--buffer-size <SIZE>'"), "{value}");
    let kind = refused("comm = 1.5\n");
    assert_eq!(kind, "1: comm: give a text, a number, true, or a list of texts");
    assert!(refused("[output]\njson = \"-\"\n").starts_with("1: output: give"));
    assert!(refused("\nkernel = maybe\n").starts_with("2: "), "{}", refused("\nkernel = maybe\n"));
    assert!(refused("config = \"x\"\n").starts_with("1: unknown key \"config\""));
    assert!(refused("kernel = true\nkernel = true\n").starts_with("2: duplicate key"));
    // What needs something else says so once all is known.
    assert!(refused("children = true\n").contains("--pid"));
    assert!(loaded("children = true\npid = 1\n", &[]).is_ok());
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let arguments = ["sentby", "agent", "--config", "/nowhere/agent.toml"];
    let error = load(&arguments.map(OsString::from)).expect_err("there is none");
    assert!(format!("{error:#}").starts_with("reading /nowhere/agent.toml: No such file"));
}

#[test]
fn every_option_has_a_variable_of_its_own() {
    let command = cli::command().mut_subcommand(NAME, with_env);
    let agent = command.find_subcommand(NAME).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for arg in agent.get_arguments().filter(|a| a.get_long().is_some_and(|l| l != "help")) {
        let name = arg.get_env().unwrap_or_else(|| panic!("{} has none", arg.get_id()));
        assert!(seen.insert(name.to_owned()), "{name:?} twice");
    }
    command.debug_assert();
}
