//! x86's `socketcall` and `ipc`: one call number for many calls.
//!
//! A rule for `socket` must also govern `socketcall(SYS_SOCKET, …)`. The first
//! argument tells which call is meant; the call's own arguments lie in the
//! process's memory, where a filter cannot look. A rule that tests arguments
//! therefore applies to the multiplexed form only if it forbids more than the
//! default does: it may forbid too much, and never allows too much.

use crate::rules::{Op, Rules, Test, verdict};
use crate::table::{Row, row};

const SOCKETCALL: u32 = 102;
const IPC: u32 = 117;

/// Call, multiplexer and the number there (`linux/net.h`, `linux/ipc.h`), by
/// name as the table is.
const CALLS: [(Row, u32, u8); 32] = [
    (row("accept"), SOCKETCALL, 5),
    (row("accept4"), SOCKETCALL, 18),
    (row("bind"), SOCKETCALL, 2),
    (row("connect"), SOCKETCALL, 3),
    (row("getpeername"), SOCKETCALL, 7),
    (row("getsockname"), SOCKETCALL, 6),
    (row("getsockopt"), SOCKETCALL, 15),
    (row("listen"), SOCKETCALL, 4),
    (row("msgctl"), IPC, 14),
    (row("msgget"), IPC, 13),
    (row("msgrcv"), IPC, 12),
    (row("msgsnd"), IPC, 11),
    (row("recv"), SOCKETCALL, 10),
    (row("recvfrom"), SOCKETCALL, 12),
    (row("recvmmsg"), SOCKETCALL, 19),
    (row("recvmsg"), SOCKETCALL, 17),
    (row("semctl"), IPC, 3),
    (row("semget"), IPC, 2),
    (row("semop"), IPC, 1),
    (row("semtimedop"), IPC, 4),
    (row("send"), SOCKETCALL, 9),
    (row("sendmmsg"), SOCKETCALL, 20),
    (row("sendmsg"), SOCKETCALL, 16),
    (row("sendto"), SOCKETCALL, 11),
    (row("setsockopt"), SOCKETCALL, 14),
    (row("shmat"), IPC, 21),
    (row("shmctl"), IPC, 24),
    (row("shmdt"), IPC, 22),
    (row("shmget"), IPC, 23),
    (row("shutdown"), SOCKETCALL, 13),
    (row("socket"), SOCKETCALL, 1),
    (row("socketpair"), SOCKETCALL, 8),
];

/// Adds the rules for the multiplexed forms of the calls that are named.
pub(crate) fn add(rules: &mut Rules, calls: &mut Vec<u64>) {
    for at in 0..rules.named.len() {
        let Some((named, first, count)) = rules.named.get(at).copied() else {
            continue;
        };
        let Ok(found) = CALLS.binary_search_by_key(&named, |call| call.0) else {
            continue;
        };
        let Some((_, multiplexer, number)) = CALLS.get(found).copied() else {
            continue;
        };
        // All rules of one entry have one verdict.
        let Some(rule) = rules.get(first).filter(|_| count > 0).copied() else {
            continue;
        };
        if !rules.tests(&rule).is_empty() && !stricter(rule.verdict, rules.default) {
            continue;
        }
        let test = Test {
            index: 0,
            op: Op::Equal,
            value: u64::from(number),
        };
        let rule = rules.add(rule.verdict, &[test]);
        calls.push(u64::from(multiplexer) << 32 | u64::from(rule));
    }
}

/// The kernel's order of verdicts, least permissive first, is that of the
/// action as a signed number (`linux/seccomp.h`).
fn stricter(verdict: u32, than: u32) -> bool {
    let rank = |verdict: u32| (verdict & verdict::ACTION).cast_signed();
    rank(verdict) < rank(than)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_sorted() {
        assert!(CALLS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn order_of_verdicts() {
        let order = [
            verdict::KILL_PROCESS,
            verdict::KILL_THREAD,
            verdict::TRAP,
            verdict::ERRNO,
            verdict::NOTIFY,
            verdict::TRACE,
            verdict::LOG,
            verdict::ALLOW,
        ];
        assert!(
            order
                .windows(2)
                .all(|pair| stricter(pair[0], pair[1]) && !stricter(pair[1], pair[0]))
        );
        assert!(!stricter(verdict::ERRNO | 1, verdict::ERRNO | 2));
    }
}
