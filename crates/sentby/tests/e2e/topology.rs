//! The little networks that cases run in. Addresses are documentation's (RFC 5737,
//! RFC 3849) and exist only inside namespaces of our own.

use crate::ctx::Ctx;
use crate::netns::Netns;
use anyhow::Result;

/// Sender's address in [`Pair`] and [`Chain`].
pub const A4: &str = "192.0.2.1";
/// Sender's second address in [`Pair`], on its loopback.
pub const A4_OTHER: &str = "203.0.113.1";
/// Sender's IPv6 address.
pub const A6: &str = "2001:db8:a::1";
/// Peer's address in [`Pair`].
pub const B4: &str = "192.0.2.2";
/// Peer's second address in [`Pair`].
pub const B4_OTHER: &str = "198.51.100.2";
/// An address in the pair's subnet that nobody has.
pub const NOBODY4: &str = "192.0.2.99";
/// Peer's IPv6 address in [`Pair`].
pub const B6: &str = "2001:db8:a::2";
/// The far end's address in [`Chain`].
pub const FAR4: &str = "198.51.100.1";
/// The far end's IPv6 address in [`Chain`].
pub const FAR6: &str = "2001:db8:b::1";
/// Sender's MAC address.
pub const A_MAC: &str = "02:00:5e:00:53:0a";
/// Peer's MAC address.
pub const B_MAC: &str = "02:00:5e:00:53:0b";
/// The router's MAC addresses.
pub const R_MACS: [&str; 2] = ["02:00:5e:00:53:10", "02:00:5e:00:53:11"];

/// Two namespaces joined by a veth pair `a0`–`b0`. The peer counts what arrives.
pub struct Pair {
    /// The sender's side.
    pub a: Netns,
    /// The peer.
    pub b: Netns,
}

impl Pair {
    /// Both families; neighbours known beforehand, so that packets leave at once.
    pub fn new(ctx: &Ctx) -> Result<Self> {
        let pair = Self::without_neighbours(ctx)?;
        pair.a.ip(&format!(
            "neigh replace {B4} lladdr {B_MAC} dev a0 nud permanent
             neigh replace {B6} lladdr {B_MAC} dev a0 nud permanent"
        ))?;
        pair.b.ip(&format!(
            "neigh replace {A4} lladdr {A_MAC} dev b0 nud permanent
             neigh replace {A6} lladdr {A_MAC} dev b0 nud permanent"
        ))?;
        Ok(pair)
    }

    /// As [`Pair::new`], but neighbours must be asked for.
    pub fn without_neighbours(ctx: &Ctx) -> Result<Self> {
        let (a, b) = (ctx.netns("a")?, ctx.netns("b")?);
        a.ip(&format!(
            "link add a0 address {A_MAC} mtu 1500 type veth peer name b0 address {B_MAC} \
             mtu 1500 netns {}",
            b.name()
        ))?;
        b.ip(&format!(
            "link set b0 up
             addr add {B4}/24 dev b0
             addr add {B4_OTHER}/32 dev lo
             addr add {B6}/64 dev b0 nodad
             route add {A4_OTHER}/32 via {A4}"
        ))?;
        a.ip(&format!(
            "link set a0 up
             addr add {A4}/24 dev a0
             addr add {A4_OTHER}/32 dev lo
             addr add {A6}/64 dev a0 nodad
             route add {B4_OTHER}/32 via {B4}"
        ))?;
        b.count_arrivals()?;
        // Errors and replies without the limits that keep a real host polite.
        for ns in [&a, &b] {
            ns.sh("echo 0 > /proc/sys/net/ipv4/icmp_ratemask
                   echo 0 > /proc/sys/net/ipv6/icmp/ratelimit")?;
        }
        Ok(Pair { a, b })
    }

    /// As [`Pair::new`] with kernels that answer nothing: all packets are processes'.
    pub fn silent(ctx: &Ctx) -> Result<Self> {
        let pair = Self::new(ctx)?;
        for ns in [&pair.a, &pair.b] {
            ns.sh("echo 1 > /proc/sys/net/ipv4/icmp_echo_ignore_all
                   echo 1 > /proc/sys/net/ipv6/icmp/echo_ignore_all")?;
        }
        Ok(pair)
    }
}

/// Sender – switch (a bridge) – router – far end, each in a namespace of its own.
pub struct Chain {
    /// The sender's side: `a0`.
    pub a: Netns,
    /// The switch: `br0` with ports `sa` and `sr`.
    pub switch: Netns,
    /// The router: `r0` and `r1`.
    pub router: Netns,
    /// The far end: `b0`, which counts what arrives.
    pub far: Netns,
}

impl Chain {
    /// Wires it, with neighbours known beforehand.
    pub fn new(ctx: &Ctx) -> Result<Self> {
        let chain = Chain {
            a: ctx.netns("a")?,
            switch: ctx.netns("switch")?,
            router: ctx.netns("router")?,
            far: ctx.netns("far")?,
        };
        let Chain { a, switch, router, far } = &chain;
        let [r0, r1] = R_MACS;
        switch.ip(&format!(
            "link add name br0 type bridge
             link add sa type veth peer name a0 address {A_MAC} netns {}
             link add sr type veth peer name r0 address {r0} netns {}
             link set sa master br0
             link set sr master br0
             link set sa up
             link set sr up
             link set br0 up",
            a.name(),
            router.name()
        ))?;
        far.ip(&format!(
            "link add b0 address {B_MAC} type veth peer name r1 address {r1} netns {}",
            router.name()
        ))?;
        router.ip(&format!(
            "link set r0 up
             link set r1 up
             addr add 192.0.2.254/24 dev r0
             addr add 198.51.100.254/24 dev r1
             addr add 2001:db8:a::fe/64 dev r0 nodad
             addr add 2001:db8:b::fe/64 dev r1 nodad
             neigh replace {A4} lladdr {A_MAC} dev r0 nud permanent
             neigh replace {A6} lladdr {A_MAC} dev r0 nud permanent
             neigh replace {FAR4} lladdr {B_MAC} dev r1 nud permanent
             neigh replace {FAR6} lladdr {B_MAC} dev r1 nud permanent"
        ))?;
        router.sh("echo 1 > /proc/sys/net/ipv4/ip_forward
                   echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
                   echo 0 > /proc/sys/net/ipv4/icmp_ratemask
                   echo 0 > /proc/sys/net/ipv6/icmp/ratelimit")?;
        a.ip(&format!(
            "link set a0 up
             addr add {A4}/24 dev a0
             addr add {A6}/64 dev a0 nodad
             neigh replace 192.0.2.254 lladdr {r0} dev a0 nud permanent
             neigh replace 2001:db8:a::fe lladdr {r0} dev a0 nud permanent
             route add default via 192.0.2.254
             route add default via 2001:db8:a::fe"
        ))?;
        far.ip(&format!(
            "link set b0 up
             addr add {FAR4}/24 dev b0
             addr add {FAR6}/64 dev b0 nodad
             neigh replace 198.51.100.254 lladdr {r1} dev b0 nud permanent
             neigh replace 2001:db8:b::fe lladdr {r1} dev b0 nud permanent
             route add default via 198.51.100.254
             route add default via 2001:db8:b::fe"
        ))?;
        far.count_arrivals()?;
        // A bridge port forwards only after it has learnt that its link is up.
        crate::netns::await_link(switch, "br0", ctx.secs(10))?;
        Ok(chain)
    }
}
