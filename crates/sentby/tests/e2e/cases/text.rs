//! Text for people: what a line holds, the forms of its time, colours.

use crate::ctx::{Case, Ctx, Hooks};
use crate::topology::{A4, B4, Pair};
use anyhow::{Context, Result, ensure};

pub const CASES: &[Case] = &[
    Case::new("text_line", text_line).hooks(Hooks::Auto),
    Case::new("text_times", text_times).hooks(Hooks::Auto),
    Case::new("text_colors", text_colors).hooks(Hooks::Auto),
    Case::new("doctor_text", doctor_text).hooks(Hooks::Auto).sees(&[]),
];

/// Text of two packets of one process, with these options; and its pid.
fn lines(ctx: &Ctx, pair: &Pair, options: &[&str]) -> Result<(u32, Vec<String>)> {
    let tracer = ctx.tracer().text().args(options).start()?;
    let ping = ctx.tool("ping")?.args(["-n", "-q", "-c", "2", "-i", "0.05", "-e", "4711", B4]);
    let ping = pair.a.run(ping, ctx.secs(20))?;
    let text = tracer.stop()?.text();
    let lines: Vec<String> =
        text.lines().filter(|l| l.contains(&ping.pid.to_string())).map(String::from).collect();
    ensure!(lines.len() == 2, "not two lines: {text:?}");
    Ok((ping.pid, lines))
}

fn text_line(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let (pid, lines) = lines(ctx, &pair, &[])?;
    let pid = pid.to_string();
    for (line, seq) in lines.iter().zip(["1", "2"]) {
        let command = "-n -q -c 2 -i 0.05 -e 4711 192.0.2.2";
        for part in [&pid, "ping", "root", A4, B4, "a0", "echo", "4711", seq, "84", command] {
            ensure!(line.contains(part), "{part:?} is not in {line:?}");
        }
        ensure!(!line.contains('\x1b'), "colours in a file: {line:?}");
        ensure!(line.trim_end() == line, "space at the end of {line:?}");
    }
    Ok(())
}

/// Whether `text` begins like `form`, where `9` stands for any digit.
fn begins(text: &str, form: &str) -> bool {
    text.len() >= form.len()
        && text.chars().zip(form.chars()).all(|(t, f)| match f {
            '9' => t.is_ascii_digit(),
            _ => t == f,
        })
}

fn text_times(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let clock = "99:99:99.999999";
    for (option, forms) in [
        ("", &[clock][..]),
        ("-t", &[]),
        ("-tt", &["9999999999.999999"]),
        ("-ttt", &["99:99:99.999999", "9.999999", "+9.999999"]),
        ("-tttt", &["9999-99-99 99:99:99.999999"]),
        ("-ttttt", &["99:99:99.999999", "9.999999", "+9.999999"]),
    ] {
        let options: Vec<&str> = Some(option).filter(|o| !o.is_empty()).into_iter().collect();
        let (_, lines) = lines(ctx, &pair, &options)?;
        let [first, second] = [lines[0].trim_start(), lines[1].trim_start()];
        for line in [first, second] {
            let timed = line.split_whitespace().next().is_some_and(|w| w.contains(['.', ':']));
            if forms.is_empty() {
                ensure!(!timed || line.starts_with("192."), "{option}: a time in {line:?}");
            } else {
                ensure!(forms.iter().any(|f| begins(line, f)), "{option}: {line:?}");
            }
        }
        if ["-ttt", "-ttttt"].contains(&option) {
            // 50 ms lie between the two.
            let gap = relative(second).context("no relative time")?;
            ensure!((0.02..5.0 * ctx.env.slow).contains(&gap), "{option}: {second:?}");
        }
    }
    Ok(())
}

/// Seconds in `00:00:00.050000` or `0.050000`.
fn relative(line: &str) -> Option<f64> {
    let word = line.split_whitespace().next()?.trim_start_matches('+').trim_end_matches('s');
    word.split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))
}

fn text_colors(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let (_, plain) = lines(ctx, &pair, &["-t", "--color", "auto"])?;
    ensure!(!plain[0].contains('\x1b'), "colours in a file: {:?}", plain[0]);
    let (_, colored) = lines(ctx, &pair, &["-t", "--color", "always"])?;
    ensure!(colored[0].contains("\x1b["), "no colours: {:?}", colored[0]);
    // Only colours: every escape is `ESC [ digits m`, and the last one resets.
    for escape in colored[0].split('\x1b').skip(1) {
        let end = escape.find(|c: char| !c.is_ascii_digit() && !"[;".contains(c));
        ensure!(end.is_some_and(|e| escape[e..].starts_with('m')), "{:?}", colored[0]);
    }
    let last = colored[0].rsplit('\x1b').next().unwrap_or_default();
    ensure!(last.starts_with("[0m") || last.starts_with("[m"), "no reset: {:?}", colored[0]);
    Ok(())
}

fn doctor_text(ctx: &Ctx) -> Result<()> {
    let doctor = ctx.program(&ctx.env.bin).arg("doctor").run(ctx.secs(20))?;
    let text = doctor.text();
    ensure!(text.contains(&ctx.env.doctor.kernel.release), "no kernel in {text:?}");
    for hook in ctx.env.doctor.hooks() {
        ensure!(text.contains(&hook.name), "{} is not in {text:?}", hook.name);
        ensure!(hook.usable || hook.reason.is_some(), "no reason not to use {}", hook.name);
    }
    Ok(())
}
