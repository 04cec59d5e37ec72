//! Plain loads of kernel memory, where the kernel has the functions that type them
//! (Linux 6.2): numbers stand for these in the programs until their BTF ids are known.

use super::skeleton::types::sentby_function;
use anyhow::{Result, bail};
use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::Func;
use libbpf_rs::{AsRawLibbpf, OpenProgramMut};

/// BPF_JMP | BPF_CALL (include/uapi/linux/bpf.h).
const CALL: u8 = 0x85;

/// BTF ids of the functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Functions {
    rdonly_cast: i32,
    kern_ctx: i32,
}

impl Functions {
    /// The functions of the running kernel, if it has them.
    pub fn find(btf: &Btf<'_>) -> Option<Functions> {
        let id = |name| {
            let function = btf.type_by_name::<Func<'_>>(name)?;
            i32::try_from(u32::from(function.type_id())).ok()
        };
        Some(Functions {
            rdonly_cast: id("bpf_rdonly_cast")?,
            kern_ctx: id("bpf_cast_to_kern_ctx")?,
        })
    }

    /// Which function a number in the programs stands for.
    fn of(&self, number: i32) -> Option<i32> {
        match u32::try_from(number).map(sentby_function) {
            Ok(sentby_function::SENTBY_RDONLY_CAST) => Some(self.rdonly_cast),
            Ok(sentby_function::SENTBY_KERN_CTX) => Some(self.kern_ctx),
            _ => None,
        }
    }

    /// Puts them into a program that is not loaded yet.
    pub fn put_into(&self, program: &mut OpenProgramMut<'_>) -> Result<()> {
        let mut code = program.insns().to_vec();
        for word in code.iter_mut().filter(|w| w.code == CALL && w.src_reg() == 0) {
            if let Some(id) = self.of(word.imm) {
                word.set_src_reg(libbpf_sys::BPF_PSEUDO_KFUNC_CALL as u8);
                word.imm = id;
            }
        }
        // SAFETY: the program is open, and libbpf copies the instructions.
        let failed = unsafe {
            libbpf_sys::bpf_program__set_insns(
                program.as_libbpf_object().as_ptr(),
                code.as_mut_ptr(),
                code.len() as u64,
            )
        };
        if failed != 0 {
            bail!("giving {:?} its instructions (error {failed})", program.name());
        }
        Ok(())
    }
}
