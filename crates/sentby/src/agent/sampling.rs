//! `--max-cpu`: while the agent costs more than it may, not every event of a process that
//! sends much is handed on.
//!
//! Most of what an event costs is what outputs do with it, so that is where it is saved: what
//! was captured is still decoded, looked up and filtered. Once a second what the agent has
//! cost is compared with what it may, and the number of events that may be handed on is
//! divided among the processes: who sends little keeps everything, those who send more get as
//! much as each other ([`quota`]). An event that is handed on says how many it stands for.

use super::status::{Sampling, Status};
use crate::event::{Event, Evidence, ProcessKey};
use rustix::time::{ClockId, clock_gettime};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Processes that are told apart in a second; those beyond are counted as one.
const MAX_PROCESSES: usize = 16_384;

/// How far below its limit the cost must be before more is handed on: what is measured in a
/// second varies.
const ROOM: f64 = 0.85;

/// By how much more or less is handed on from one second to the next, at the most.
const STEPS: (f64, f64) = (0.1, 1.5);

/// The shortest time of which the cost tells anything.
const PERIOD: Duration = Duration::from_secs(1);

/// How often it is said that events are left out, or that none are.
const SAID: Duration = Duration::from_secs(60);

/// Who sends.
type Sender = (Option<ProcessKey>, Evidence);

/// What a process has sent in this second and in the last.
#[derive(Clone, Copy, Default)]
struct Count {
    now: u64,
    before: u64,
    /// What has been saved up for the next event that is handed on.
    credit: u64,
    /// Events that were left out since the last one that was not.
    skipped: u32,
}

/// Decides which events are handed on.
pub struct Sampler {
    counts: HashMap<Sender, Count>,
    handed_on: u64,
    sampling: Sampling,
    /// When the agent's cost was looked at, and what it was.
    looked: Option<(Instant, Duration)>,
    said: Option<(Instant, bool)>,
}

impl Sampler {
    /// Of an agent that may cost what it costs.
    pub fn new() -> Sampler {
        Sampler {
            counts: HashMap::new(),
            handed_on: 0,
            sampling: Sampling::default(),
            looked: None,
            said: None,
        }
    }

    /// How many events this one stands for, itself included; `None` if it is left out.
    pub fn take(&mut self, event: &Event<'_>) -> Option<u32> {
        // Without a limit nobody looks, and nothing is counted.
        if self.looked.is_none() {
            return Some(1);
        }
        let sender = (event.key, event.evidence);
        let known = self.counts.len() < MAX_PROCESSES || self.counts.contains_key(&sender);
        let sender = if known { sender } else { (None, Evidence::Unknown) };
        let count = self.counts.entry(sender).or_default();
        count.now += 1;
        // Of so many events each so-many-th, also where one does not divide the other.
        let sends = count.now.max(count.before);
        if let Some(quota) = self.sampling.quota.filter(|quota| *quota < sends) {
            count.credit += quota;
            if count.credit < sends {
                count.skipped += 1;
                self.sampling.left_out += 1;
                return None;
            }
            count.credit -= sends;
        }
        self.handed_on += 1;
        Some(std::mem::take(&mut count.skipped) + 1)
    }

    /// Looks what the agent costs, if it has not done so in the last second.
    pub fn look(&mut self, status: &Status) {
        if self.looked.is_some_and(|(then, _)| then.elapsed() < PERIOD) {
            return;
        }
        match status.max_cpu() {
            Some(limit) => {
                let cpu = clock_gettime(ClockId::ProcessCPUTime);
                let cpu = Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32);
                if let Some(used) = self.look_at(limit, Instant::now(), cpu) {
                    self.say(limit, used);
                }
            }
            None => {
                let left_out = self.sampling.left_out;
                *self = Sampler { sampling: Sampling { quota: None, left_out }, ..Sampler::new() };
            }
        }
        self.tell(status);
    }

    /// Tells what is left out.
    pub fn tell(&self, status: &Status) {
        status.set_sampling(self.sampling);
    }

    /// The same, at a time and a cost. Returns the part of a CPU that was used.
    fn look_at(&mut self, limit: f64, now: Instant, cpu: Duration) -> Option<f64> {
        let Some((then, before)) = self.looked else {
            self.looked = Some((now, cpu));
            return None;
        };
        let time = now.duration_since(then);
        if time < PERIOD {
            return None;
        }
        let used = cpu.saturating_sub(before).as_secs_f64() / time.as_secs_f64();
        self.looked = Some((now, cpu));
        let tight = used > limit || (self.sampling.quota.is_some() && used > limit * ROOM);
        let handed_on = self.handed_on as f64 / time.as_secs_f64();
        let rates = self.rates(time);
        let sent: u64 = rates.iter().sum();
        self.sampling.quota = match (tight, self.sampling.quota) {
            (false, None) => None,
            // Between the two it stays as it is.
            (true, quota @ Some(_)) if used <= limit => quota,
            _ => {
                let factor = (limit * (1.0 + ROOM) / 2.0 / used.max(1e-9)).clamp(STEPS.0, STEPS.1);
                let may = (handed_on * factor).ceil() as u64;
                if may < sent { Some(quota(rates, may)) } else { None }
            }
        };
        self.handed_on = 0;
        Some(used)
    }

    /// Events a second of each process; who sent nothing is forgotten.
    fn rates(&mut self, time: Duration) -> Vec<u64> {
        self.counts.retain(|_, count| {
            (count.before, count.now) = (count.now, 0);
            count.before > 0
        });
        let rate = |count: &Count| (count.before as f64 / time.as_secs_f64()).ceil() as u64;
        self.counts.values().map(rate).collect()
    }

    fn say(&mut self, limit: f64, used: f64) {
        let samples = self.sampling.quota.is_some();
        let (at, before) = self.said.unwrap_or((Instant::now(), false));
        let soon = self.said.is_some() && at.elapsed() < SAID;
        if samples == before || soon {
            return;
        }
        self.said = Some((Instant::now(), samples));
        let (limit, used) = (limit * 100.0, used * 100.0);
        match self.sampling.quota {
            Some(quota) => eprintln!(
                "sentby: {used:.1} % of a CPU is more than --max-cpu {limit}%: of each process some \
                 {quota} events a second are handed on, which say how many they stand for"
            ),
            None => eprintln!("sentby: all events are handed on again"),
        }
    }
}

/// How many events of each process may be handed on, so that they are so many together: at
/// least one.
fn quota(mut rates: Vec<u64>, may: u64) -> u64 {
    rates.sort_unstable();
    let mut left = may;
    for (at, rate) in rates.iter().enumerate() {
        let share = left / (rates.len() - at) as u64;
        if *rate > share {
            return share.max(1);
        }
        left -= rate;
    }
    may.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Sample;

    #[test]
    fn who_sends_little_keeps_everything() {
        assert_eq!(quota(vec![1, 2, 1000, 5000], 203), 100);
        assert_eq!(quota(vec![10, 10], 100), 100);
        assert_eq!(quota(vec![1000; 100], 50), 1);
        assert_eq!(quota(vec![], 0), 1);
    }

    fn of(pid: u32) -> Sample {
        let mut sample = Sample::ping();
        sample.key = Some(ProcessKey { pid, start_ticks: 1 });
        sample
    }

    /// Seconds of two processes, one of which sends 1000 events in each; what an event costs
    /// is a tenth of a millisecond. Returns how many were handed on in the last second, and
    /// for how many they stood, of each.
    fn seconds(sampler: &mut Sampler, limit: f64, n: u32) -> [(u64, u64); 2] {
        let (begun, mut cpu) = (Instant::now(), Duration::ZERO);
        sampler.looked = None;
        sampler.look_at(limit, begun, cpu);
        let mut last = [(0, 0); 2];
        for second in 1..=n {
            last = [(0, 0); 2];
            for i in 0..1000 {
                for (who, each) in [(0, 1), (1, 500)] {
                    if i % each == 0
                        && let Some(stands_for) = sampler.take(&of(who as u32).event())
                    {
                        last[who].0 += 1;
                        last[who].1 += u64::from(stands_for);
                        cpu += Duration::from_micros(100);
                    }
                }
            }
            sampler.look_at(limit, begun + Duration::from_secs(second.into()), cpu);
        }
        last
    }

    #[test]
    fn the_cost_stays_below_its_limit_and_sums_stay_right() {
        let mut sampler = Sampler::new();
        let [(much, for_much), (little, for_little)] = seconds(&mut sampler, 0.02, 20);
        assert!((100..=200).contains(&much), "{much} events cost too much or too little");
        assert!((950..=1050).contains(&for_much), "they stand for {for_much}");
        assert_eq!((little, for_little), (2, 2));
        assert!(sampler.sampling.left_out > 5_000);
        // When it may cost more, all of them are handed on, and soon.
        let [(much, for_much), _] = seconds(&mut sampler, 0.5, 10);
        assert_eq!((much, for_much), (1000, 1000));
    }

    #[test]
    fn below_the_limit_nothing_is_left_out() {
        let mut sampler = Sampler::new();
        assert_eq!(seconds(&mut sampler, 0.2, 5), [(1000, 1000), (2, 2)]);
        assert_eq!(sampler.sampling.left_out, 0);
        let mut unlimited = Sampler::new();
        assert_eq!(unlimited.take(&of(1).event()), Some(1));
        assert!(unlimited.counts.is_empty());
    }

    #[test]
    fn who_comes_too_many_is_counted_as_one() {
        let mut sampler = Sampler::new();
        sampler.look_at(0.1, Instant::now(), Duration::ZERO);
        for pid in 0..MAX_PROCESSES as u32 + 100 {
            sampler.take(&of(pid).event());
        }
        assert!(sampler.counts.len() <= MAX_PROCESSES + 1);
    }
}
