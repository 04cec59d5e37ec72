//! What backends may drop by: networks that source or destination must, or must not, be
//! in. A plan may let too much through, never too little: what is not plainly that is
//! left out.

use super::{Expression, Node, Side, Test};
use crate::plan::{Nets, Plan};
use ipnet::IpNet;

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
            for (side, nets) in [(Side::Src, &mut plan.src), (Side::Dst, &mut plan.dst)] {
                let mut any = Vec::new();
                // What is wanted already is narrower, or about as narrow.
                if nets.include.is_empty() && alternatives(node, side, &mut any) {
                    nets.include = any;
                }
            }
        }
    }
}

/// Whether the node says that one side is in one of some networks, which are collected.
fn alternatives(node: &Node, of: Side, any: &mut Vec<IpNet>) -> bool {
    match node {
        Node::Or(a, b) => alternatives(a, of, any) && alternatives(b, of, any),
        Node::Test(Test::Net(side, net)) if *side == of || *side == Side::Both => {
            any.push(*net);
            true
        }
        _ => false,
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
