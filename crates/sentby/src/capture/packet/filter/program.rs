//! Classic BPF programs in the making.

use libc::sock_filter;

/// `BPF_MAXINSNS` (linux/bpf_common.h).
const MAX_INSTRUCTIONS: usize = 4096;

/// linux/filter.h: class, size, mode, operation.
pub mod op {
    pub const LD_B_ABS: u16 = 0x30;
    pub const LD_H_ABS: u16 = 0x28;
    pub const LD_W_ABS: u16 = 0x20;
    pub const LD_B_IND: u16 = 0x50;
    pub const LD_H_IND: u16 = 0x48;
    pub const LD_MEM: u16 = 0x60;
    pub const LDX_MSH: u16 = 0xb1;
    pub const ST: u16 = 0x02;
    pub const TAX: u16 = 0x07;
    pub const AND: u16 = 0x54;
    pub const RSH: u16 = 0x74;
    pub const LSH: u16 = 0x64;
    pub const SUB_X: u16 = 0x1c;
    pub const JA: u16 = 0x05;
    pub const JEQ: u16 = 0x15;
    pub const JGT: u16 = 0x25;
    pub const JGE: u16 = 0x35;
    pub const JSET: u16 = 0x45;
    pub const JGT_X: u16 = 0x2d;
    pub const RET: u16 = 0x06;
}

/// Where a jump leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// To the next instruction.
    Next,
    /// To where this label is put.
    Label(&'static str),
    /// To where this one is put, which [`Program::mark`] made.
    Mark(usize),
}

/// A program in the making: jumps lead forward to labels.
#[derive(Default)]
pub struct Program {
    code: Vec<(u16, u32, To, To)>,
    labels: Vec<(To, usize)>,
    marks: usize,
}

impl Program {
    /// An instruction that is no jump.
    pub fn put(&mut self, code: u16, k: u32) {
        self.code.push((code, k, To::Next, To::Next));
    }

    /// A jump, by what the accumulator is.
    pub fn jump(&mut self, code: u16, k: u32, yes: To, no: To) {
        self.code.push((code, k, yes, no));
    }

    /// Jumps there if the accumulator is this.
    pub fn is(&mut self, k: u32, there: &'static str) {
        self.jump(op::JEQ, k, To::Label(there), To::Next);
    }

    /// Jumps there in any case, however far.
    pub fn go(&mut self, to: To) {
        self.code.push((op::JA, 0, to, To::Next));
    }

    /// Here is where jumps to this label lead.
    pub fn label(&mut self, name: &'static str) {
        self.place(To::Label(name));
    }

    /// A label without a name.
    pub fn mark(&mut self) -> To {
        self.marks += 1;
        To::Mark(self.marks)
    }

    /// Here is where jumps to that one lead.
    pub fn place(&mut self, to: To) {
        self.labels.push((to, self.code.len()));
    }

    /// The instructions, if every conditional jump is short enough (255), and all of them
    /// are no more than the kernel takes (`BPF_MAXINSNS`).
    pub fn finish(self) -> Option<Vec<sock_filter>> {
        if self.code.len() > MAX_INSTRUCTIONS {
            return None;
        }
        let distance = |from: usize, to: To| match to {
            To::Next => Some(0),
            _ => {
                let (_, at) = self.labels.iter().find(|(label, _)| *label == to)?;
                u32::try_from(at.checked_sub(from + 1)?).ok()
            }
        };
        let each = self.code.iter().enumerate();
        each.map(|(at, (code, k, yes, no))| {
            let (yes, no) = (distance(at, *yes)?, distance(at, *no)?);
            Some(match *code {
                op::JA => sock_filter { code: op::JA, jt: 0, jf: 0, k: yes },
                code => {
                    sock_filter { code, jt: yes.try_into().ok()?, jf: no.try_into().ok()?, k: *k }
                }
            })
        })
        .collect()
    }
}
