//! From a captured packet to the innermost IP packet: fragments are put together, and
//! tunnels looked into.

use wire::fragments::{Fragments, Taken, fragment};
use wire::packet::parse;
use wire::tunnel::{self, MAX_TUNNELS};
use wire::{Layer, Packet};

/// What is kept between packets.
#[derive(Default)]
pub struct Layers {
    fragments: Fragments,
    /// A packet that was put together.
    whole: Vec<u8>,
    spare: Vec<u8>,
    /// Fragments that contradicted each other.
    pub contradicting: u64,
    /// Packets inside of more than [`MAX_TUNNELS`] tunnels.
    pub too_deep: u64,
}

/// Where the innermost packet is.
pub enum Inner<'a> {
    /// In what was captured.
    Here(&'a [u8], Packet<'a>),
    /// In [`Layers::whole`], from this byte on.
    Whole(usize),
    /// Nowhere, or not yet.
    None,
}

impl Layers {
    /// Finds the innermost packet of one that was seen at `now`.
    pub fn innermost<'a>(&mut self, ip: &'a [u8], now: u64) -> Inner<'a> {
        let mut ip = ip;
        for _ in 0..=MAX_TUNNELS {
            let Some(packet) = parse(Layer::Ip, ip).filter(|p| !p.more_fragments) else {
                return self.piece(ip, now);
            };
            match tunnel::inside(&packet) {
                None => return Inner::Here(ip, packet),
                Some(inner) => ip = inner,
            }
        }
        self.too_deep += 1;
        Inner::None
    }

    /// A packet that was put together, from a byte on.
    pub fn whole(&self, from: usize) -> &[u8] {
        self.whole.get(from..).unwrap_or_default()
    }

    /// The next packet that stays incomplete, as far as it came, in [`Layers::whole`], and
    /// when its first fragment was seen. `now` is `None` at the end.
    pub fn give_up(&mut self, now: Option<u64>) -> Option<u64> {
        self.whole.clear();
        self.fragments.give_up(now, &mut self.whole)
    }

    fn piece<'a>(&mut self, ip: &[u8], now: u64) -> Inner<'a> {
        let Some(piece) = fragment(ip) else { return Inner::None };
        self.whole.clear();
        match self.fragments.add(&piece, now, &mut self.whole) {
            Taken::Waits => Inner::None,
            Taken::GivenUp => {
                self.contradicting += 1;
                Inner::None
            }
            Taken::Whole => self.inside_whole(now),
        }
    }

    /// What was put together may hold a tunnel, and that fragments again.
    fn inside_whole<'a>(&mut self, now: u64) -> Inner<'a> {
        let mut from = 0;
        for _ in 0..=MAX_TUNNELS {
            let ip = &self.whole[from..];
            let Some(packet) = parse(Layer::Ip, ip).filter(|p| !p.more_fragments) else {
                let Some(piece) = fragment(ip) else { return Inner::None };
                self.spare.clear();
                match self.fragments.add(&piece, now, &mut self.spare) {
                    Taken::Whole => {
                        std::mem::swap(&mut self.whole, &mut self.spare);
                        from = 0;
                        continue;
                    }
                    Taken::GivenUp => self.contradicting += 1,
                    Taken::Waits => {}
                }
                return Inner::None;
            };
            match tunnel::inside(&packet) {
                None => return Inner::Whole(from),
                Some(inner) => {
                    from = inner.as_ptr().addr() - self.whole.as_ptr().addr();
                }
            }
        }
        self.too_deep += 1;
        Inner::None
    }
}
