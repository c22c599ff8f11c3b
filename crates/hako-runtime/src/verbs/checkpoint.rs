//! `checkpoint`: write a container into files, by CRIU.

use hako_spec::runtime::Status;

use super::{Global, delete, load, no_more};
use crate::cli::Args;
use crate::container::checkpoint::{Request, check_caller, checkpoint};
use crate::criu::{self, wire::Message};
use crate::error::{Error, Result};

pub(super) fn run(global: &Global, args: &Args) -> Result<u8> {
    no_more(args, 1)?;
    check_caller()?;
    let container = load(global, args)?;
    match container.status() {
        Status::Running | Status::Paused => {}
        status => {
            return Err(Error::new(format!(
                "container {} is {status}: it cannot be checkpointed",
                container.saved.id
            )));
        }
    }
    let config = container.config()?;
    checkpoint(&container, &config, &request(args)?)?;
    if !args.has("leave-running") && !args.has("pre-dump") {
        // CRIU has ended its processes.
        delete::remove(&container)?;
    }
    Ok(0)
}

/// Flags that are switches of CRIU's, with their numbers in its `criu_opts`.
const SWITCHES: [(&str, u32); 11] = [
    ("leave-running", 3),
    ("ext-unix-sk", 4),
    ("ext-unix", 4),
    ("tcp-established", 5),
    ("shell-job", 7),
    ("file-locks", 8),
    ("auto-dedup", 16),
    ("link-remap", 18),
    ("tcp-skip-in-flight", 46),
    ("lazy-pages", 48),
    ("tcp-close", 52),
];

/// What the flags ask for, of a checkpoint and of a restore.
pub(super) fn request(args: &Args) -> Result<Request> {
    let program = criu::find(args.path("criu").as_deref())?;
    let images = args
        .path("image-path")
        .unwrap_or_else(|| "checkpoint".into());
    let mut flags = SWITCHES
        .into_iter()
        .fold(Message::default(), |m, (flag, field)| {
            m.switch(field, args.has(flag))
        });
    flags = flags
        .maybe(53, args.get("lsm-profile"))
        .maybe(63, args.get("lsm-mount-context"))
        .number(34, cgroups_mode(args.get("manage-cgroups-mode"))?);
    if let Some(method) = args.get("network-lock") {
        let all = ["iptables", "nftables", "skip"];
        let at = all.iter().position(|m| *m == method).ok_or_else(|| {
            Error::new(format!(
                "--network-lock: {method:?} is not iptables, nftables or skip"
            ))
        })?;
        flags = flags.number(64, at as i64 + 1);
    }
    if let Some(server) = args.get("page-server") {
        flags = flags.within(11, &page_server(server)?);
    }
    for namespace in args.all("empty-ns") {
        if namespace != "network" {
            return Err(Error::new(format!(
                "--empty-ns: criu can leave the network namespace empty, not {namespace:?}"
            )));
        }
    }
    if args.has("empty-ns") {
        flags = flags.number(38, hako_sys::clone::flags::NEWNET as i64);
    }
    let status = match args.get("status-fd") {
        None | Some("-1") => None,
        Some(number) => {
            let fd = number.parse().ok().filter(|n: &i32| *n >= 0);
            let fd = fd.and_then(|n| hako_sys::fds::inherit(n).ok());
            let none = || Error::new(format!("--status-fd: {number:?} is no open descriptor"));
            Some(fd.ok_or_else(none)?)
        }
    };
    Ok(Request {
        program,
        images,
        work: args.path("work-path"),
        flags,
        parent: args.get("parent-path").map(str::to_owned),
        lazy: args.has("lazy-pages"),
        pre_dump: args.has("pre-dump"),
        status,
    })
}

/// `criu_cg_mode`.
fn cgroups_mode(text: Option<&str>) -> Result<i64> {
    Ok(match text {
        Some("ignore") => 0,
        None | Some("" | "soft") => 3,
        Some("full") => 4,
        Some("strict") => 5,
        Some(other) => {
            return Err(Error::new(format!(
                "--manage-cgroups-mode: {other:?} is not soft, full, strict or ignore"
            )));
        }
    })
}

fn page_server(text: &str) -> Result<Message> {
    let wrong = || Error::new(format!("--page-server: {text:?} is not ADDRESS:PORT"));
    let (address, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
    let address = bare.unwrap_or(address);
    if address.is_empty() || port == 0 || (bare.is_none() && address.contains(':')) {
        return Err(wrong());
    }
    Ok(Message::default().text(1, address).number(2, port.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criu::wire::{Value, read};

    fn asked(line: &str) -> Result<Request> {
        let words = line.split_whitespace().map(std::ffi::OsString::from);
        let program = ["--criu", "/bin/true"].map(std::ffi::OsString::from);
        request(&Args::parse(program.into_iter().chain(words))?)
    }

    #[test]
    fn flags_are_criu_options() {
        let r = asked(
            "checkpoint --image-path /i --work-path /w --leave-running --tcp-established \
             --tcp-skip-in-flight --link-remap --ext-unix-sk --shell-job --lazy-pages \
             --file-locks --auto-dedup --empty-ns network --manage-cgroups-mode strict \
             --page-server [::1]:27 --network-lock skip id",
        )
        .unwrap();
        let mut on: Vec<(u64, Value<'_>)> = read(r.flags.as_bytes()).unwrap();
        on.sort_by_key(|(field, _)| *field);
        let server = Message::default().text(1, "::1").number(2, 27);
        let mut expected: Vec<(u64, Value<'_>)> = [3, 4, 5, 7, 8, 16, 18, 46, 48]
            .map(|field| (field, Value::Number(1)))
            .to_vec();
        expected.extend([
            (11, Value::Bytes(server.as_bytes())),
            (34, Value::Number(5)),
            (38, Value::Number(0x4000_0000)),
            (64, Value::Number(3)),
        ]);
        expected.sort_by_key(|(field, _)| *field);
        assert_eq!(on, expected);
        let r = asked("restore --lsm-profile apparmor:p --lsm-mount-context c --tcp-close id");
        let r = r.unwrap();
        let texts = read(r.flags.as_bytes()).unwrap();
        assert!(texts.contains(&(53, Value::Bytes(b"apparmor:p"))));
        assert!(texts.contains(&(63, Value::Bytes(b"c"))));
        assert!(texts.contains(&(52, Value::Number(1))));
        assert!(texts.contains(&(34, Value::Number(3))));
        assert_eq!(r.images.to_str(), Some("checkpoint"));
    }

    #[test]
    fn wrong_values_are_told() {
        for (flags, word) in [
            ("--page-server host", "ADDRESS:PORT"),
            ("--page-server :1", "ADDRESS:PORT"),
            ("--page-server a:b", "ADDRESS:PORT"),
            ("--page-server ::1:5", "ADDRESS:PORT"),
            ("--manage-cgroups-mode none", "not soft"),
            ("--empty-ns mount", "network namespace"),
            ("--network-lock none", "iptables"),
            ("--status-fd 999", "no open descriptor"),
            ("--status-fd x", "no open descriptor"),
        ] {
            let told = asked(&format!("checkpoint {flags} id")).unwrap_err();
            assert!(told.to_string().contains(word), "{flags}: {told}");
        }
    }
}
