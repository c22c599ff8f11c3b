//! "Linux mount options": those of one mount. Most are seen in the kernel's
//! list of mounts, at a new tmpfs and at a bind mount, and by what can be done.

use rustix::io::Errno;
use rustix::mount::MountFlags;
use serde_json::json;

use super::support::{Tmpfs, apart, make_dirs, mounted, of_or_listed, write_file};
use crate::check::{Check, Stop, Verdict, demand, fails};
use crate::probe::{Answer, Step};
use crate::runtime::Bench;
use crate::runtime::mountinfo::Mounted;
use crate::runtime::seen::Seen;
use crate::runtime::trial::{self, Trial};

const SECTION: &str = "config.md#linux-mount-options";

/// What an option does.
#[derive(Debug, Clone, Copy)]
enum Effect {
    /// The mount has it, under this name.
    Set(&'static str),
    /// The mount has not what this other option, given before, has set.
    Clears(&'static str, &'static str),
    /// The new file system has it.
    Superblock,
    /// The new file system has not what this other option has set.
    ClearsSuperblock(&'static str),
    /// Nothing that could be seen: the mount is made.
    Taken,
}

/// A check of one option, given as `options`.
macro_rules! option {
    ($word:literal, $effect:expr, $demand:literal) => {
        Check::must(
            concat!("mount-option.", $word),
            SECTION,
            concat!("The option '", $word, "' ", $demand),
            |bench| option(bench, $word, $effect),
        )
    };
}

use Effect::{Clears, ClearsSuperblock, Set, Superblock, Taken};

pub(super) const CHECKS: &[Check] = &[
    option!("async", ClearsSuperblock("sync"), "undoes 'sync'."),
    option!("atime", Clears("noatime", "noatime"), "undoes 'noatime'."),
    Check::must(
        "mount-option.bind",
        SECTION,
        "The option 'bind' shows a directory at a second place, without what is mounted in it.",
        |bench| bind(bench, "bind", false),
    ),
    option!("defaults", Taken, "is taken."),
    option!("dev", Clears("nodev", "nodev"), "undoes 'nodev'."),
    option!(
        "diratime",
        Clears("nodiratime", "nodiratime"),
        "undoes 'nodiratime'."
    ),
    option!(
        "dirsync",
        Superblock,
        "makes changes of directories synchronous."
    ),
    option!("exec", Clears("noexec", "noexec"), "undoes 'noexec'."),
    option!("iversion", Taken, "is taken."),
    option!("lazytime", Superblock, "makes times lazy."),
    option!("loud", Taken, "is taken."),
    option!("mand", Taken, "is taken.").may(),
    option!(
        "noatime",
        Set("noatime"),
        "leaves access times as they are."
    ),
    option!("nodev", Set("nodev"), "makes devices unusable."),
    option!(
        "nodiratime",
        Set("nodiratime"),
        "leaves directories' access times as they are."
    ),
    option!("noexec", Set("noexec"), "lets no program be executed."),
    option!("noiversion", Taken, "is taken."),
    option!(
        "nolazytime",
        ClearsSuperblock("lazytime"),
        "undoes 'lazytime'."
    ),
    option!("nomand", Taken, "is taken.").may(),
    option!("norelatime", Taken, "is taken."),
    Check::must(
        "mount-option.nostrictatime",
        SECTION,
        "The option 'nostrictatime' undoes 'strictatime'.",
        |bench| atime(bench, &["strictatime", "nostrictatime"], true),
    ),
    option!(
        "nosuid",
        Set("nosuid"),
        "takes set-user-id bits their effect."
    ),
    option!(
        "nosymfollow",
        Set("nosymfollow"),
        "lets no symbolic link be followed."
    )
    .should(),
    Check::must(
        "mount-option.rbind",
        SECTION,
        "The option 'rbind' shows a directory at a second place, with what is mounted in it.",
        |bench| bind(bench, "rbind", true),
    ),
    Check::must(
        "mount-option.relatime",
        SECTION,
        "The option 'relatime' makes access times follow changes.",
        |bench| atime(bench, &["relatime"], true),
    ),
    Check::must(
        "mount-option.remount",
        SECTION,
        "The option 'remount' changes a mount that is there.",
        |bench| remount(bench, "tmpfs", &["remount", "ro", "nosuid"]),
    ),
    Check::must(
        "mount-option.remount-bind",
        SECTION,
        "The options 'remount' and 'bind' change a mount that is there, and not its file system.",
        |bench| remount(bench, "none", &["bind", "remount", "ro", "nosuid"]),
    ),
    option!("ro", Set("ro"), "lets nothing be written."),
    option!("rw", Clears("ro", "ro"), "undoes 'ro'."),
    option!("silent", Taken, "is taken."),
    Check::must(
        "mount-option.strictatime",
        SECTION,
        "The option 'strictatime' makes each access change the access time.",
        |bench| atime(bench, &["strictatime"], false),
    ),
    option!("suid", Clears("nosuid", "nosuid"), "undoes 'nosuid'."),
    option!(
        "symfollow",
        Clears("nosymfollow", "nosymfollow"),
        "undoes 'nosymfollow'."
    )
    .should(),
    option!("sync", Superblock, "makes writing synchronous."),
    Check::must(
        "mount-option.tmpcopyup",
        SECTION,
        "The option 'tmpcopyup' fills a new tmpfs with what it covers.",
        copy_up,
    )
    .may(),
];

/// Options that runtimes had to know from mount(8) before the table came.
fn trial<'a>(bench: &'a Bench, word: &str, steps: &[Step]) -> Result<Trial<'a>, Stop> {
    match word {
        "nosymfollow" | "symfollow" => of_or_listed(bench, "1.1.0", word, steps),
        _ => Trial::new(bench, steps),
    }
}

fn option(bench: &Bench, word: &str, effect: Effect) -> Verdict {
    let mut steps = vec![Step::Read("/proc/self/mountinfo".into())];
    steps.extend(deed(word, "/bound"));
    steps.extend(deed(word, "/contrast"));
    let trial = trial(bench, word, &steps)?;
    make_dirs(&trial, &["bound", "contrast", "fresh", "fresh-contrast"])?;
    fill(&trial)?;
    let (with, against): (&[&str], Option<&str>) = match &effect {
        Set(_) | Superblock | Taken => (&[word], None),
        Clears(other, _) | ClearsSuperblock(other) => (&[other, word], Some(other)),
    };
    let new = |at: &str, options: &[&str]| json!({ "destination": at, "type": "tmpfs", "source": "tmpfs", "options": options });
    let bound = |at: &str, options: &[&str]| {
        let options = [&["bind"], options].concat();
        json!({ "destination": at, "type": "none", "source": "source", "options": options })
    };
    let trial = mounted(mounted(trial, new("/fresh", with)), bound("/bound", with));
    let against: Vec<&str> = against.into_iter().collect();
    let trial = mounted(trial, new("/fresh-contrast", &against));
    let trial = mounted(trial, bound("/contrast", &against));
    let seen = trial.live()?;
    let at = |place: &str| Mounted::at(seen.text(0)?, place);
    let (fresh, bound) = (at("/fresh")?, at("/bound")?);
    let fresh_contrast = at("/fresh-contrast")?;
    let contrast = at("/contrast")?;
    match effect {
        Set(name) => {
            demand(fresh.has(name), || format!("a new tmpfs: {fresh:?}"))?;
            demand(bound.has(name), || format!("a bind mount: {bound:?}"))?;
            demand(!fresh_contrast.has(name), || {
                format!("without it, too: {fresh_contrast:?}")
            })?;
        }
        Clears(_, name) => {
            demand(fresh_contrast.has(name) && contrast.has(name), || {
                format!("without it: {fresh_contrast:?}, {contrast:?}")
            })?;
            demand(!fresh.has(name), || format!("a new tmpfs: {fresh:?}"))?;
            demand(!bound.has(name), || format!("a bind mount: {bound:?}"))?;
        }
        Superblock | ClearsSuperblock(_) => {
            let (yes, no, name) = match effect {
                ClearsSuperblock(other) => (&fresh_contrast, &fresh, other),
                _ => (&fresh, &fresh_contrast, word),
            };
            let has = |it: &Mounted| it.superblock.iter().any(|it| it == name);
            demand(has(yes) && !has(no), || {
                format!("with '{name}' {yes:?}, without {no:?}")
            })?;
        }
        Taken => {
            let bad = ["ro", "nosuid", "nodev", "noexec"].into_iter();
            let bad: Vec<&str> = bad.filter(|it| fresh.has(it)).collect();
            demand(bad.is_empty() && fresh.kind == "tmpfs", || {
                format!("a new tmpfs: {fresh:?}")
            })?;
        }
    }
    done(word, &seen)?;
    trial.passed()
}

/// What the source of bind mounts has.
fn fill(trial: &Trial<'_>) -> Verdict {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    let source = trial.bundle().join("source");
    write_file(&source.join("file"), "text")?;
    let cannot = |what| Stop::broken::<std::io::Error>(format!("cannot make {what}"));
    std::os::unix::fs::symlink("file", source.join("link")).map_err(cannot("a link"))?;
    std::fs::hard_link(trial.bench.probe(), source.join(crate::probe::NAME))
        .map_err(cannot("a program"))?;
    let mode = Mode::from_raw_mode(0o666);
    // /dev/null, which every container may use.
    mknodat(
        CWD,
        source.join("null"),
        FileType::CharacterDevice,
        mode,
        makedev(1, 3),
    )
    .map_err(Stop::broken("cannot make a device"))
}

/// What an option forbids or allows.
fn deed(word: &str, place: &str) -> Option<Step> {
    let path = |name: &str| format!("{place}/{name}");
    match word {
        "ro" | "rw" => Some(Step::Write(path("file"), "text".into())),
        "noexec" | "exec" => Some(Step::Execute(vec![path(crate::probe::NAME), "[]".into()])),
        "nodev" | "dev" => Some(Step::Open(path("null"))),
        "nosymfollow" | "symfollow" => Some(Step::Read(path("link"))),
        _ => None,
    }
}

/// Judges the deeds: at the mount and at the contrast, one of which has the
/// word that forbids.
fn done(word: &str, seen: &Seen) -> Verdict {
    let error = match word {
        "ro" | "rw" => Errno::ROFS,
        "noexec" | "exec" | "nodev" | "dev" => Errno::ACCESS,
        "nosymfollow" | "symfollow" => Errno::LOOP,
        _ => return Ok(()),
    };
    let forbids = matches!(word, "ro" | "noexec" | "nodev" | "nosymfollow");
    let (forbidden, allowed) = match forbids {
        true => (seen.answer(1)?, seen.answer(2)?),
        false => (seen.answer(2)?, seen.answer(1)?),
    };
    let good =
        *forbidden == Answer::Errno(error.raw_os_error()) && matches!(allowed, Answer::Value(_));
    demand(good, || {
        format!("where it is forbidden: {forbidden:?}; where it is allowed: {allowed:?}")
    })
}

fn atime(bench: &Bench, options: &[&str], relative: bool) -> Verdict {
    let trial = Trial::new(bench, &[Step::Read("/proc/self/mountinfo".into())])?;
    make_dirs(&trial, &["bound", "fresh"])?;
    write_file(&trial.bundle().join("source/file"), "text")?;
    let trial = mounted(
        trial,
        json!({ "destination": "/fresh", "type": "tmpfs", "source": "tmpfs", "options": options }),
    );
    let all = [&["bind"], options].concat();
    let trial = mounted(
        trial,
        json!({ "destination": "/bound", "type": "none", "source": "source", "options": all }),
    );
    let seen = trial.live()?;
    for place in ["/fresh", "/bound"] {
        let found = Mounted::at(seen.text(0)?, place)?;
        demand(
            found.has("relatime") == relative && !found.has("noatime"),
            || format!("{place}: {found:?}"),
        )?;
    }
    trial.passed()
}

fn bind(bench: &Bench, option: &'static str, below: bool) -> Verdict {
    apart(|| {
        let steps = ["/tmp/file", "/tmp/below/file"].map(|path| Step::Read(path.into()));
        let trial = Trial::new(bench, &steps)?;
        let source = trial.bundle().join("source");
        write_file(&source.join("file"), "bound")?;
        let inner = source.join("below");
        let _mounted = Tmpfs::at(&inner, MountFlags::empty())?;
        write_file(&inner.join("file"), "below")?;
        let trial = mounted(
            trial,
            json!({ "destination": "/tmp", "type": "none", "source": "source", "options": [option] }),
        );
        let seen = trial.live()?;
        demand(seen.text(0)? == "bound", || seen.told())?;
        let found = matches!(seen.answer(1)?, Answer::Value(text) if text == "below");
        demand(found == below, || seen.told())?;
        trial.passed()
    })
}

fn remount(bench: &Bench, kind: &'static str, options: &'static [&'static str]) -> Verdict {
    apart(|| {
        let steps = [
            Step::Read("/proc/self/mountinfo".into()),
            Step::Create("/tmp/new".into(), "x".into()),
        ];
        let trial = Trial::new(bench, &steps)?;
        let source = trial::text(&trial.beside("source"));
        write_file(&trial.beside("source/file"), "text")?;
        let (first, source) = match kind {
            "tmpfs" => (json!(["mode=1777"]), "tmpfs".to_owned()),
            _ => (json!(["bind"]), source),
        };
        let trial = mounted(
            trial,
            json!({ "destination": "/tmp", "type": kind, "source": source, "options": first }),
        );
        let trial = mounted(
            trial,
            json!({ "destination": "/tmp", "type": kind, "source": source, "options": options }),
        );
        let seen = trial.live()?;
        let list = seen.text(0)?;
        let mounts = list.lines().filter(|line| line.contains(" /tmp ")).count();
        let found = Mounted::at(list, "/tmp")?;
        demand(
            mounts == 1 && found.has("ro") && found.has("nosuid"),
            || format!("{mounts} mounts are there, the last is {found:?}"),
        )?;
        let erofs = Answer::Errno(Errno::ROFS.raw_os_error());
        demand(*seen.answer(1)? == erofs, || seen.told())?;
        let left = trial.beside("source/new").exists();
        match left {
            true => fails("the source was written"),
            false => trial.passed(),
        }
    })
}

fn copy_up(bench: &Bench) -> Verdict {
    let steps = [
        Step::Read("/proc/self/mountinfo".into()),
        Step::Read("/full/file".into()),
        Step::Read("/full/below/file".into()),
        Step::Create("/full/new".into(), "x".into()),
    ];
    let trial = of_or_listed(bench, "1.1.0", "tmpcopyup", &steps)?;
    write_file(&trial.rootfs().join("full/file"), "one")?;
    write_file(&trial.rootfs().join("full/below/file"), "two")?;
    let trial = mounted(
        trial,
        json!({
            "destination": "/full", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"],
        }),
    );
    let seen = trial.live()?;
    let found = Mounted::at(seen.text(0)?, "/full")?;
    demand(found.kind == "tmpfs", || format!("{found:?}"))?;
    demand(seen.text(1)? == "one" && seen.text(2)? == "two", || {
        seen.told()
    })?;
    seen.value(3)?;
    demand(!trial.rootfs().join("full/new").exists(), || {
        "what is written in the tmpfs is in the root".to_owned()
    })?;
    trial.passed()
}
