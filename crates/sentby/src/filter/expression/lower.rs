//! What backends may drop by: networks and ports that source or destination must have, and
//! networks that they must not be in. A plan may let too much through, never too little:
//! what is not plainly that is left out.

use super::{Expression, Node, Side, Test};
use crate::plan::{Nets, Plan, Ports};
use ipnet::IpNet;
use std::ops::RangeInclusive;

impl Expression {
    /// Narrows a plan to what the expression lets through.
    pub fn lower(&self, plan: &mut Plan) {
        require(&self.root, plan);
    }
}

/// The node has to be true.
fn require(node: &Node, plan: &mut Plan) {
    match node {
        Node::And(a, b) => {
            require(a, plan);
            require(b, plan);
        }
        Node::Not(inner) => forbid(inner, plan),
        _ => {
            networks(node, plan);
            ports(node, plan);
        }
    }
}

/// What is wanted already is narrower, or about as narrow.
fn networks(node: &Node, plan: &mut Plan) {
    let mut exact = false;
    for (side, nets) in [(Side::Src, &mut plan.src), (Side::Dst, &mut plan.dst)] {
        if let Some(any) = alternatives(node, side, net_of) {
            exact = true;
            if nets.include.is_empty() {
                nets.include = any;
            }
        }
    }
    if !exact
        && plan.either.is_empty()
        && let Some(any) = alternatives(node, Side::Either, net_of)
    {
        plan.either = any;
    }
}

fn ports(node: &Node, plan: &mut Plan) {
    let Ports { src, dst, either } = &mut plan.ports;
    let mut exact = false;
    for (side, list) in [(Side::Src, src), (Side::Dst, dst)] {
        if let Some(any) = alternatives(node, side, port_of) {
            exact = true;
            if list.is_empty() {
                *list = any;
            }
        }
    }
    if !exact
        && either.is_empty()
        && let Some(any) = alternatives(node, Side::Either, port_of)
    {
        *either = any;
    }
}

/// If the node says that a side has one of some values: those. What says so of one side
/// says so of either.
fn alternatives<T>(
    node: &Node,
    of: Side,
    value: impl Fn(&Test) -> Option<(Side, T)> + Copy,
) -> Option<Vec<T>> {
    match node {
        Node::Or(a, b) => {
            let mut any = alternatives(a, of, value)?;
            any.extend(alternatives(b, of, value)?);
            Some(any)
        }
        Node::Test(test) => {
            let (side, value) = value(test)?;
            (side == of || side == Side::Both || of == Side::Either).then(|| vec![value])
        }
        _ => None,
    }
}

fn net_of(test: &Test) -> Option<(Side, IpNet)> {
    match test {
        Test::Net(side, net) => Some((*side, *net)),
        _ => None,
    }
}

fn port_of(test: &Test) -> Option<(Side, RangeInclusive<u16>)> {
    match test {
        Test::Port(side, _, range) => Some((*side, range.clone())),
        _ => None,
    }
}

/// The node has to be false.
fn forbid(node: &Node, plan: &mut Plan) {
    match node {
        Node::Or(a, b) => {
            forbid(a, plan);
            forbid(b, plan);
        }
        Node::Not(inner) => require(inner, plan),
        Node::Test(Test::Net(side, net)) => {
            let exclude = |nets: &mut Nets| nets.exclude.push(*net);
            match side {
                Side::Src => exclude(&mut plan.src),
                Side::Dst => exclude(&mut plan.dst),
                Side::Either => {
                    exclude(&mut plan.src);
                    exclude(&mut plan.dst);
                }
                // One of the two may be there.
                Side::Both => {}
            }
        }
        _ => {}
    }
}
