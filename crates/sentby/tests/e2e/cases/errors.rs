//! What cannot be done is said in one clear line, with the exit code for it.

use crate::ctx::{Case, Ctx, Hooks};
use crate::proc::Cmd;
use anyhow::{Result, ensure};
use std::ffi::OsString;

pub const CASES: &[Case] = &[
    Case::new("not_root", not_root).hooks(Hooks::Auto).tools(&["setpriv"]),
    Case::new("missing_capability", missing_capability).hooks(Hooks::Auto).tools(&["setpriv"]),
    Case::new("unknown_interface", unknown_interface).hooks(Hooks::Auto),
    Case::new("no_btf", no_btf).hooks(Hooks::Auto),
    Case::new("unusable_hook", unusable_hook).hooks(Hooks::Auto).sees(&[]),
    Case::new("wrong_usage", wrong_usage).hooks(Hooks::Auto).sees(&[]),
    Case::new("help_and_version", help_and_version).hooks(Hooks::Auto).sees(&[]),
];

/// Runs sentby to its end and wants this exit code, nothing on stdout, and `words` on
/// stderr: for 1 in one line, for 2 however the usage is explained.
fn refuses(ctx: &Ctx, what: &str, cmd: Cmd, codes: &[i32], words: &[&str]) -> Result<()> {
    let done = cmd.spawn()?.wait(ctx.secs(20))?;
    let errors = done.errors();
    let code = done.status.code().unwrap_or(-1);
    ensure!(codes.contains(&code), "{what}: {}, not {codes:?}: {errors}", done.status);
    ensure!(done.stdout.is_empty(), "{what}: stdout says {:?}", done.text());
    ensure!(!errors.contains("panicked"), "{what}: {errors}");
    let lines = errors.lines().filter(|l| !l.trim().is_empty()).count();
    ensure!(code != 1 || lines == 1, "{what}: {lines} lines: {errors}");
    ensure!(lines >= 1, "{what}: nothing on stderr");
    for word in words {
        let said = errors.to_lowercase().contains(&word.to_lowercase());
        ensure!(said, "{what}: {word:?} is not in {errors:?}");
    }
    Ok(())
}

fn sentby(ctx: &Ctx, args: &[&str]) -> Cmd {
    ctx.program(&ctx.env.bin).arg0("sentby").args(args)
}

/// A copy that other users can reach, and a command to run it with `setpriv`.
fn through_setpriv(ctx: &Ctx, options: &[&str]) -> Result<Cmd> {
    let copy = ctx.dir().join("sentby");
    if !copy.exists() {
        std::fs::copy(&ctx.env.bin, &copy)?;
    }
    let rest = [OsString::from(&copy), "icmp".into(), "--json".into()];
    Ok(ctx.tool("setpriv")?.args(options).args(rest))
}

fn not_root(ctx: &Ctx) -> Result<()> {
    let cmd = through_setpriv(ctx, &["--reuid=65534", "--regid=65534", "--clear-groups"])?;
    refuses(ctx, "not root", cmd, &[1], &["root"])
}

/// Root in name only, as in many a container.
fn missing_capability(ctx: &Ctx) -> Result<()> {
    let cmd = through_setpriv(ctx, &["--bounding-set=-all", "--inh-caps=-all"])?;
    refuses(ctx, "no capabilities", cmd, &[1], &["cap_"])?;
    let some = "--bounding-set=-sys_admin,-bpf,-perfmon,-net_raw";
    let cmd = through_setpriv(ctx, &[some, "--inh-caps=-all"])?;
    refuses(ctx, "no CAP_BPF", cmd, &[1], &["cap_"])
}

fn unknown_interface(ctx: &Ctx) -> Result<()> {
    let cmd = sentby(ctx, &["icmp", "--iface", "nosuch0"]);
    refuses(ctx, "unknown interface", cmd, &[1, 2], &["nosuch0"])
}

fn no_btf(ctx: &Ctx) -> Result<()> {
    let cmd = sentby(ctx, &["icmp", "--btf", "/nonexistent/btf"]);
    refuses(ctx, "no BTF", cmd, &[1], &["/nonexistent/btf"])?;
    let junk = ctx.dir().join("junk");
    std::fs::write(&junk, b"this is no BTF")?;
    let junk = junk.display().to_string();
    refuses(ctx, "junk BTF", sentby(ctx, &["icmp", "--btf", &junk]), &[1], &[&junk])
}

/// A hook asked for by name is never replaced silently.
fn unusable_hook(ctx: &Ctx) -> Result<()> {
    let doctor = &ctx.env.doctor;
    let unusable: Vec<&str> = doctor
        .hooks()
        .filter(|h| !doctor.usable().any(|u| u.name == h.name))
        .map(|h| h.name.as_str())
        .collect();
    if unusable.is_empty() {
        return Err(crate::ctx::skip("every hook can be used here"));
    }
    for name in unusable {
        refuses(ctx, name, sentby(ctx, &["icmp", "--hook", name]), &[1], &[name])?;
    }
    Ok(())
}

fn wrong_usage(ctx: &Ctx) -> Result<()> {
    let mut wrong = Vec::new();
    for (args, word) in [
        (&["icmp", "--dst", "300.1.2.3"][..], "300.1.2.3"),
        (&["icmp", "--dst", "192.0.2.0/33"], "192.0.2.0/33"),
        (&["icmp", "--src", "2001:db8::/129"], "2001:db8::/129"),
        (&["icmp", "--src", "!"], "--src"),
        (&["icmp", "--src", ""], "--src"),
        (&["icmp", "--hook", "nosuchhook"], "nosuchhook"),
        (&["icmp", "--hook", ""], "--hook"),
        (&["icmp", "--backend", "nosuchbackend"], "nosuchbackend"),
        (&["icmp", "--for", "soon"], "soon"),
        (&["icmp", "--for", "-1s"], "-1"),
        (&["icmp", "-c", "0x"], "0x"),
        (&["icmp", "-c", "-1"], "-1"),
        (&["icmp", "--pid", "abc"], "abc"),
        (&["icmp", "--pid", "99999999999"], "99999999999"),
        (&["icmp", "--buffer-size", "many"], "many"),
        (&["icmp", "--color", "sometimes"], "sometimes"),
        (&["icmp", "--children"], "--children"),
        (&["icmp", "--no-such-option"], "--no-such-option"),
        (&["nosuchprotocol"], "nosuchprotocol"),
        (&[], "usage"),
    ] {
        let what = args.join(" ");
        if let Err(e) = refuses(ctx, &what, sentby(ctx, args), &[2], &[word]) {
            wrong.push(e.to_string());
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn help_and_version(ctx: &Ctx) -> Result<()> {
    for args in [&["--help"][..], &["icmp", "--help"], &["--version"], &["doctor", "--help"]] {
        let done = sentby(ctx, args).run(ctx.secs(10))?;
        ensure!(!done.stdout.is_empty() && done.stderr.is_empty(), "{args:?}");
    }
    Ok(())
}
