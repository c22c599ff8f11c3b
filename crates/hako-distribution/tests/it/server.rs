//! A small HTTP/1.1 server that can be told to misbehave.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What came in.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Ask {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The first byte of a `Range: bytes=N-`.
    pub fn range(&self) -> Option<usize> {
        self.header("range")?
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    }
}

/// How the body goes out.
#[derive(Clone, Debug)]
pub enum Body {
    /// With a true Content-Length.
    Whole(Vec<u8>),
    /// With this Content-Length whatever the bytes are; then the end.
    Lying(usize, Vec<u8>),
    /// These bytes again and again without a length, until nobody reads.
    Endless(Vec<u8>),
    /// Some bytes, then silence.
    Stall(usize, Vec<u8>),
    /// Exactly these bytes instead of an HTTP answer.
    Raw(Vec<u8>),
}

/// What goes out.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Body,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Whole(body.into()),
        }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    pub fn redirect(to: impl Into<String>) -> Self {
        Self::new(307, "").with("Location", to)
    }
}

/// A running server; it ends with the process.
pub struct Server {
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<Ask>>>,
}

/// A stream that bytes come and go through.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

type Wrap = dyn Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync;

impl Server {
    pub fn start(answer: impl Fn(&Ask) -> Reply + Send + Sync + 'static) -> Self {
        Self::wrapped(answer, |stream| Some(Box::new(stream)))
    }

    /// With something between TCP and HTTP.
    pub fn wrapped(
        answer: impl Fn(&Ask) -> Reply + Send + Sync + 'static,
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (answer, wrap): (Arc<Answer>, Arc<Wrap>) = (Arc::new(answer), Arc::new(wrap));
        let seen = Arc::clone(&log);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, wrap, seen) =
                    (Arc::clone(&answer), Arc::clone(&wrap), Arc::clone(&seen));
                std::thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    if let Some(stream) = wrap(stream) {
                        let _ = serve(stream, &*answer, &seen);
                    }
                });
            }
        });
        Self { address, log }
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Ask> {
        self.log.lock().unwrap().clone()
    }
}

type Answer = dyn Fn(&Ask) -> Reply + Send + Sync;

fn serve(stream: Box<dyn Stream>, answer: &Answer, seen: &Mutex<Vec<Ask>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        // A TLS greeting on a plain port.
        if reader.fill_buf()?.first() == Some(&0x16) {
            return reader
                .get_mut()
                .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
        let Some(ask) = read(&mut reader)? else {
            return Ok(());
        };
        seen.lock().unwrap().push(ask.clone());
        let reply = answer(&ask);
        if !write(reader.get_mut(), &ask, &reply)? {
            return Ok(());
        }
    }
}

fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Ask>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let mut ask = Ask {
        method: words.next().unwrap_or_default().to_owned(),
        target: words.next().unwrap_or_default().to_owned(),
        ..Ask::default()
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        ask.headers
            .insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length: usize = ask
        .header("content-length")
        .map_or(0, |text| text.parse().unwrap());
    ask.body = vec![0; length];
    reader.read_exact(&mut ask.body)?;
    Ok(Some(ask))
}

/// Whether the connection may be used again.
fn write(stream: &mut Box<dyn Stream>, ask: &Ask, reply: &Reply) -> std::io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} X\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let (length, bytes) = match &reply.body {
        Body::Whole(bytes) => (Some(bytes.len()), bytes),
        Body::Lying(length, bytes) | Body::Stall(length, bytes) => (Some(*length), bytes),
        Body::Endless(bytes) => (None, bytes),
        Body::Raw(bytes) => {
            stream.write_all(bytes)?;
            stream.flush()?;
            return Ok(false);
        }
    };
    match length {
        Some(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
        None => head.push_str("Connection: close\r\n"),
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    if ask.method == "HEAD" {
        stream.flush()?;
        return Ok(true);
    }
    stream.write_all(bytes)?;
    stream.flush()?;
    match reply.body {
        Body::Whole(_) => Ok(true),
        Body::Endless(_) => loop {
            stream.write_all(bytes)?;
        },
        Body::Stall(..) => {
            std::thread::sleep(Duration::from_secs(20));
            Ok(false)
        }
        _ => Ok(false),
    }
}
