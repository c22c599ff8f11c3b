//! Indexes an uncompressed layer and says what that took, for measurements:
//! `index TAR IMAGE` leaves the archive where it is (it is extended if need be),
//! `index TAR IMAGE DATA` copies it as a pull would.

#![allow(clippy::print_stdout)]

use std::fs::File;
use std::time::Instant;

use hako_erofs::{Error, Index, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let options = Options::default();
    let begin = Instant::now();
    let open = |path: &str| File::options().read(true).write(true).open(path);
    let (index, image) = match arguments.as_slice() {
        [tar, image] => (Index::in_place(&open(tar)?, &options)?, image),
        [tar, image, data] => {
            drop(File::create_new(data)?);
            let data = open(data)?;
            (Index::new(File::open(tar)?, &data, &options)?, image)
        }
        _ => return Err("usage: index TAR IMAGE [DATA]".into()),
    };
    let read = begin.elapsed();
    let out = File::create(image)?;
    let applied = index.write(&out).map_err(|e: Error| e.to_string())?;
    let (all, size) = (begin.elapsed(), out.metadata()?.len());
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    println!("entries {}, data {} bytes", applied.entries, applied.bytes);
    println!("read in {read:.0?}, written in {:.0?}", all - read);
    println!("image {size} bytes, {}", peak.unwrap_or_default());
    Ok(())
}
