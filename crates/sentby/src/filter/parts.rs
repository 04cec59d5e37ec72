//! Parts of a filter, for recordings: what is decided about a sender or a destination is
//! decided once, not at each of its events. Like a plan, a part may let too much through,
//! never too little.

use super::{Choice, Filter};

impl<T> Choice<T> {
    fn is_open(&self) -> bool {
        self.wanted.is_empty() && self.unwanted.is_empty()
    }
}

impl Filter {
    /// What it says about the process that sends; `None` where that is nothing.
    pub fn of_senders(&self) -> Option<Filter> {
        let says = !(self.pids.is_open()
            && self.comms.is_open()
            && self.exes.is_open()
            && self.users.is_open()
            && self.cgroups.is_open()
            && self.units.is_open()
            && self.containers.is_open()
            && self.pods.is_open()
            && self.pod_namespaces.is_open()
            && self.hosts.is_open());
        says.then(|| Filter {
            pids: self.pids.clone(),
            comms: self.comms.clone(),
            exes: self.exes.clone(),
            users: self.users.clone(),
            cgroups: self.cgroups.clone(),
            units: self.units.clone(),
            containers: self.containers.clone(),
            pods: self.pods.clone(),
            pod_namespaces: self.pod_namespaces.clone(),
            hosts: self.hosts.clone(),
            children: self.children,
            kernel: true,
            forwarded: true,
            ..Filter::default()
        })
    }

    /// What it says about where requests go; `None` where that is nothing.
    pub fn of_destinations(&self) -> Option<Filter> {
        (!(self.dst.is_open() && self.dst_names.is_open())).then(|| Filter {
            dst: self.dst.clone(),
            dst_names: self.dst_names.clone(),
            kernel: true,
            forwarded: true,
            ..Filter::default()
        })
    }

    /// Whether protocol, evidence, sender and destination are all that it looks at.
    pub fn is_about_flows(&self) -> bool {
        self.tids.is_open()
            && self.src.is_open()
            && self.ifaces.is_open()
            && self.netns.is_open()
            && self.fields.is_empty()
            && self.expression.is_none()
    }
}
