//! As fast as one can ping: nothing is lost, and what is counted is what the peer got.

use crate::ctx::{Case, Ctx};
use crate::topology::{B4, Pair};
use anyhow::{Result, ensure};

pub const CASES: &[Case] = &[
    Case::new("flood", flood).tools(&["ping"]),
    Case::new("flood_with_a_tiny_buffer", flood_with_a_tiny_buffer).tools(&["ping"]),
];

fn flood(ctx: &Ctx) -> Result<()> {
    let (seen, lost, counted) = count(ctx, ctx.scaled(200_000), &[])?;
    ensure!(seen + lost == counted, "{seen} shown + {lost} lost, the peer counted {counted}");
    ensure!(lost == 0, "{lost} of {counted} lost");
    Ok(())
}

/// Where the buffer is too small, what is missing is counted to the last packet.
fn flood_with_a_tiny_buffer(ctx: &Ctx) -> Result<()> {
    let (seen, lost, counted) = count(ctx, ctx.scaled(50_000), &["--buffer-size", "4096"])?;
    ensure!(seen + lost >= counted, "{seen} shown + {lost} lost, the peer counted {counted}");
    // Others' pings may be among the lost, but there are not thousands of them.
    ensure!(seen + lost < counted + 1000, "{lost} lost is too many: {seen} of {counted} shown");
    Ok(())
}

/// Floods the peer; says how many requests sentby showed and lost, and the peer got.
fn count(ctx: &Ctx, n: u64, options: &[&str]) -> Result<(u64, u64, u64)> {
    let pair = Pair::new(ctx)?;
    let tracer = ctx.tracer().args(options).start()?;
    let ping = ctx.tool("ping")?.args(["-n", "-q", "-f", "-c", &n.to_string(), B4]);
    let ping = pair.a.run(ping, ctx.secs(120))?;
    let (inode, mut shown, mut wrong) = (pair.a.inode(), 0, 0);
    // ping counts up and starts again at 65536: no number is used much more than others.
    let mut uses = vec![0u64; 1 << 16];
    let ledger = tracer.stop_briefly(|brief| {
        if brief.netns == Some(inode) {
            shown += 1;
            uses[usize::from(brief.icmp.seq.unwrap_or(0))] += 1;
            wrong += u64::from(brief.pid != Some(ping.pid) || brief.icmp.type_number != 8);
        }
    })?;
    ensure!(wrong == 0, "{wrong} of {shown} events are not ping's requests");
    let most = uses.iter().max().copied().unwrap_or(0);
    ensure!(most <= n.div_ceil(1 << 16), "a sequence number was shown {most} times");
    let counted = pair.b.counted("request")?;
    ensure!(counted >= n, "ping sent only {counted} of {n}");
    Ok((shown, ledger.lost, counted))
}
