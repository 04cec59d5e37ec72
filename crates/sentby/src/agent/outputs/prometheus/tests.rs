use super::*;
use crate::agent::lane::{Lane, Tally};
use crate::fixture::Sample;
use crate::ledger::{Cost, HookCount, Ledger};
use std::collections::BTreeMap;

#[test]
fn a_port_alone_is_on_loopback() {
    assert_eq!(address("9817"), Ok("127.0.0.1:9817".parse().unwrap()));
    assert_eq!(address("[::]:1"), Ok("[::]:1".parse().unwrap()));
    for bad in ["", "localhost:1", "99999", "192.0.2.1"] {
        assert!(address(bad).is_err(), "{bad}");
    }
}

/// A page of everything, with a name that would break it.
fn page() -> String {
    let mut series = Series::new(9);
    let mut sample = Sample::ping();
    sample.comm = Some(b"a\"b\\\n".to_vec());
    sample.unit = Some("x.service".into());
    series.add(&sample.event());
    let status = Arc::new(Status::new());
    let hook = |hook, cost| HookCount { hook, seen: 5, filtered: 1, missed: None, cost };
    status.set_ledger(Ledger {
        hooks: vec![hook("one", Some(Cost { runs: 4, ns: 1_500_000_000 })), hook("two", None)],
        shown: 3,
        filtered: 2,
        lost: BTreeMap::from([("ring", 7)]),
        ..Ledger::default()
    });
    status.set_hooks(vec![("one", "ebpf")]);
    let sink = || {
        Ok(Box::new(Prometheus::open(address("0").unwrap(), 1, &Arc::new(Status::new()))?)
            as Box<dyn Sink>)
    };
    let wanted = Wanted {
        name: NAME,
        settings: String::new(),
        linger: Duration::ZERO,
        open: Arc::new(sink),
    };
    let lane = Lane::open(wanted, Arc::new(Tally::new(NAME)), 1).unwrap();
    status.set_outputs(std::slice::from_ref(&lane));
    page::write(&mut series, &status, Some("6.1.0"))
}

#[test]
fn the_page_tells_what_is_known_and_nothing_that_is_not() {
    let page = page();
    for line in [
        r#"sentby_requests_total{protocol="probe",process="a\"b\\�",unit="x.service"} 1"#,
        "sentby_events_total 3",
        "sentby_filtered_total 4",
        r#"sentby_lost_total{place="ring"} 7"#,
        r#"sentby_hook_info{hook="one",backend="ebpf"} 1"#,
        r#"sentby_seen_total{hook="two"} 5"#,
        r#"sentby_bpf_runs_total{hook="one"} 4"#,
        r#"sentby_bpf_run_seconds_total{hook="one"} 1.5"#,
        r#"sentby_output_up{output="prometheus"} 1"#,
        r#"sentby_reloads_total{result="failed"} 0"#,
    ] {
        assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
    }
    assert!(!page.contains(r#"sentby_bpf_runs_total{hook="two"}"#));
    assert!(!page.contains("sentby_hook_missed_total{"));
    assert!(page.contains(r#"kernel="6.1.0"} 1"#));
}

/// Prometheus's own checker, where it is installed.
#[test]
fn promtool_finds_no_fault() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = promtool.stdout(Stdio::piped()).spawn() else {
        eprintln!("skipped: promtool is not installed");
        return;
    };
    child.stdin.take().unwrap().write_all(page().as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && text.is_empty(), "{text}\n{}", page());
}
