//! `sentby generate`: man pages and completions, out of the grammar itself.

use crate::cli;
use anyhow::{Context, Result};
use clap_complete::Shell;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What is made.
#[derive(clap::Subcommand, Debug)]
pub enum Generate {
    /// A page for sentby and one for each of its commands, into a folder
    Man {
        /// The folder; it is made if it is not there
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// What a shell completes, on stdout
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
}

/// Makes it.
pub fn run(what: &Generate) -> Result<()> {
    match what {
        Generate::Man { folder } => {
            man(folder).with_context(|| format!("writing man pages to {}", folder.display()))
        }
        Generate::Completions { shell } => completions(*shell).context("writing completions"),
    }
}

fn man(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(cli::command(), folder)?;
    Ok(())
}

fn completions(shell: Shell) -> io::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "sentby", &mut text);
    io::stdout().write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Scratch;
    use wire::PROTOCOLS;

    #[test]
    fn each_command_has_a_page_that_says_what_it_does() {
        let dir = Scratch::new();
        man(&dir.path("man1")).unwrap();
        let page = |name: &str| fs::read_to_string(dir.path(&format!("man1/{name}.1"))).unwrap();
        let whole = page("sentby");
        for protocol in PROTOCOLS {
            assert!(whole.contains(&format!("sentby\\-{}(1)", protocol.name())), "{whole}");
            assert!(page(&format!("sentby-{}", protocol.name())).contains("\\-\\-json"));
        }
        assert!(!whole.contains("launch") && !whole.contains("generate"), "{whole}");
    }

    #[test]
    fn shells_know_the_protocols() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut cli::command(), "sentby", &mut text);
            let text = String::from_utf8(text).unwrap();
            assert!(PROTOCOLS.iter().all(|p| text.contains(p.name())), "{shell}");
        }
    }
}
