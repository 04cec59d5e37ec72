//! End-to-end tests: real senders, real kernels, every hook that the kernel allows.
//!
//! Each case × each hook is a trial of its own (`cgroup_skb::ping_v4`). Trials run one
//! after the other, since they measure the whole machine, each in network namespaces
//! of its own. Needs root; touches nothing outside its namespaces.
//!
//!     cargo test --release --test e2e [-- FILTER]
//!
//! | variable | meaning |
//! |---|---|
//! | `SENTBY_BIN` | the program under test (else the one cargo has just built) |
//! | `SENTBY_E2E_HOOKS` | comma-separated: only these hooks (also `auto`, `all`); one that cannot be used fails |
//! | `SENTBY_E2E_BACKEND` | a backend's name: it in place of the one that sentby chooses |
//! | `SENTBY_E2E_CASES` | comma-separated: only these cases, by their whole names |
//! | `SENTBY_E2E_SCALE` | factor on packet counts (0.1 in a slow guest) |
//! | `SENTBY_E2E_SLOW` | factor on time limits |
//! | `SENTBY_E2E_SPREAD` | a number N: each case with one hook only, the N-th in turn (guests) |
//! | `SENTBY_E2E_SENDERS` | folder of senders built elsewhere |
//! | `SENTBY_E2E_LIGHT` | 1: no clients that depend on no kernel and are slow on an emulated CPU (guests) |
//! | `SENTBY_E2E_STRICT` | 1: a missing tool fails instead of skipping |
//! | `SENTBY_E2E_AGAIN` | 1: what fails is tried once more, unless it named a bystander, and is told at the end (CI, whose machines are busy) |
//!
//! A trial that cannot run says why, in its own line and again at the end.
#![allow(clippy::missing_docs_in_private_items)]

mod cases;
mod cgroup;
mod check;
mod ctx;
mod doctor;
mod event;
mod netns;
mod pid1;
mod proc;
mod rustls_client;
mod senders;
mod stage;
mod topology;
mod tracer;
mod turn;
mod watchdog;

use anyhow::{Context, Result, bail, ensure};
use ctx::{Case, Ctx, Env, Hook, Hooks, Skip};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

/// What is told at the end: trials by name, and why.
#[derive(Default)]
struct Tell {
    /// They could not run.
    skipped: Vec<(String, String)>,
    /// They failed, and were tried once more.
    again: Vec<(String, String)>,
}

type Told = Arc<Mutex<Tell>>;

fn main() -> ExitCode {
    if let Some(ended) = rustls_client::run_if_asked() {
        return match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("{e:#}");
                ExitCode::FAILURE
            }
        };
    }
    let mut args = Arguments::from_args();
    args.test_threads = Some(1);
    match run(&args) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("e2e: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Arguments) -> Result<ExitCode> {
    let strict = std::env::var_os("SENTBY_E2E_STRICT").is_some_and(|v| v == "1");
    // SAFETY: geteuid has no arguments and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        ensure!(!strict, "needs root");
        let why = "needs root: sudo -E env PATH=\"$PATH\" cargo test --release --test e2e";
        let trial = Trial::ignorable_test("e2e", move || Ok(Completion::ignored_with(why)));
        return Ok(libtest_mimic::run(args, vec![trial]).exit_code());
    }
    netns::sweep();
    let env: &'static Env = Box::leak(Box::new(environment(strict)?));
    check::know(&env.doctor);
    let hooks = hooks(env)?;
    let told = Told::default();
    let mut trials = Vec::new();
    let spread = spread()?;
    let only = only()?;
    for hook in &hooks {
        for (index, case) in cases::all().enumerate() {
            let chosen = spread.is_none_or(|n| {
                has_turn(case, index + n) && spread_over(env, case, &hooks, index + n) == Some(hook)
            });
            let named = only.as_ref().is_none_or(|names| names.iter().any(|n| n == case.name));
            if wants(env, case, hook) && chosen && named {
                trials.push(trial(env, case, hook.clone(), told.clone()));
            }
        }
    }
    watchdog::start(env.slow);
    let conclusion = libtest_mimic::run(args, trials);
    if !args.list {
        summary(env, &told);
    }
    let _ = std::fs::remove_dir_all(std::env::temp_dir().join(&env.tag));
    Ok(conclusion.exit_code())
}

fn environment(strict: bool) -> Result<Env> {
    let bin = std::env::var_os("SENTBY_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_sentby")), PathBuf::from);
    ensure!(bin.is_file(), "{} is missing: build it, or set SENTBY_BIN", bin.display());
    Ok(Env {
        doctor: doctor::Doctor::ask(&bin)?,
        bin: bin.canonicalize()?,
        senders: senders::build()?,
        scale: factor("SENTBY_E2E_SCALE")?,
        slow: factor("SENTBY_E2E_SLOW")?,
        again: std::env::var_os("SENTBY_E2E_AGAIN").is_some_and(|v| v == "1"),
        light: std::env::var_os("SENTBY_E2E_LIGHT").is_some_and(|v| v == "1"),
        strict,
        tag: netns::run_tag(),
    })
}

fn factor(name: &str) -> Result<f64> {
    let Ok(text) = std::env::var(name) else { return Ok(1.0) };
    let value: f64 = text.parse().with_context(|| format!("{name}={text}"))?;
    ensure!(value.is_finite() && value > 0.0, "{name} must be above 0");
    Ok(value)
}

/// The hooks to run with: those asked for, else all usable ones and sentby's choice.
fn hooks(env: &Env) -> Result<Vec<Hook>> {
    let usable: Vec<&str> = env.doctor.usable().map(|h| h.name.as_str()).collect();
    ensure!(!usable.is_empty(), "the doctor finds no usable hook: {:?}", env.doctor);
    let mut found = vec![Hook::Auto];
    if env.doctor.chosen().count() > 1 {
        found.push(Hook::All);
    }
    found.extend(usable.iter().map(|name| Hook::Named((*name).to_owned())));
    // Where cases are spread, each with one hook, it is one of sentby's choice.
    if std::env::var_os("SENTBY_E2E_SPREAD").is_some() {
        found.retain(|hook| !is_elsewhere(env, hook));
    }
    let Ok(wanted) = std::env::var("SENTBY_E2E_HOOKS") else { return Ok(found) };
    let mut chosen = Vec::new();
    for name in wanted.split(',').filter(|n| !n.is_empty()) {
        match found.iter().find(|h| h.to_string() == name) {
            Some(hook) => chosen.push(hook.clone()),
            None if name == "all" => {}
            None => bail!("SENTBY_E2E_HOOKS: {name} cannot be used here ({usable:?} can)"),
        }
    }
    Ok(chosen)
}

fn wants(env: &Env, case: &Case, hook: &Hook) -> bool {
    // Who looks senders up is at the mercy of a busy machine: the rest is run by name.
    if is_elsewhere(env, hook) && std::env::var_os("SENTBY_E2E_HOOKS").is_none() {
        return matches!(case.hooks, Hooks::Only(name) if *hook == Hook::Named(name.to_owned()));
    }
    if is_elsewhere(env, hook) && matches!(case.hooks, Hooks::Each | Hooks::EachAndAll) {
        return ELSEWHERE.contains(&case.name);
    }
    match case.hooks {
        Hooks::Auto => *hook == Hook::Auto,
        Hooks::Only(name) => *hook == Hook::Named(name.to_owned()),
        Hooks::Payload => *hook == Hook::Auto || reads_elsewhere(env, hook),
        Hooks::Each => *hook != Hook::All,
        Hooks::EachAndAll => true,
    }
}

/// Whether it is another backend's than the one sentby chooses.
fn is_elsewhere(env: &Env, hook: &Hook) -> bool {
    matches!(hook, Hook::Named(name) if env.doctor.chosen().all(|h| h.name != *name))
}

/// Whether it is another backend's, and reads payload.
fn reads_elsewhere(env: &Env, hook: &Hook) -> bool {
    let reads = |name: &String| env.doctor.usable().any(|h| h.name == *name && h.payload);
    is_elsewhere(env, hook) && matches!(hook, Hook::Named(name) if reads(name))
}

/// What hooks of other backends have to show of whole packets. The other cases' senders
/// are gone too soon for who looks them up afterwards, or cannot be told apart by that.
const ELSEWHERE: [&str; 14] = [
    "ping_v4",
    "ping_v6",
    "ping_loopback",
    "ping_dgram",
    "ping_source_address",
    "broadcast",
    "pid_namespace",
    "mtr",
    "python_raw_socket",
    "through_bridge_and_router",
    "through_bridge_and_router_v6",
    "count_limit",
    "time_limit",
    "nothing_left_after_kill",
];

fn spread() -> Result<Option<usize>> {
    let Ok(text) = std::env::var("SENTBY_E2E_SPREAD") else { return Ok(None) };
    Ok(Some(text.parse().with_context(|| format!("SENTBY_E2E_SPREAD={text}"))?))
}

/// The cases asked for by name.
fn only() -> Result<Option<Vec<String>>> {
    let Ok(names) = std::env::var("SENTBY_E2E_CASES") else { return Ok(None) };
    let names: Vec<_> = names.split(',').map(str::to_owned).collect();
    let unknown = names.iter().find(|name| cases::all().all(|case| case.name != **name));
    ensure!(unknown.is_none(), "SENTBY_E2E_CASES: there is no case {unknown:?}");
    Ok(Some(names))
}

/// What every kernel has to show, also when cases are spread.
const EVERYWHERE: [&str; 11] = [
    "ping_v4",
    "ping_v6",
    "ping_started_before",
    "packet_raw",
    "children_of_a_pid",
    "oneshot_processes",
    "replies_under_load",
    "forwarded_under_load",
    "port_unreachable",
    "flood",
    "declared_lacks",
];

/// Guests that cases are spread over: each has its turn in one of them.
const KERNELS: usize = 4;

/// When cases are spread, every fourth one has its turn in a guest.
fn has_turn(case: &Case, turn: usize) -> bool {
    turn.is_multiple_of(KERNELS) || EVERYWHERE.contains(&case.name)
}

/// The one hook a case runs with when cases are spread: its turn among those that want
/// it and can see it. Over several guests, each with another N, every case meets
/// nearly every hook.
fn spread_over<'a>(env: &Env, case: &Case, hooks: &'a [Hook], turn: usize) -> Option<&'a Hook> {
    let able =
        |h: &&Hook| wants(env, case, h) && case.sees.iter().all(|what| h.sees(&env.doctor, what));
    let able: Vec<&Hook> = hooks.iter().filter(able).collect();
    // Cases take turns four guests apart: step the hook by whole rounds.
    let turn = turn.div_ceil(KERNELS);
    match able.is_empty() {
        // Nobody can: the first says so.
        true => hooks.iter().find(|h| wants(env, case, h)),
        false => Some(able[turn % able.len()]),
    }
}

fn trial(env: &'static Env, case: &'static Case, hook: Hook, told: Told) -> Trial {
    let name = format!("{hook}::{}", case.name);
    Trial::ignorable_test(name.clone(), move || {
        let _turn = turn::Turn::wait().map_err(|e| Failed::from(format!("{e:#}")))?;
        let first = attempt(env, case, &hook, &name);
        let result = match &first {
            Err(Fell { bystander: false, skip: None, why }) if env.again => {
                lock(&told).again.push((name.clone(), why.clone()));
                attempt(env, case, &hook, &name)
            }
            _ => first,
        };
        match result {
            Ok(()) => Ok(Completion::Completed),
            Err(Fell { skip: Some(why), .. }) => {
                lock(&told).skipped.push((name, why.clone()));
                Ok(Completion::ignored_with(why))
            }
            Err(Fell { why, .. }) => Err(why.into()),
        }
    })
}

/// How a trial did not pass.
struct Fell {
    why: String,
    skip: Option<String>,
    bystander: bool,
}

fn attempt(env: &'static Env, case: &Case, hook: &Hook, name: &str) -> Result<(), Fell> {
    let _guard = watchdog::Guard::new(name);
    let fell = |e: anyhow::Error, notes: String| Fell {
        skip: e.downcast_ref::<Skip>().map(|Skip(why)| why.clone()),
        bystander: e.chain().any(|cause| cause.is::<check::Bystander>()),
        why: format!("{e:#}{notes}"),
    };
    let ctx = Ctx::new(env, hook.clone(), name).map_err(|e| fell(e, String::new()))?;
    let result = can_run(&ctx, case).and_then(|()| {
        // A panic is a failure with notes like any other.
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (case.run)(&ctx)))
            .unwrap_or_else(|_| bail!("panicked"))
    });
    if result.is_ok() {
        let _ = std::fs::remove_dir_all(ctx.dir());
    }
    result.map_err(|e| fell(e, format!("\n{}", ctx.notes().text())))
}

fn can_run(ctx: &Ctx, case: &Case) -> Result<()> {
    if case.heavy && ctx.env.light {
        return Err(ctx::skip(
            "left out with SENTBY_E2E_LIGHT: slow clients, and nothing of the kernel",
        ));
    }
    for what in case.sees {
        if !ctx.hook.sees(&ctx.env.doctor, what) {
            return Err(ctx::skip(format!("{} does not see: {what}", ctx.hook)));
        }
    }
    case.tools.iter().try_for_each(|tool| ctx.tool(tool).map(drop))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What did not run: nothing is silently green.
fn summary(env: &Env, told: &Told) {
    println!("kernel {}, {}", env.doctor.kernel.release, env.bin.display());
    for hook in env.doctor.hooks().filter(|h| !env.doctor.usable().any(|u| u.name == h.name)) {
        println!("no trials with {}: {}", hook.name, hook.reason.as_deref().unwrap_or("unusable"));
    }
    let told = lock(told);
    for (name, why) in &told.skipped {
        println!("skipped {name}: {why}");
    }
    for (name, why) in &told.again {
        println!("FAILED AT FIRST {name}: {why}");
    }
}
