//! The filter's flags.

use super::fields::FieldArg;

/// Flags that choose events. A value of `!x` excludes x; a list `a,b` is either, `!a,b`
/// is neither.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which requests (each flag may be given often; '!VALUE' excludes)")]
pub struct FilterArgs {
    /// Sent by this process; a list `1,2` is either
    #[arg(long, value_name = "PID")]
    pub pid: Vec<String>,

    /// Also by children of --pid, and theirs
    #[arg(long, requires = "pid")]
    pub children: bool,

    /// Sent by this thread
    #[arg(long, value_name = "TID")]
    pub tid: Vec<String>,

    /// Thread name, e.g. curl or 'tokio-*' (the kernel keeps 15 bytes)
    #[arg(long, value_name = "GLOB")]
    pub comm: Vec<String>,

    /// Executable: a name (curl), or a path where * also matches slashes (/opt/*)
    #[arg(long, value_name = "GLOB")]
    pub exe: Vec<String>,

    /// Sent by this user, number or name
    #[arg(long, value_name = "USER")]
    pub uid: Vec<String>,

    /// Source address or network, e.g. 10.0.0.0/8 or 2001:db8::/32
    #[arg(long, value_name = "ADDRESS[/LEN]")]
    pub src: Vec<String>,

    /// Destination address or network
    #[arg(long, value_name = "ADDRESS[/LEN]")]
    pub dst: Vec<String>,

    /// Name of the destination, e.g. '*.example.com', where it is known; nothing is looked up
    #[arg(long, value_name = "GLOB")]
    pub dst_name: Vec<String>,

    /// Interface it leaves by. A name must exist now; a glob (veth*) need not
    #[arg(long, value_name = "GLOB")]
    pub iface: Vec<String>,

    /// Network namespace: inode, `self`, a name of ip-netns(8), or a path
    #[arg(long, value_name = "NETNS")]
    pub netns: Vec<String>,

    /// Cgroup path; everything below it counts
    #[arg(long, value_name = "GLOB")]
    pub cgroup: Vec<String>,

    /// systemd unit; without a suffix it is a service
    #[arg(long, value_name = "GLOB")]
    pub unit: Vec<String>,

    /// Container: the beginning of its id, or its name
    #[arg(long, value_name = "ID|GLOB")]
    pub container: Vec<String>,

    /// Kubernetes pod
    #[arg(long, value_name = "GLOB")]
    pub pod: Vec<String>,

    /// Namespace of the Kubernetes pod
    #[arg(long, value_name = "GLOB")]
    pub pod_namespace: Vec<String>,

    /// Sent by this machine, where events of several come together (watch); its name, or as
    /// subjects have it
    #[arg(long, value_name = "HOST")]
    pub on: Vec<String>,

    /// What was given to the options over fields: those come from the protocols.
    #[arg(skip)]
    pub fields: Vec<FieldArg>,

    /// The words of an expression, which stand behind the protocols.
    #[arg(skip)]
    pub expression: Vec<String>,

    /// Also what the kernel sends for itself (ICMP replies, resets, neighbours)
    #[arg(long)]
    pub kernel: bool,

    /// Also what only passes through this machine
    #[arg(long)]
    pub forwarded: bool,
}
