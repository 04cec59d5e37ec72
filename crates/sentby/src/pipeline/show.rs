//! From a request to the output. An event whose container was asked for just now is kept back
//! until it has its name, 50 ms at the most; others pass it meanwhile.

use super::{Go, Pipeline, quiet_pipe};
use crate::enrich::{Awaited, ContainerId};
use crate::event::{Capture, Ends, Event, Raw};
use crate::filter::Filter;
use crate::ledger::Ledger;
use crate::output::Output;
use crate::owned::{Owned, Owning};
use anyhow::Result;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;
use wire::Request;

/// Most events that are kept back. Those beyond are shown at once, without the name.
const MAX_UNNAMED: usize = 256;

/// How often it is looked whether names have come.
const LOOK: Duration = Duration::from_millis(2);

/// Events that are kept back, in the order in which they came.
pub struct Unnamed {
    events: VecDeque<(ContainerId, Owned)>,
    owning: Owning,
}

impl Unnamed {
    /// None.
    pub fn new() -> Unnamed {
        Unnamed { events: VecDeque::new(), owning: Owning::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// How long to wait for captures, if nothing else is to be done for so long.
    pub fn patience(&self, otherwise: Duration) -> Duration {
        if self.is_empty() { otherwise } else { LOOK }
    }

    /// Keeps an event back; whether there was room.
    fn keep(&mut self, container: ContainerId, event: &Event<'_>) -> bool {
        let room = self.events.len() < MAX_UNNAMED;
        if room {
            self.events.push_back((container, self.owning.own(event)));
        }
        room
    }
}

impl Pipeline<'_> {
    /// A request, as far as it was captured.
    pub(super) fn request(
        &mut self,
        capture: &Capture,
        ends: Ends,
        request: &Request<'_>,
        (raw, outcome): (Raw<'_>, Option<wire::Outcome>),
    ) -> io::Result<()> {
        let (mut event, awaited) = self.enricher.event_and_awaited(capture, ends, request);
        event.raw = raw;
        event.outcome = outcome;
        if awaited.is_some_and(|container| self.unnamed.keep(container, &event)) {
            return Ok(());
        }
        show(&self.filter, &mut *self.output, &mut self.ledger, &event)
    }

    /// Shows what has been kept back long enough; nothing where enough was shown.
    pub(super) fn release(&mut self, flow: &mut Go, most: Option<u64>) -> Result<()> {
        for _ in 0..self.unnamed.len() {
            let Some((container, mut event)) = self.unnamed.events.pop_front() else { break };
            let awaited = self.enricher.awaited(container);
            if *flow == Go::On && matches!(awaited, Awaited::Still) {
                self.unnamed.events.push_back((container, event));
                continue;
            }
            if *flow == Go::Enough {
                self.ledger.left += 1;
                continue;
            }
            if let Awaited::Named(info) = awaited {
                event.name(info);
            }
            let (filter, output) = (&self.filter, &mut *self.output);
            let shown = quiet_pipe(show(filter, output, &mut self.ledger, &event.event()));
            match shown {
                Ok(Go::On) if most.is_none_or(|n| self.ledger.shown < n) => {}
                Ok(_) => *flow = Go::Enough,
                Err(e) => {
                    *flow = Go::Enough;
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// The same at the end: waits for what is not long enough yet.
    pub(super) fn release_all(&mut self, flow: &mut Go, most: Option<u64>) -> Result<()> {
        let mut done = Ok(());
        while !self.unnamed.is_empty() {
            self.enricher.tick();
            let released = self.release(flow, most);
            done = done.and(released);
            if !self.unnamed.is_empty() {
                std::thread::sleep(LOOK);
            }
        }
        done
    }
}

/// Decides about an event, and shows it.
fn show(
    filter: &Filter,
    output: &mut dyn Output,
    ledger: &mut Ledger,
    event: &Event<'_>,
) -> io::Result<()> {
    if !filter.matches(event) {
        ledger.filtered += 1;
        return Ok(());
    }
    let taken = output.event(event);
    match taken {
        Ok(()) => ledger.shown += 1,
        Err(_) => ledger.left += 1,
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Counts;
    use crate::enrich::Containers;
    use crate::enrich::runtimes::{LATE, asking};
    use crate::enrich::tests::{KEY, machine, with};
    use crate::event::{Process, ProcessKey};
    use crate::filter::FilterArgs;
    use crate::fixture::{Probe, Scratch, capture};
    use std::path::Path;
    use std::sync::{Arc, Barrier, Mutex};
    use std::time::Instant;

    /// What was shown: pid, and name of the container.
    type Shown = Arc<Mutex<Vec<(u32, Option<String>)>>>;

    struct Taking(Shown);

    impl Output for Taking {
        fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
            let info = event.process.and_then(|p| p.container.as_deref());
            let pid = event.key.map_or(0, |key| key.pid);
            assert_eq!(event.container.is_some(), pid == KEY.pid);
            self.0.lock().unwrap().push((pid, info.and_then(|info| info.name.clone())));
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// In no container.
    const OTHER: ProcessKey = ProcessKey { pid: 1, start_ticks: 0 };

    fn pipeline(
        dir: &Scratch,
        args: &FilterArgs,
        runtime: impl FnOnce(&Path) -> Containers,
    ) -> (Pipeline<'static>, Shown) {
        let shown = Shown::default();
        let mut enricher = with(dir, Some(runtime(&dir.path("docker.sock"))));
        let cgroup = Some(format!("/system.slice/docker-{LATE}.scope").into_bytes());
        let argv = Some(b"ping".to_vec());
        enricher.learn(KEY, Process { argv, cgroup, ..Process::default() });
        let filter = Filter::detached(args).unwrap();
        let output = Box::new(Taking(shown.clone()));
        (Pipeline::new(Vec::new(), filter, enricher, output), shown)
    }

    fn send(pipeline: &mut Pipeline<'_>, key: ProcessKey) {
        let mut capture = capture();
        capture.task.as_mut().unwrap().key = Some(key);
        let address = "192.0.2.1".parse().unwrap();
        let ends = Ends { src: address, dst: address, ports: None };
        pipeline.enricher.tick();
        pipeline.release(&mut Go::On, None).unwrap();
        let request = Request::new(&Probe);
        pipeline.request(&capture, ends, &request, (Raw::Packet(&[1]), None)).unwrap();
    }

    #[test]
    fn an_event_waits_for_its_name_and_no_other_does() {
        let (dir, gate) = (machine(), Arc::new(Barrier::new(2)));
        let own = gate.clone();
        let args = FilterArgs { container: vec!["late".into()], ..FilterArgs::default() };
        let (mut pipeline, shown) = pipeline(&dir, &args, |path| {
            asking(path, Duration::from_secs(60), move || {
                own.wait();
                r#"{"Name":"/late"}"#.to_owned()
            })
        });
        send(&mut pipeline, KEY);
        send(&mut pipeline, KEY);
        send(&mut pipeline, OTHER);
        assert_eq!((pipeline.unnamed.len(), pipeline.ledger.filtered), (2, 1));
        let counted = pipeline.so_far(&Counts::default());
        assert_eq!((counted.shown, counted.parts), (0, 2));
        gate.wait();
        pipeline.release_all(&mut Go::On, None).unwrap();
        let named = || (KEY.pid, Some("late".to_owned()));
        assert_eq!(*shown.lock().unwrap(), [named(), named()], "and the filter sees it");
        send(&mut pipeline, KEY);
        assert_eq!(pipeline.ledger.shown, 3, "known now");
        assert!(pipeline.unnamed.is_empty());
    }

    #[test]
    fn what_is_not_told_in_time_is_shown_without_and_does_not_wait_again() {
        let dir = machine();
        let never = || -> String {
            loop {
                std::thread::park()
            }
        };
        let keep_back = Duration::from_millis(50);
        let (mut pipeline, shown) =
            pipeline(&dir, &FilterArgs::default(), |path| asking(path, keep_back, never));
        let begun = Instant::now();
        send(&mut pipeline, KEY);
        pipeline.release_all(&mut Go::On, None).unwrap();
        assert!((keep_back..keep_back * 20).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        send(&mut pipeline, KEY);
        assert!(pipeline.unnamed.is_empty());
        assert_eq!(*shown.lock().unwrap(), [(KEY.pid, None), (KEY.pid, None)]);
    }

    #[test]
    fn what_waits_is_bounded_and_left_where_enough_was_shown() {
        let dir = machine();
        let never = || -> String {
            loop {
                std::thread::park()
            }
        };
        let (mut pipeline, shown) = pipeline(&dir, &FilterArgs::default(), |path| {
            asking(path, Duration::from_secs(60), never)
        });
        for _ in 0..MAX_UNNAMED + 3 {
            send(&mut pipeline, KEY);
        }
        assert_eq!((pipeline.unnamed.len(), shown.lock().unwrap().len()), (MAX_UNNAMED, 3));
        pipeline.release_all(&mut Go::Enough, Some(3)).unwrap();
        assert_eq!((pipeline.unnamed.len(), shown.lock().unwrap().len()), (0, 3));
        assert_eq!(pipeline.ledger.left, MAX_UNNAMED as u64);
    }
}
