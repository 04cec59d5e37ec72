//! An event out of the object that an agent has published. The object is hostile, and is
//! believed about one host alone: that of the subject, which is what the servers let its
//! sender publish at.

use crate::capture::replay::HOOK;
use crate::capture::replay::recorded::{self, Object};
use crate::capture::replay::senders::short;
use crate::enrich::Lru;
use crate::event::{
    Batch, Capture, Ends, Evidence, Iface, Item, NS_PER_TICK, ProcessKey, Recorded, Stored, Task,
    Wanted,
};
use crate::nats;
use serde_json::Value;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use wire::Layer;

/// Senders that are known to the pipeline already.
const MAX_TOLD: usize = 16_384;

/// Longest object that is read.
const MAX_OBJECT: usize = 4 << 20;

/// Makes items of objects.
pub struct Decoder {
    told: Lru<ProcessKey, u64>,
    row: i64,
}

impl Decoder {
    /// Nothing is known.
    pub fn new() -> Decoder {
        Decoder { told: Lru::new(MAX_TOLD), row: 0 }
    }

    /// Appends an event, with what is new about its sender. `None` where it is none, or one
    /// of another host or protocol than its subject.
    pub fn push(&mut self, subject: &str, bytes: &[u8], batch: &mut Batch) -> Option<()> {
        if bytes.len() > MAX_OBJECT {
            return None;
        }
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let event = Object(&value);
        let protocol = event.name("proto").and_then(recorded::protocol)?;
        if subject != nats::subject(event.name("host")?, protocol) {
            return None;
        }
        let evidence = event.name("evidence")?;
        let evidence = Evidence::ALL.into_iter().find(|e| e.name() == evidence)?;
        let address = |key| event.name(key)?.parse::<IpAddr>().ok();
        let port = |key| event.number(key).and_then(|port| u16::try_from(port).ok());
        let ends = Ends {
            src: address("src")?,
            dst: address("dst")?,
            ports: port("sport").zip(port("dport")),
        };
        let named = evidence.names_a_process();
        let key = self.key(&event).filter(|_| named);
        if let Some(key) = key {
            self.tell(key, &event, batch);
        }
        let task = named.then(|| Task {
            key,
            tid: event.number32("tid"),
            comm: event.text("comm").map(|comm| short(&comm)),
            uid: event.number32("uid"),
        });
        self.row += 1;
        let recorded = Recorded {
            protocol: Some(protocol),
            outcome: None,
            opening: None,
            user: event.name("user").map(str::to_owned),
            candidates: recorded::candidates(&event),
            go: value.get("go").and_then(|go| recorded::build(&Object(go))),
            dst_name: event.text("dst_name").zip(event.name("dst_name_from").map(str::to_owned)),
            host: event.name("host").map(str::to_owned),
            sampled: event.number32("sampled"),
            stored: Some(Stored {
                row: self.row,
                ends,
                fields: value.get(protocol).map(Value::to_string).unwrap_or_default(),
                faults: recorded::faults(&event),
            }),
        };
        batch.items.push(Item::Capture(Capture {
            time: event.time("time")?,
            hook: event.name("hook").and_then(recorded::hook).unwrap_or(HOOK),
            evidence,
            task,
            socket_inode: event.number("socket"),
            holders: None,
            outcome_follows: false,
            shared: event.flag("shared"),
            netns: event.number32("netns"),
            iface: event.text("iface").map(|name| Iface { index: None, name: short(&name) }),
            descends: None,
            wanted: Wanted::Packet,
            layer: Layer::Ip,
            bytes: 0..0,
            len: event.number32("len"),
            segment: None,
            recorded: Some(Box::new(recorded)),
        }));
        Some(())
    }

    /// The sender's identity among all machines': what is shown is pid and start, and the host
    /// only keeps them apart.
    fn key(&self, event: &Object<'_>) -> Option<ProcessKey> {
        let mut hasher = DefaultHasher::new();
        event.name("host").hash(&mut hasher);
        let ticks = event.time("start").unwrap_or_default() / NS_PER_TICK;
        let start_ticks = ticks ^ hasher.finish() << 40;
        Some(ProcessKey { pid: event.number32("pid")?, start_ticks })
    }

    /// Tells of a sender, if that is not known yet.
    fn tell(&mut self, key: ProcessKey, event: &Object<'_>, batch: &mut Batch) {
        let process = recorded::process(event, event.time("start"));
        let mut hasher = DefaultHasher::new();
        (&process.exe, &process.argv, &process.cgroup, &process.comm).hash(&mut hasher);
        (process.uid, process.ppid, process.start, &process.container).hash(&mut hasher);
        let facts = hasher.finish();
        if self.told.get_mut(&key).is_some_and(|told| *told == facts) {
            return;
        }
        self.told.insert(key, facts);
        batch.items.push(Item::Process(key, Box::new(process)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asked::Asked;
    use crate::enrich::Enricher;
    use crate::output::json::write_whole;
    use wire::PROTOCOLS;

    /// What a pipeline shows of an object.
    fn shown(decoder: &mut Decoder, enricher: &mut Enricher, object: &str) -> Option<String> {
        let mut batch = Batch::default();
        decoder.push(&subject(object), object.as_bytes(), &mut batch)?;
        let mut line = Vec::new();
        for item in &batch.items {
            match item {
                Item::Process(key, process) => enricher.learn(*key, (**process).clone()),
                Item::Capture(capture) => {
                    let recorded = capture.recorded.as_ref()?;
                    let asked = PROTOCOLS.iter().map(|p| Asked::plain(*p));
                    let of = |a: &Asked| Some(a.protocol.name()) == recorded.protocol;
                    let asked = asked.into_iter().find(of)?;
                    let stored = recorded.stored.as_ref()?;
                    let request = stored.request(asked.protocol);
                    let event = enricher.event(capture, stored.ends, &request);
                    write_whole(&event, &mut line).ok()?;
                }
                item => panic!("{item:?}"),
            }
        }
        String::from_utf8(line).ok()
    }

    /// The one that an object is published at.
    fn subject(object: &str) -> String {
        let value: Value = serde_json::from_str(object).unwrap_or_default();
        let event = Object(&value);
        nats::subject(event.name("host").unwrap_or("h"), event.name("proto").unwrap_or("icmp"))
    }

    fn object(protocol: &str, host: &str, exe: &str) -> String {
        format!(
            concat!(
                r#"{{"time":"2026-11-22T10:38:05.123456789Z","proto":"{}","evidence":"owner","#,
                r#""hook":"cgroup_skb","pid":7,"start":"2026-11-22T10:00:00.000000000Z","#,
                r#""ppid":1,"ancestors":["init"],"ancestor_pids":[1],"comm":"a","exe":"{}","#,
                r#""cmdline":["a","b"],"uid":5,"user":"u","container_name":"c","#,
                r#""container_image":"i","pod":"p","pod_namespace":"n","#,
                r#""netns":9,"socket":8,"shared":true,"#,
                r#""src":"192.0.2.1","sport":3,"dst":"192.0.2.2","dport":4,"dst_name":"n","#,
                r#""dst_name_from":"dns","iface":"eth0","len":60,"host":"{}","sampled":4,"#,
                r#""faults":["truncated"],"{}":{{}}}}"#
            ),
            protocol, exe, host, protocol
        )
    }

    #[test]
    fn what_was_published_is_shown_as_it_was_and_hosts_are_not_mixed() {
        let (mut decoder, mut enricher) = (Decoder::new(), Enricher::detached());
        let protocol = PROTOCOLS[0].name();
        // The same pid and start on two machines; an exec on one of them.
        let all = [("h", "/a"), ("i", "/b"), ("h", "/a"), ("i", "/b"), ("h", "/c"), ("i", "/b")];
        for (host, exe) in all {
            let mut object = object(protocol, host, exe);
            if host == "i" {
                // What is not known of one is not taken from the other.
                object = object.replace("\"ppid\":1,", "");
            }
            let shown = shown(&mut decoder, &mut enricher, &object).expect("an event");
            let [want, shown] =
                [&object, &shown].map(|text| serde_json::from_str::<Value>(text).expect("JSON"));
            assert_eq!(want, shown);
        }
    }

    #[test]
    fn what_is_no_event_is_none() {
        let good = object(PROTOCOLS[0].name(), "h", "/a");
        for (from, to) in [
            (good.as_str(), ""),
            (good.as_str(), "[]"),
            ("\"owner\"", "\"magic\""),
            ("192.0.2.1", "nowhere"),
            ("2026-11-22T10:38:05.123456789Z", "soon"),
        ] {
            let bad = good.replace(from, to);
            let mut decoder = Decoder::new();
            let pushed = decoder.push(&subject(&bad), bad.as_bytes(), &mut Batch::default());
            assert!(pushed.is_none(), "{bad}");
        }
        let unknown = object("pigeon", "h", "/a");
        let mut decoder = Decoder::new();
        let pushed = decoder.push(&subject(&unknown), unknown.as_bytes(), &mut Batch::default());
        assert!(pushed.is_none());
    }

    /// Credentials say at which subjects a machine may publish, and nothing of objects.
    #[test]
    fn no_machine_speaks_for_another() {
        let protocol = PROTOCOLS[0].name();
        let object = object(protocol, "victim.example", "/a");
        let push = |subject: &str| {
            Decoder::new().push(subject, object.as_bytes(), &mut Batch::default()).is_some()
        };
        assert!(push(&format!("sentby.victim_example.{protocol}")));
        assert!(!push(&format!("sentby.evil.{protocol}")));
        assert!(!push(&format!("sentby.evil.victim_example.{protocol}")));
        assert!(!push("sentby.victim_example.other"));
    }
}
