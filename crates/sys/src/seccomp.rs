//! Installs a system call filter for the calling thread and everything that it becomes or starts.
//!
//! Source: Linux `seccomp(2)`, `include/uapi/linux/filter.h`.

use std::io;

/// One instruction of a classic BPF program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip when it does not.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

/// Installs a filter. Needs CAP_SYS_ADMIN or the "no new privileges" bit (`EACCES` otherwise); the
/// kernel checks the program (`EINVAL`). It cannot be taken back.
pub fn install(program: &[Instruction]) -> io::Result<()> {
    let mut instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|one| libc::sock_filter {
            code: one.code,
            jt: one.jump_true,
            jf: one.jump_false,
            k: one.operand,
        })
        .collect();
    let length = u16::try_from(instructions.len())
        .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len: length, filter: instructions.as_mut_ptr() };
    // SAFETY: `program` and the instructions that it points to live until after the call, `len` is
    // their number, and the kernel only reads them.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_refuses_an_empty_program() {
        let error = install(&[]).expect_err("a program ends with a return");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}
