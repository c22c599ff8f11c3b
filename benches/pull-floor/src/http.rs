//! As much of HTTP as a registry on loopback needs: one GET a connection.

use std::io::{BufRead as _, BufReader, Read as _, Take, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Asks for `path` and returns the body with its size.
pub(crate) fn get(server: SocketAddr, path: &str) -> Result<(Take<BufReader<TcpStream>>, u64)> {
    let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(10))
        .with_context(|| format!("connect to {server}"))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nAccept: {MANIFEST}\r\n\
         Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
    )?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if line.split(' ').nth(1) != Some("200") {
        bail!("GET {path}: {}", line.trim_end());
    }
    let mut size = None;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                size = Some(value.trim().parse()?);
            }
            Some(_) => {}
            None => break,
        }
    }
    let size = size.with_context(|| format!("GET {path}: no Content-Length"))?;
    Ok((reader.take(size), size))
}
