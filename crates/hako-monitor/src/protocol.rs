//! The language of the monitor's socket.
//!
//! Both sides send frames: a type byte, the payload's length as four bytes
//! (most significant first), and the payload of at most 64 KiB. The server's
//! first frame, and the client's, is a [`Hello`]. Frames of a type that is not
//! known are passed over, so that either side can be newer; only a change of
//! what a known frame means changes [`VERSION`].
//!
//! | type | frame | who sends it |
//! |---|---|---|
//! | 1 | hello (JSON) | both, first |
//! | 2 | attach (JSON) | client |
//! | 3 / 4 | stdin bytes / end of stdin | client |
//! | 5 / 6 | stdout / stderr bytes | server |
//! | 7 | resize: rows, columns (two bytes each) | client |
//! | 8 / 9 | start / started | client / server |
//! | 10 | signal (four bytes) | client |
//! | 11 | exit (JSON, [`Exit`]) | server, last |
//! | 12 | error (JSON) | server |
//! | 13 / 14 | status wanted / status (JSON) | client / server |
//! | 15 | reopen the log | client |
//! | 16 | done: signal or reopen went well | server |
//!
//! Output of a terminal is stdout. A client that has attached gets the exit
//! frame after the last output.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::{Error, Result};
use crate::record::Exit;

/// The protocol's version.
pub const VERSION: u32 = 1;
/// The largest payload in bytes.
pub const MAX_PAYLOAD: usize = 64 << 10;
const HEADER: usize = 5;

/// Who is speaking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol's version, [`VERSION`].
    pub version: u32,
    /// The container; empty from a client.
    #[serde(default)]
    pub id: String,
}

/// What a client wants of the container's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Attach {
    /// To send stdin.
    pub stdin: bool,
    /// To get stdout (all of a terminal).
    pub stdout: bool,
    /// To get stderr.
    pub stderr: bool,
    /// To get up to so many bytes of the last output first; the monitor
    /// remembers 16 KiB.
    pub tail: u32,
    /// What happens when the client does not read: with back-pressure the
    /// container waits, as with a shell's pipe; without, the client is dropped
    /// with an error, and neither the container nor its log waits for it.
    pub back_pressure: bool,
}

/// Whether the container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Created, not started.
    Created,
    /// Started, not ended.
    Running,
    /// Ended.
    Exited,
}

/// How the container is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whether it runs.
    pub state: State,
    /// Its first process.
    pub pid: i32,
    /// The monitor.
    pub monitor_pid: u32,
    /// When it was started.
    pub started_at: Option<String>,
    /// How many clients there are, this one included.
    pub clients: usize,
    /// Bytes of output that could not be written to the log.
    pub log_lost: u64,
}

/// A refusal, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// One line.
    pub message: String,
    /// The runtime's exit status, where it was the runtime that refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
}

/// One message; the module's head says which side sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the table above
pub enum Frame {
    Hello(Hello),
    Attach(Attach),
    Stdin(Vec<u8>),
    StdinEof,
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Resize {
        rows: u16,
        cols: u16,
    },
    Start,
    Started,
    Signal(i32),
    Exit(Exit),
    Error(Failure),
    StatusRequest,
    Status(Status),
    ReopenLog,
    Done,
    /// Of a type that this side does not know.
    Unknown(u8),
}

impl Frame {
    /// An error with a message alone.
    #[must_use]
    pub fn failure(message: impl Into<String>) -> Self {
        Self::Error(Failure {
            message: message.into(),
            exit: None,
        })
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => 1,
            Self::Attach(_) => 2,
            Self::Stdin(_) => 3,
            Self::StdinEof => 4,
            Self::Stdout(_) => 5,
            Self::Stderr(_) => 6,
            Self::Resize { .. } => 7,
            Self::Start => 8,
            Self::Started => 9,
            Self::Signal(_) => 10,
            Self::Exit(_) => 11,
            Self::Error(_) => 12,
            Self::StatusRequest => 13,
            Self::Status(_) => 14,
            Self::ReopenLog => 15,
            Self::Done => 16,
            Self::Unknown(kind) => *kind,
        }
    }

    /// The frame's bytes. A payload above [`MAX_PAYLOAD`] is cut: callers
    /// split streams, and messages are short.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let json;
        let fixed;
        let payload: &[u8] = match self {
            Self::Stdin(bytes) | Self::Stdout(bytes) | Self::Stderr(bytes) => bytes,
            Self::Resize { rows, cols } => {
                let ([a, b], [c, d]) = (rows.to_be_bytes(), cols.to_be_bytes());
                fixed = [a, b, c, d];
                &fixed
            }
            Self::Signal(number) => {
                fixed = number.to_be_bytes();
                &fixed
            }
            Self::Hello(v) => {
                json = to_json(v);
                &json
            }
            Self::Attach(v) => {
                json = to_json(v);
                &json
            }
            Self::Exit(v) => {
                json = to_json(v);
                &json
            }
            Self::Error(v) => {
                json = to_json(&Failure {
                    message: v.message.chars().take(8192).collect(),
                    exit: v.exit,
                });
                &json
            }
            Self::Status(v) => {
                json = to_json(v);
                &json
            }
            Self::StdinEof
            | Self::Start
            | Self::Started
            | Self::StatusRequest
            | Self::ReopenLog
            | Self::Done
            | Self::Unknown(_) => &[],
        };
        encode_payload(self.kind(), payload)
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Self> {
        let number = |payload: &[u8]| -> Result<[u8; 4]> {
            payload
                .try_into()
                .map_err(|_| Error::Protocol(format!("frame {kind} has a bad length")))
        };
        Ok(match kind {
            1 => Self::Hello(from_json(kind, payload)?),
            2 => Self::Attach(from_json(kind, payload)?),
            3 => Self::Stdin(payload.to_vec()),
            4 => Self::StdinEof,
            5 => Self::Stdout(payload.to_vec()),
            6 => Self::Stderr(payload.to_vec()),
            7 => {
                let [a, b, c, d] = number(payload)?;
                Self::Resize {
                    rows: u16::from_be_bytes([a, b]),
                    cols: u16::from_be_bytes([c, d]),
                }
            }
            8 => Self::Start,
            9 => Self::Started,
            10 => Self::Signal(i32::from_be_bytes(number(payload)?)),
            11 => Self::Exit(from_json(kind, payload)?),
            12 => Self::Error(from_json(kind, payload)?),
            13 => Self::StatusRequest,
            14 => Self::Status(from_json(kind, payload)?),
            15 => Self::ReopenLog,
            16 => Self::Done,
            other => Self::Unknown(other),
        })
    }
}

/// A stream's frame without a copy of the bytes in between.
pub(crate) fn encode_stream(stderr: bool, bytes: &[u8]) -> Vec<u8> {
    encode_payload(if stderr { 6 } else { 5 }, bytes)
}

fn encode_payload(kind: u8, payload: &[u8]) -> Vec<u8> {
    let payload = payload.get(..MAX_PAYLOAD).unwrap_or(payload);
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.push(kind);
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    // These are plain structs of strings and numbers, which cannot fail.
    serde_json::to_vec(value).unwrap_or_default()
}

fn from_json<T: DeserializeOwned>(kind: u8, payload: &[u8]) -> Result<T> {
    serde_json::from_slice(payload)
        .map_err(|e| Error::Protocol(format!("frame {kind} cannot be read: {e}")))
}

/// Cuts a stream of bytes into frames. Holds less than two frames.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    from: usize,
}

impl Decoder {
    /// Adds bytes that were read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.from > 0 {
            self.bytes.drain(..self.from.min(self.bytes.len()));
            self.from = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame. Errors: a payload above [`MAX_PAYLOAD`], or one
    /// that cannot be read; the stream is of no use after that.
    pub fn next_frame(&mut self) -> Result<Option<Frame>> {
        let rest = self.bytes.get(self.from..).unwrap_or_default();
        let Some(([kind, a, b, c, d], body)) = rest.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        if length > MAX_PAYLOAD {
            return Err(Error::Protocol(format!(
                "frame {kind} of {length} bytes is too long"
            )));
        }
        let Some(payload) = body.get(..length) else {
            return Ok(None);
        };
        let frame = Frame::decode(*kind, payload);
        self.from += HEADER + length;
        frame.map(Some)
    }

    /// Whether the stream may end here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.from >= self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all() -> Vec<Frame> {
        vec![
            Frame::Hello(Hello {
                version: 1,
                id: "c".to_owned(),
            }),
            Frame::Attach(Attach {
                stdin: true,
                tail: 9,
                ..Attach::default()
            }),
            Frame::Stdin(vec![0, 255]),
            Frame::StdinEof,
            Frame::Stdout(b"out".to_vec()),
            Frame::Stderr(Vec::new()),
            Frame::Resize {
                rows: 50,
                cols: 300,
            },
            Frame::Start,
            Frame::Started,
            Frame::Signal(-1),
            Frame::failure("no"),
            Frame::StatusRequest,
            Frame::ReopenLog,
            Frame::Done,
            Frame::Unknown(200),
        ]
    }

    #[test]
    fn frames_survive_in_any_cut() {
        let bytes: Vec<u8> = all().iter().flat_map(Frame::encode).collect();
        for step in [1, 3, 7, 1000] {
            let mut decoder = Decoder::default();
            let mut frames = Vec::new();
            for piece in bytes.chunks(step) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, all());
            assert!(decoder.is_empty());
        }
    }

    #[test]
    fn bad_frames() {
        for bytes in [
            &[3, 0, 1, 0, 1][..],
            &[7, 0, 0, 0, 1, 9],
            &[2, 0, 0, 0, 1, b'x'],
            &[10, 0, 0, 0, 0],
        ] {
            let mut decoder = Decoder::default();
            decoder.push(bytes);
            assert!(decoder.next_frame().is_err(), "{bytes:?}");
        }
        let mut decoder = Decoder::default();
        decoder.push(&[3, 0, 1, 0, 0]);
        assert_eq!(decoder.next_frame().unwrap(), None);
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
    }
}
