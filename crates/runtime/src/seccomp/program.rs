//! Makes the kernel's filter program (classic BPF) of a policy.
//!
//! libseccomp takes some 15 ms of processor time for Docker's default policy, a tenth of what starting
//! a container may cost; this takes well below one. It knows what that policy needs (allow and errno;
//! equal, not equal and masked comparisons) and declines everything else, which is then left to
//! libseccomp.
//!
//! Shape: the architecture picks a search tree over system call numbers whose leaves return, or first
//! look at arguments. Source: Linux `Documentation/userspace-api/seccomp_filter.rst`.

use std::collections::{BTreeMap, BTreeSet};

use libseccomp::{ScmpArch, ScmpSyscall};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator,
};
use orlop_sys::seccomp::Instruction;

/// `BPF_LD | BPF_W | BPF_ABS`
const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`
const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`
const JUMP: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`
const JUMP_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGE | BPF_K`
const JUMP_GREATER_EQUAL: u16 = 0x35;
/// `BPF_RET | BPF_K`
const RETURN: u16 = 0x06;

/// `SECCOMP_RET_KILL_PROCESS`: for architectures that are not in the policy.
const KILL_PROCESS: u32 = 0x8000_0000;
/// `SECCOMP_RET_ERRNO`, with the number in the low 16 bits.
const ERRNO: u32 = 0x0005_0000;
/// `SECCOMP_RET_ALLOW`
const ALLOW: u32 = 0x7fff_0000;

/// Offsets in `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;
const ARGUMENTS_OFFSET: u32 = 16;

/// The kernel's limit (`BPF_MAXINSNS`).
const MAX_INSTRUCTIONS: usize = 4096;

/// An architecture of a policy: its name there and for libseccomp, and the kernel's number. x32 shares
/// the number of x86_64 and marks its calls with bit 30.
const ARCHITECTURES: [(Arch, ScmpArch, u32); 5] = [
    (Arch::ScmpArchX86_64, ScmpArch::X8664, 0xc000_003e),
    (Arch::ScmpArchX32, ScmpArch::X32, 0xc000_003e),
    (Arch::ScmpArchX86, ScmpArch::X86, 0x4000_0003),
    (Arch::ScmpArchAarch64, ScmpArch::Aarch64, 0xc000_00b7),
    (Arch::ScmpArchArm, ScmpArch::Arm, 0x4000_0028),
];

/// Calls that 32-bit x86 has both by themselves and as part of `socketcall` or `ipc`; libseccomp names
/// only the latter.
const X86_DIRECT: [(&str, u32); 25] = [
    ("socket", 359),
    ("socketpair", 360),
    ("bind", 361),
    ("connect", 362),
    ("listen", 363),
    ("accept4", 364),
    ("getsockopt", 365),
    ("setsockopt", 366),
    ("getsockname", 367),
    ("getpeername", 368),
    ("sendto", 369),
    ("sendmsg", 370),
    ("recvfrom", 371),
    ("recvmsg", 372),
    ("shutdown", 373),
    ("semget", 393),
    ("semctl", 394),
    ("shmget", 395),
    ("shmctl", 396),
    ("shmat", 397),
    ("shmdt", 398),
    ("msgget", 399),
    ("msgsnd", 400),
    ("msgrcv", 401),
    ("msgctl", 402),
];

/// What happens to a system call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    /// Returns at once.
    Always(u32),
    /// The first alternative whose comparisons all hold, else the policy's default.
    Depends(Vec<Alternative>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Alternative {
    comparisons: Vec<Comparison>,
    result: u32,
}

/// A comparison of one argument's masked value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Comparison {
    index: u32,
    mask: u64,
    value: u64,
    equal: bool,
}

/// The program of a policy; `None` when it has something that only libseccomp knows.
#[must_use]
pub(crate) fn compile(policy: &LinuxSeccomp) -> Option<Vec<Instruction>> {
    if policy.flags().is_some() || policy.listener_path().is_some() {
        return None;
    }
    let default = result(policy.default_action(), policy.default_errno_ret())?;
    let mut trees: BTreeMap<u32, BTreeMap<u32, Decision>> = BTreeMap::new();
    for wanted in policy.architectures().as_ref()? {
        let &(_, architecture, number) =
            ARCHITECTURES.iter().find(|(known, ..)| known == wanted)?;
        trees.entry(number).or_default().append(&mut decisions(policy, architecture)?);
    }
    let mut program = vec![load(ARCHITECTURE_OFFSET)];
    for (architecture, decisions) in trees {
        let mut tree = vec![load(NUMBER_OFFSET)];
        search(&intervals(&decisions, default), default, &mut tree);
        // Not this architecture: over the jump and the tree, however long it is.
        program.push(branch(JUMP_EQUAL, architecture, 1, 0));
        program.push(jump_over(tree.len()));
        program.append(&mut tree);
    }
    program.push(give(KILL_PROCESS));
    (program.len() <= MAX_INSTRUCTIONS).then_some(program)
}

/// What a policy says about each call of one architecture that it names.
fn decisions(policy: &LinuxSeccomp, architecture: ScmpArch) -> Option<BTreeMap<u32, Decision>> {
    let mut decisions: BTreeMap<u32, Decision> = BTreeMap::new();
    for rule in policy.syscalls().iter().flatten() {
        let result = result(rule.action(), rule.errno_ret())?;
        for name in rule.names() {
            let Some(number) = number(name, architecture) else { continue };
            let arguments = rule.args().as_deref().unwrap_or_default();
            let comparisons: Vec<Comparison> = arguments
                .iter()
                .map(|argument| comparison(name, argument))
                .collect::<Option<_>>()?;
            // For libseccomp's users, two comparisons of one argument are two rules.
            let indices: BTreeSet<u32> = comparisons.iter().map(|one| one.index).collect();
            if indices.len() != comparisons.len() {
                return None;
            }
            let entry = decisions.entry(number).or_insert_with(|| Decision::Depends(Vec::new()));
            match entry {
                // A rule without conditions stands above those with conditions.
                Decision::Always(_) => {}
                entry if comparisons.is_empty() => *entry = Decision::Always(result),
                Decision::Depends(alternatives) => {
                    alternatives.push(Alternative { comparisons, result });
                }
            }
        }
    }
    Some(decisions)
}

/// The number of a call; `None` where the architecture or libseccomp does not have it.
fn number(name: &str, architecture: ScmpArch) -> Option<u32> {
    if architecture == ScmpArch::X86
        && let Some((_, number)) = X86_DIRECT.iter().find(|(known, _)| *known == name)
    {
        return Some(*number);
    }
    let syscall = ScmpSyscall::from_name_by_arch(name, architecture).ok()?;
    // Negative numbers are libseccomp's own, for calls of other architectures.
    u32::try_from(i32::from(syscall)).ok()
}

fn result(action: LinuxSeccompAction, errno: Option<u32>) -> Option<u32> {
    match action {
        LinuxSeccompAction::ScmpActAllow => Some(ALLOW),
        LinuxSeccompAction::ScmpActErrno => {
            Some(ERRNO | (errno.unwrap_or(libc::EPERM.cast_unsigned()) & 0xffff))
        }
        _ => None,
    }
}

fn comparison(name: &str, argument: &LinuxSeccompArg) -> Option<Comparison> {
    let index = u32::try_from(argument.index()).ok().filter(|&index| index < 6)?;
    // The kernel takes the family as an `int`: what stands in the upper half must not matter.
    let mask = if name == "socket" { u64::from(u32::MAX) } else { u64::MAX };
    let (mask, value, equal) = match argument.op() {
        LinuxSeccompOperator::ScmpCmpEq => (mask, argument.value(), true),
        LinuxSeccompOperator::ScmpCmpNe => (mask, argument.value(), false),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (argument.value(), argument.value_two().unwrap_or(0), true)
        }
        _ => return None,
    };
    // A value outside its mask can never be met; libseccomp may have an opinion about it.
    (value & !mask == 0).then_some(Comparison { index, mask, value, equal })
}

/// Splits the numbers into intervals of one decision each: first number and decision.
fn intervals(decisions: &BTreeMap<u32, Decision>, default: u32) -> Vec<(u32, Decision)> {
    let mut intervals = vec![(0, Decision::Always(default))];
    let mut push = |start: u32, decision: Decision| {
        if let Some(last) = intervals.last_mut()
            && last.0 == start
        {
            last.1 = decision;
        } else {
            intervals.push((start, decision));
        }
    };
    for (&number, decision) in decisions {
        push(number, decision.clone());
        push(number + 1, Decision::Always(default));
    }
    intervals.dedup_by(|later, earlier| later.1 == earlier.1);
    intervals
}

/// Appends a search tree over intervals; the accumulator holds the number.
fn search(intervals: &[(u32, Decision)], default: u32, program: &mut Vec<Instruction>) {
    if let [(_, decision)] = intervals {
        return decide(decision, default, program);
    }
    let (lower, upper) = intervals.split_at(intervals.len() / 2);
    let mut low = Vec::new();
    search(lower, default, &mut low);
    program.push(branch(JUMP_GREATER_EQUAL, upper.first().map_or(0, |first| first.0), 0, 1));
    program.push(jump_over(low.len()));
    program.append(&mut low);
    search(upper, default, program);
}

/// Appends a leaf.
fn decide(decision: &Decision, default: u32, program: &mut Vec<Instruction>) {
    match decision {
        Decision::Always(result) => program.push(give(*result)),
        Decision::Depends(alternatives) => {
            for alternative in alternatives {
                alternative_code(alternative, program);
            }
            program.push(give(default));
        }
    }
}

/// Appends the comparisons of an alternative and its result; goes on after it when one fails.
fn alternative_code(alternative: &Alternative, program: &mut Vec<Instruction>) {
    // From the back, so that the distance to the end is known.
    let mut code = vec![give(alternative.result)];
    for comparison in alternative.comparisons.iter().rev() {
        let halves = [comparison.mask as u32, (comparison.mask >> 32) as u32];
        let values = [comparison.value as u32, (comparison.value >> 32) as u32];
        let matched = code.len();
        let mut part: Vec<Instruction> = Vec::new();
        for half in 0..2 {
            if halves[half] == 0 {
                continue;
            }
            // Instructions between this comparison and the start of `code`.
            let rest = u8::try_from(part.len()).unwrap_or(u8::MAX);
            let end = u8::try_from(part.len() + matched).unwrap_or(u8::MAX);
            let (holds, fails) = match (comparison.equal, part.is_empty()) {
                (true, _) => (0, end),
                // Not equal needs one half that differs: the last half decides, an earlier one that
                // differs is enough.
                (false, true) => (end, 0),
                (false, false) => (0, rest),
            };
            let offset = ARGUMENTS_OFFSET + 8 * comparison.index + half_offset(half);
            let mut step = vec![load(offset)];
            if halves[half] != u32::MAX {
                step.push(Instruction {
                    code: AND,
                    jump_true: 0,
                    jump_false: 0,
                    operand: halves[half],
                });
            }
            step.push(branch(JUMP_EQUAL, values[half], holds, fails));
            step.append(&mut part);
            part = step;
        }
        part.append(&mut code);
        code = part;
    }
    program.append(&mut code);
}

/// Where the lower (0) or upper (1) half of an argument is.
fn half_offset(half: usize) -> u32 {
    let upper_first = cfg!(target_endian = "big");
    if (half == 0) == upper_first { 4 } else { 0 }
}

fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, jump_true: 0, jump_false: 0, operand: offset }
}

fn give(result: u32) -> Instruction {
    Instruction { code: RETURN, jump_true: 0, jump_false: 0, operand: result }
}

fn branch(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}

/// Skips a number of instructions, far too.
fn jump_over(length: usize) -> Instruction {
    let operand = u32::try_from(length).unwrap_or(u32::MAX);
    Instruction { code: JUMP, jump_true: 0, jump_false: 0, operand }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use oci_spec::runtime::LinuxSyscall;

    use super::*;
    use crate::capabilities::CapabilitySet;
    use crate::seccomp::docker_default;

    /// Runs a program as the kernel would.
    fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend(number.to_ne_bytes());
        data.extend(architecture.to_ne_bytes());
        data.extend([0; 8]);
        arguments.iter().for_each(|argument| data.extend(argument.to_ne_bytes()));
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let one = program[at];
            at += 1;
            let skip =
                |holds: bool| usize::from(if holds { one.jump_true } else { one.jump_false });
            match one.code {
                LOAD => {
                    let offset = one.operand as usize;
                    accumulator = u32::from_ne_bytes(data[offset..offset + 4].try_into().unwrap());
                }
                AND => accumulator &= one.operand,
                JUMP => at += one.operand as usize,
                JUMP_EQUAL => at += skip(accumulator == one.operand),
                JUMP_GREATER_EQUAL => at += skip(accumulator >= one.operand),
                RETURN => return one.operand,
                other => panic!("operation {other:#x}"),
            }
        }
    }

    /// The rules of a policy by number.
    type Rules<'a> = BTreeMap<u32, Vec<&'a LinuxSyscall>>;

    fn rules(policy: &LinuxSeccomp, architecture: ScmpArch) -> Rules<'_> {
        let mut rules = Rules::new();
        for rule in policy.syscalls().iter().flatten() {
            for number in rule.names().iter().filter_map(|name| number(name, architecture)) {
                rules.entry(number).or_default().push(rule);
            }
        }
        rules
    }

    /// What a policy says, found without trees or halves.
    fn expected(rules: &Rules<'_>, number: u32, arguments: [u64; 6]) -> u32 {
        let rules = || rules.get(&number).into_iter().flatten();
        let free = rules().find(|rule| rule.args().is_none());
        let met = rules().find(|rule| {
            rule.args().iter().flatten().all(|argument| {
                let actual = arguments[argument.index()];
                match argument.op() {
                    LinuxSeccompOperator::ScmpCmpEq => actual == argument.value(),
                    LinuxSeccompOperator::ScmpCmpNe => actual as u32 != argument.value() as u32,
                    _ => actual & argument.value() == argument.value_two().unwrap_or(0),
                }
            })
        });
        free.or(met).map_or(ERRNO | 1, |rule| result(rule.action(), rule.errno_ret()).unwrap())
    }

    const VALUES: [u64; 10] = [
        0,
        8,
        17,
        40,
        0x2_0008,
        0x1000_0000,
        0x7e02_0000,
        0xffff_ffff,
        0x1_0000_0028,
        0x1_0000_0000,
    ];

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_program_does_what_the_policy_says() {
        let default = CapabilitySet::docker_default();
        for capabilities in [default, CapabilitySet::all(), CapabilitySet::default()] {
            let policy = docker_default(capabilities);
            let program = compile(&policy).unwrap();
            let machines = [
                (ScmpArch::X8664, 0xc000_003e, 0),
                (ScmpArch::X32, 0xc000_003e, 0x4000_0000),
                (ScmpArch::X86, 0x4000_0003, 0),
            ];
            for (architecture, token, first) in machines {
                let rules = rules(&policy, architecture);
                assert!(rules.len() > 250, "{architecture:?}");
                for number in (first..first + 700).chain([u32::MAX, 0x3fff_ffff]) {
                    for value in VALUES {
                        let arguments = [value, 1, 2, 3, 4, 5];
                        assert_eq!(
                            run(&program, token, number, arguments),
                            expected(&rules, number, arguments),
                            "{architecture:?} {number} {value:#x}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn known_calls() {
        const HERE: u32 = 0xc000_003e;
        let program = compile(&docker_default(CapabilitySet::docker_default())).unwrap();
        let call = |number: u32, first: u64| run(&program, HERE, number, [first, 0, 0, 0, 0, 0]);
        assert_eq!(call(0, 0), ALLOW); // read
        assert_eq!(call(59, 0), ALLOW); // execve
        assert_eq!(call(165, 0), ERRNO | 1); // mount
        assert_eq!(call(272, 0x1000_0000), ERRNO | 1); // unshare
        assert_eq!(call(435, 0), ERRNO | 38); // clone3
        assert_eq!(call(56, 0x11), ALLOW); // clone: a process
        assert_eq!(call(56, 0x1000_0011), ERRNO | 1); // clone: a user namespace
        assert_eq!(call(41, 2), ALLOW); // socket: internet
        assert_eq!(call(41, 40), ERRNO | 1); // socket: vsock
        assert_eq!(call(41, 0x1_0000_0028), ERRNO | 1); // the same, for the kernel
        assert_eq!(call(135, 0xffff_ffff), ALLOW); // personality: query
        assert_eq!(call(135, 0x4_0000), ERRNO | 1); // personality: no address randomisation
        assert_eq!(call(425, 0), ERRNO | 1); // io_uring_setup
        assert_eq!(run(&program, 0x1234, 0, [0; 6]), KILL_PROCESS);
        assert!(program.len() < 1500, "{}", program.len());
    }

    #[test]
    fn what_only_libseccomp_knows_is_declined() {
        let mut policy = docker_default(CapabilitySet::docker_default());
        policy.set_default_action(LinuxSeccompAction::ScmpActTrap);
        assert_eq!(compile(&policy), None);
        let text = br#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],"syscalls":
            [{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":3,"op":"SCMP_CMP_GE"}]}]}"#;
        let policy = crate::seccomp::parse(text, CapabilitySet::default()).unwrap();
        assert_eq!(compile(&policy), None);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn several_comparisons_of_one_rule() {
        let text = br#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],"syscalls":
            [{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":5,"args":[
              {"index":0,"value":3,"op":"SCMP_CMP_EQ"},{"index":1,"value":4294967303,"op":"SCMP_CMP_NE"}]}]}"#;
        let policy = crate::seccomp::parse(text, CapabilitySet::default()).unwrap();
        let program = compile(&policy).unwrap();
        let call =
            |first: u64, second: u64| run(&program, 0xc000_003e, 0, [first, second, 0, 0, 0, 0]);
        assert_eq!(call(3, 7), ERRNO | 5);
        assert_eq!(call(3, 0x1_0000_0008), ERRNO | 5);
        assert_eq!(call(3, 0x1_0000_0007), ALLOW);
        assert_eq!(call(0x1_0000_0003, 7), ALLOW);
    }
}
