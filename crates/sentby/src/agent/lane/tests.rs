use super::*;
use crate::event::Event;
use crate::fixture::Sample;
use crate::owned::Owning;

const PATIENT: Duration = Duration::from_secs(20);

/// What the tests' output does.
#[derive(Default)]
struct Behaviour {
    /// Events taken, over all its lives.
    taken: AtomicU64,
    /// How often it was opened.
    opened: AtomicU64,
    /// How often it was asked to reopen.
    reopened: AtomicU64,
    /// It fails with the event of this number.
    fails_at: AtomicU64,
    /// It waits with an event as long as this is set.
    stuck: AtomicBool,
    /// It has no room as long as this is set, and keeps what it has.
    full: AtomicBool,
}

struct Fake {
    does: Arc<Behaviour>,
    waiting: u64,
}

impl Sink for Fake {
    fn ready(&mut self, _: Duration) -> bool {
        let ready = !self.does.full.load(Ordering::Acquire) || self.waiting == 0;
        if !ready {
            thread::sleep(Duration::from_millis(1));
        }
        ready
    }

    fn event(&mut self, _: &Event<'_>) -> io::Result<()> {
        while self.does.stuck.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(1));
        }
        self.waiting += 1;
        let n = self.does.taken.fetch_add(1, Ordering::AcqRel) + 1;
        if n == self.does.fails_at.load(Ordering::Acquire) {
            return Err(io::Error::other("it was to fail"));
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.does.full.load(Ordering::Acquire) {
            self.waiting = 0;
        }
        Ok(())
    }

    fn waiting(&self) -> u64 {
        self.waiting
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.does.reopened.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }
}

fn lane(does: &Arc<Behaviour>, limit: usize) -> Lane {
    let does = does.clone();
    let open = move || {
        does.opened.fetch_add(1, Ordering::AcqRel);
        Ok(Box::new(Fake { does: does.clone(), waiting: 0 }) as Box<dyn Sink>)
    };
    let wanted = Wanted {
        name: "fake",
        settings: String::new(),
        linger: Duration::ZERO,
        open: Arc::new(open),
    };
    Lane::open(wanted, Arc::new(Tally::new("fake")), limit).unwrap()
}

fn events(n: usize) -> Arc<Events> {
    let (mut owning, sample) = (Owning::new(), Sample::ping());
    let events: Vec<_> = (0..n).map(|_| owning.own(&sample.event())).collect();
    let size = events.iter().map(|e| e.size()).sum();
    Arc::new(Events { events, size })
}

fn until(what: impl Fn() -> bool) {
    let end = Instant::now() + PATIENT;
    while !what() {
        assert!(Instant::now() < end, "it does not come to pass");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn everything_given_is_taken_and_the_end_waits_for_it() {
    let does = Arc::new(Behaviour::default());
    let mut lane = lane(&does, 1 << 20);
    for _ in 0..10 {
        lane.give(&events(7), None);
    }
    lane.close();
    assert_eq!(does.taken.load(Ordering::Acquire), 70);
    assert_eq!(lane.tally.lost(), BTreeMap::new());
}

#[test]
fn a_stuck_output_costs_events_that_are_counted_and_no_time() {
    let does = Arc::new(Behaviour::default());
    does.stuck.store(true, Ordering::Release);
    let batch = events(10);
    let mut lane = lane(&does, 3 * batch.size);
    let began = Instant::now();
    (0..1000).for_each(|_| lane.give(&batch, None));
    assert!(began.elapsed() < Duration::from_secs(2), "it waited");
    does.stuck.store(false, Ordering::Release);
    lane.close();
    let lost = lane.tally.lost();
    let taken = does.taken.load(Ordering::Acquire);
    assert!((30..=60).contains(&taken), "{taken}");
    assert_eq!(lost.values().sum::<u64>() + taken, 10_000);
    assert_eq!(lost.keys().copied().collect::<Vec<_>>(), [QUEUE_FULL]);
}

#[test]
fn what_failed_is_opened_anew_and_only_what_it_held_is_lost() {
    let does = Arc::new(Behaviour::default());
    does.fails_at.store(4, Ordering::Release);
    let mut lane = lane(&does, 1 << 20);
    lane.give(&events(10), None);
    until(|| does.taken.load(Ordering::Acquire) == 10);
    until(|| lane.tally.up.load(Ordering::Relaxed));
    assert_eq!(does.opened.load(Ordering::Acquire), 2);
    assert_eq!(lane.tally.lost(), BTreeMap::from([(FAILED, 4)]));
    lane.close();
}

#[test]
fn an_output_that_is_down_at_the_end_loses_what_waits_and_it_is_counted() {
    let does = Arc::new(Behaviour::default());
    does.fails_at.store(1, Ordering::Release);
    let mut lane = lane(&does, 1 << 20);
    lane.give(&events(3), None);
    until(|| !lane.tally.up.load(Ordering::Relaxed));
    lane.give(&events(5), None);
    lane.close();
    assert_eq!(lane.tally.lost(), BTreeMap::from([(FAILED, 1), (STOPPED, 7)]));
}

#[test]
fn what_an_output_without_room_has_and_has_not_taken_at_the_end_is_counted() {
    let does = Arc::new(Behaviour::default());
    does.full.store(true, Ordering::Release);
    let mut lane = lane(&does, 1 << 20);
    lane.give(&events(5), None);
    until(|| does.taken.load(Ordering::Acquire) == 1);
    let began = Instant::now();
    lane.close();
    assert!(began.elapsed() < PATIENCE + 2 * GRACE);
    assert_eq!(does.taken.load(Ordering::Acquire), 1);
    assert_eq!(lane.tally.lost(), BTreeMap::from([(STOPPED, 5)]));
}

#[test]
fn an_output_is_reopened_when_asked() {
    let does = Arc::new(Behaviour::default());
    let lane = lane(&does, 1 << 20);
    lane.queue.ask_reopen();
    until(|| does.reopened.load(Ordering::Acquire) == 1);
}

#[test]
fn what_cannot_be_opened_says_which_output_it_is() {
    let open = || anyhow::bail!("no such place");
    let wanted = Wanted {
        name: "fake",
        settings: String::new(),
        linger: Duration::ZERO,
        open: Arc::new(open),
    };
    let error = Lane::open(wanted, Arc::new(Tally::new("fake")), 1).err().unwrap();
    assert_eq!(format!("{error:#}"), "the fake output: no such place");
}
