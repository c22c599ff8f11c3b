//! What a pull tells while it runs: bars on a terminal, plain lines elsewhere,
//! always on stderr.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};

use hako_deb::Event as Package;
use hako_transfer::{Event, Progress, Silent};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;
use crate::output::size::loose;

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Nothing.
    Nothing,
    /// What is brought; nothing when all is there already.
    News,
    /// Everything.
    All,
}

/// The listener that fits: none, bars on a terminal, else lines.
pub(crate) fn listener(detail: Detail) -> Arc<dyn Progress> {
    match detail {
        Detail::Nothing => Arc::new(Silent),
        Detail::News => Arc::new(News::new(shown())),
        Detail::All => shown(),
    }
}

fn shown() -> Arc<dyn Progress> {
    if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
    {
        return Arc::new(Bars::new(ProgressDrawTarget::stderr()));
    }
    Arc::new(Lines::new(output::note))
}

/// Says what is brought only once something is.
struct News {
    listener: Arc<dyn Progress>,
    /// What was said before that.
    before: Mutex<Option<Event>>,
}

impl News {
    fn new(listener: Arc<dyn Progress>) -> Self {
        News {
            listener,
            before: Mutex::default(),
        }
    }
}

impl Progress for News {
    fn event(&self, event: Event) {
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Resolving { .. } => *before = Some(event),
            Event::Exists { .. } => {}
            event => {
                if !matches!(event, Event::Resolved { .. } | Event::Warning { .. })
                    && let Some(before) = before.take()
                {
                    self.listener.event(before);
                }
                self.listener.event(event);
            }
        }
    }
}

/// A digest as a person can tell it from others.
fn short(digest: &hako_spec::digest::Digest) -> String {
    digest.hex().get(..12).unwrap_or(digest.hex()).to_owned()
}

/// The end of a URL that says what it is.
fn place(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

/// Plain lines: one when something begins, one when a layer is there.
struct Lines<F> {
    tell: F,
    sizes: Mutex<BTreeMap<String, u64>>,
}

impl<F: Fn(&str)> Lines<F> {
    fn new(tell: F) -> Self {
        Lines {
            tell,
            sizes: Mutex::default(),
        }
    }

    fn package(&self, event: &Package) {
        match event {
            Package::Release { url } => (self.tell)(&format!("release {}", place(url))),
            Package::Index { url, done, total } if done == total => {
                (self.tell)(&format!("index {} {} done", place(url), loose(*total)));
            }
            Package::Resolved { packages, fetch } => {
                let of = if *packages == 1 {
                    "package"
                } else {
                    "packages"
                };
                (self.tell)(&format!("{packages} {of}, {} to fetch", loose(*fetch)));
            }
            Package::Package { name, done, total } if done == total => {
                (self.tell)(&format!("package {name} {} done", loose(*total)));
            }
            Package::Assembling => (self.tell)("putting the layer together"),
            Package::Warning(text) => (self.tell)(&format!("warning: {text}")),
            _ => {}
        }
    }
}

impl<F: Fn(&str) + Send + Sync> Progress for Lines<F> {
    fn event(&self, event: Event) {
        let tell = &self.tell;
        match event {
            Event::Resolving { name } => tell(&format!("Pulling {name}")),
            Event::LayerStart { digest, size, .. } => {
                let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
                sizes.insert(digest.to_string(), size);
            }
            Event::Done { digest } => {
                let sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
                let size = sizes
                    .get(digest.as_str())
                    .map(|size| format!(" {}", loose(*size)));
                tell(&format!(
                    "layer {}{} done",
                    short(&digest),
                    size.unwrap_or_default()
                ));
            }
            Event::Exists { digest } => tell(&format!("layer {} exists", short(&digest))),
            Event::Packages(event) => self.package(&event),
            Event::Warning { text } => tell(&format!("warning: {text}")),
            _ => {}
        }
    }
}

/// A bar for each layer or package.
struct Bars {
    all: MultiProgress,
    bars: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Bars {
    fn new(target: ProgressDrawTarget) -> Self {
        Bars {
            all: MultiProgress::with_draw_target(target),
            bars: Mutex::default(),
        }
    }

    /// The bar called `key`, with the caption `caption` when it is new.
    fn bar(&self, key: &str, caption: &str, size: u64) -> ProgressBar {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let bar = self.all.add(ProgressBar::new(size));
            let template = "{prefix:14!} {bar:30} {bytes:>10} / {total_bytes:10} {msg}";
            let style = ProgressStyle::with_template(template);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(caption.to_owned());
            bar
        };
        bars.entry(key.to_owned()).or_insert_with(new).clone()
    }

    fn say(&self, text: &str) {
        // A terminal that is gone takes no words.
        let _ = self.all.println(text);
    }

    fn fetched(&self, key: &str, caption: &str, done: u64, total: u64) {
        let bar = self.bar(key, caption, total);
        bar.set_position(done);
        if done == total {
            bar.finish_with_message("done");
        }
    }

    fn package(&self, event: Package) {
        match event {
            Package::Index { url, done, total } => {
                let caption = place(&url).rsplit('/').next().unwrap_or_default();
                self.fetched(&url, caption, done, total);
            }
            Package::Package { name, done, total } => self.fetched(&name, &name, done, total),
            Package::Assembling => self.say("putting the layer together"),
            Package::Warning(text) => self.say(&format!("warning: {text}")),
            _ => {}
        }
    }
}

impl Progress for Bars {
    fn event(&self, event: Event) {
        match event {
            Event::Resolving { name } => self.say(&format!("Pulling {name}")),
            Event::LayerStart {
                digest,
                size,
                offset,
            } => {
                self.bar(digest.as_str(), &short(&digest), size)
                    .set_position(offset);
            }
            Event::LayerProgress { digest, bytes } => {
                self.bar(digest.as_str(), &short(&digest), 0).inc(bytes);
            }
            Event::Unpacking { digest } => {
                self.bar(digest.as_str(), &short(&digest), 0)
                    .set_message("unpacking");
            }
            Event::Done { digest } => {
                self.bar(digest.as_str(), &short(&digest), 0)
                    .finish_with_message("done");
            }
            Event::Exists { digest } => self.say(&format!("layer {} exists", short(&digest))),
            Event::Packages(event) => self.package(event),
            Event::Warning { text } => self.say(&format!("warning: {text}")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_spec::digest::Digest;

    #[test]
    fn plain_lines() {
        let said = Mutex::new(Vec::new());
        let lines = Lines::new(|text: &str| said.lock().unwrap().push(text.to_owned()));
        let digest = Digest::from_sha256([0xab; 32]);
        let (size, offset) = (3_200_000, 0);
        for event in [
            Event::Resolving {
                name: "docker.io/library/x:1".to_owned(),
            },
            Event::Resolved {
                digest: digest.clone(),
                layers: 1,
            },
            Event::LayerStart {
                digest: digest.clone(),
                size,
                offset,
            },
            Event::LayerProgress {
                digest: digest.clone(),
                bytes: size,
            },
            Event::Unpacking {
                digest: digest.clone(),
            },
            Event::Done {
                digest: digest.clone(),
            },
            Event::Exists { digest },
            Event::Packages(Package::Package {
                name: "bash".to_owned(),
                done: 1,
                total: 2,
            }),
            Event::Packages(Package::Package {
                name: "bash".to_owned(),
                done: 2,
                total: 2,
            }),
        ] {
            lines.event(event);
        }
        let want = [
            "Pulling docker.io/library/x:1",
            "layer abababababab 3.2 MB done",
            "layer abababababab exists",
            "package bash 2 B done",
        ];
        assert_eq!(*said.lock().unwrap(), want);
    }

    #[test]
    fn no_news_are_not_told() {
        struct Count(Mutex<usize>);
        impl Progress for Count {
            fn event(&self, event: Event) {
                *self.0.lock().unwrap() += usize::from(!matches!(event, Event::Resolved { .. }));
            }
        }
        let count = Arc::new(Count(Mutex::new(0)));
        let news = News::new(Arc::clone(&count) as Arc<dyn Progress>);
        let digest = Digest::from_sha256([1; 32]);
        news.event(Event::Resolving {
            name: "x".to_owned(),
        });
        news.event(Event::Resolved {
            digest: digest.clone(),
            layers: 1,
        });
        news.event(Event::Exists {
            digest: digest.clone(),
        });
        assert_eq!(*count.0.lock().unwrap(), 0);
        news.event(Event::LayerStart {
            digest,
            size: 1,
            offset: 0,
        });
        assert_eq!(*count.0.lock().unwrap(), 2);
    }

    #[test]
    fn bars_take_every_event() {
        let bars = Bars::new(ProgressDrawTarget::hidden());
        let digest = Digest::from_sha256([1; 32]);
        bars.event(Event::LayerProgress {
            digest: digest.clone(),
            bytes: 5,
        });
        bars.event(Event::Done {
            digest: digest.clone(),
        });
        assert!(bars.bar(digest.as_str(), "", 0).is_finished());
    }
}
