//! Messages (D-Bus Specification, "Message Protocol").

use super::error::BusError;
use super::wire::{MAX, Reader, Writer};

/// The mark of this machine's byte order.
const ORDER: u8 = if cfg!(target_endian = "big") {
    b'B'
} else {
    b'l'
};
/// The part of the header whose length is always the same.
const FIXED: usize = 16;
/// Flag: do not start the service that is called.
const NO_AUTO_START: u8 = 2;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A call of a method.
    Call,
    /// What a method returns.
    Return,
    /// Why a method failed.
    Error,
    /// Something happened.
    Signal,
    /// A kind of a later protocol, to be ignored.
    Unknown,
}

/// A message that came, with the fields of its header that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// The sender's number for it.
    pub serial: u32,
    /// Which call it answers.
    pub reply_to: Option<u32>,
    /// The interface of a signal or a call.
    pub interface: String,
    /// The name of a signal or a method.
    pub member: String,
    /// The name of an error.
    pub error: String,
    /// The unique name of who sent it; a bus fills it in.
    pub sender: String,
    /// The types of the body.
    pub signature: String,
    /// The arguments, as they came.
    pub body: Vec<u8>,
}

/// A call of a method.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    /// Types of the arguments; empty for none.
    pub(super) signature: &'a str,
}

impl Call<'_> {
    /// The message with these arguments.
    pub(super) fn encode(&self, serial: u32, body: &[u8]) -> Vec<u8> {
        let mut w = Writer::default();
        for byte in [ORDER, 1, NO_AUTO_START, 1] {
            w.number([byte]);
        }
        w.u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
        w.u32(serial);
        w.array(8, |w| {
            let fields = [
                (1, "o", self.path),
                (2, "s", self.interface),
                (3, "s", self.member),
                (6, "s", self.destination),
            ];
            for (code, kind, text) in fields {
                w.align(8);
                w.number([code]);
                w.signature(kind);
                w.string(text);
            }
            if !self.signature.is_empty() {
                w.align(8);
                w.number([8u8]);
                w.signature("g");
                w.signature(self.signature);
            }
        });
        w.align(8);
        w.bytes.extend_from_slice(body);
        w.bytes
    }
}

impl Message {
    /// Reads the message at the start of `bytes`, and tells its length. `None`:
    /// there is more of it to come.
    ///
    /// Errors: [`BusError::Malformed`]; the connection cannot be used further.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, BusError> {
        let Some(fixed) = bytes.get(..FIXED) else {
            return Ok(None);
        };
        let mut r = Reader::new(fixed);
        if r.byte()? != ORDER {
            return Err(BusError::Malformed("it is in another byte order"));
        }
        let kind = match r.byte()? {
            1 => Kind::Call,
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            0 => return Err(BusError::Malformed("it has no type")),
            _ => Kind::Unknown,
        };
        r.byte()?;
        if r.byte()? != 1 {
            return Err(BusError::Malformed("it is of another protocol version"));
        }
        let (body, serial, fields) = (r.u32()? as usize, r.u32()?, r.u32()? as usize);
        if body > MAX || fields > MAX {
            return Err(BusError::Malformed("it is too long"));
        }
        let from = (FIXED + fields).next_multiple_of(8);
        let end = from + body;
        let (Some(header), Some(body)) = (bytes.get(FIXED..FIXED + fields), bytes.get(from..end))
        else {
            return Ok(None);
        };
        let mut message = Self {
            kind,
            serial,
            reply_to: None,
            interface: String::new(),
            member: String::new(),
            error: String::new(),
            sender: String::new(),
            signature: String::new(),
            body: body.to_vec(),
        };
        message.fields(header)?;
        Ok(Some((message, end)))
    }

    fn fields(&mut self, header: &[u8]) -> Result<(), BusError> {
        let mut r = Reader::new(header);
        while !r.is_empty() {
            r.align(8)?;
            let code = r.byte()?;
            let signature = r.signature()?;
            match (code, signature) {
                (2, "s") => self.interface = r.string()?.to_owned(),
                (3, "s") => self.member = r.string()?.to_owned(),
                (4, "s") => self.error = r.string()?.to_owned(),
                (5, "u") => self.reply_to = Some(r.u32()?),
                (7, "s") => self.sender = r.string()?.to_owned(),
                (8, "g") => self.signature = r.signature()?.to_owned(),
                (1..=9, _) | (0, _)
                    if !matches!((code, signature), (1, "o") | (6, "s") | (9, "u")) =>
                {
                    return Err(BusError::Malformed(
                        "a field of the header has a wrong type",
                    ));
                }
                // Others are to be ignored.
                (_, other) => r.skip(other)?,
            }
        }
        Ok(())
    }

    /// The body, if it is of these types.
    fn read(&self, signature: &str) -> Result<Reader<'_>, BusError> {
        if self.signature != signature {
            return Err(BusError::Malformed("it has other arguments than expected"));
        }
        Ok(Reader::new(&self.body))
    }

    /// The one argument, an object's path.
    pub fn object(&self) -> Result<&str, BusError> {
        self.read("o")?.string()
    }

    /// The one argument, a string within a variant.
    pub fn text(&self) -> Result<&str, BusError> {
        let mut r = self.read("v")?;
        match r.signature()? {
            "s" => r.string(),
            _ => Err(BusError::Malformed("a property is not a string")),
        }
    }

    /// What a `JobRemoved` signal tells: the job, and its result
    /// (org.freedesktop.systemd1(5)).
    pub fn job_removed(&self) -> Result<(&str, &str), BusError> {
        let mut r = self.read("uoss")?;
        r.u32()?;
        let job = r.string()?;
        r.string()?;
        Ok((job, r.string()?))
    }

    /// An error reply as an error.
    #[must_use]
    pub fn refusal(&self) -> BusError {
        // The first argument is by custom a sentence.
        let text = match self.signature.starts_with('s') {
            true => Reader::new(&self.body).string().unwrap_or_default(),
            false => "",
        };
        BusError::Refused {
            name: self.error.chars().take(200).collect(),
            text: text.chars().take(500).collect(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A message as a bus would send it.
    pub(crate) fn encode(m: &Message) -> Vec<u8> {
        let mut w = Writer::default();
        let kind = match m.kind {
            Kind::Call => 1,
            Kind::Return => 2,
            Kind::Error => 3,
            Kind::Signal => 4,
            Kind::Unknown => 9,
        };
        for byte in [ORDER, kind, 0, 1] {
            w.number([byte]);
        }
        w.u32(u32::try_from(m.body.len()).unwrap());
        w.u32(m.serial);
        w.array(8, |w| {
            for (code, text) in [
                (2, &m.interface),
                (3, &m.member),
                (4, &m.error),
                (7, &m.sender),
            ] {
                if !text.is_empty() {
                    w.align(8);
                    w.number([code]);
                    w.signature("s");
                    w.string(text);
                }
            }
            if let Some(serial) = m.reply_to {
                w.align(8);
                w.number([5u8]);
                w.signature("u");
                w.u32(serial);
            }
            if !m.signature.is_empty() {
                w.align(8);
                w.number([8u8]);
                w.signature("g");
                w.signature(&m.signature);
            }
        });
        w.align(8);
        w.bytes.extend_from_slice(&m.body);
        w.bytes
    }

    pub(crate) fn empty(kind: Kind) -> Message {
        Message {
            kind,
            serial: 1,
            reply_to: None,
            interface: String::new(),
            member: String::new(),
            error: String::new(),
            sender: String::new(),
            signature: String::new(),
            body: Vec::new(),
        }
    }

    fn job_removed() -> Vec<u8> {
        let mut w = Writer::default();
        w.u32(7);
        w.string("/job/7");
        w.string("a.scope");
        w.string("done");
        let mut m = empty(Kind::Signal);
        m.interface = "org.freedesktop.systemd1.Manager".to_owned();
        m.member = "JobRemoved".to_owned();
        m.signature = "uoss".to_owned();
        m.body = w.bytes;
        encode(&m)
    }

    #[test]
    fn a_call_is_read_back() {
        let call = Call {
            destination: "org.x",
            path: "/org/x",
            interface: "org.x.I",
            member: "Do",
            signature: "su",
        };
        let bytes = call.encode(5, b"12345");
        let (m, len) = Message::parse(&bytes).unwrap().unwrap();
        assert_eq!((m.kind, m.serial, len), (Kind::Call, 5, bytes.len()));
        assert_eq!((m.interface.as_str(), m.member.as_str()), ("org.x.I", "Do"));
        assert_eq!(
            (m.signature.as_str(), m.body.as_slice()),
            ("su", &b"12345"[..])
        );
    }

    #[test]
    fn a_signal_and_what_follows_it() {
        let mut bytes = job_removed();
        let whole = bytes.len();
        bytes.extend([9; 3]);
        let (m, len) = Message::parse(&bytes).unwrap().unwrap();
        assert_eq!(len, whole);
        assert_eq!(m.job_removed().unwrap(), ("/job/7", "done"));
        assert!(m.object().is_err() && m.text().is_err());
        for cut in 0..whole {
            assert_eq!(Message::parse(bytes.get(..cut).unwrap()), Ok(None), "{cut}");
        }
    }

    #[test]
    fn what_is_no_message() {
        let good = job_removed();
        for (at, byte) in [(0, b'x'), (1, 0), (3, 2), (7, 0x7f), (15, 0x7f)] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            assert!(Message::parse(&bytes).is_err(), "{at}");
        }
    }

    #[test]
    fn errors_without_words() {
        let mut m = empty(Kind::Error);
        m.error = "org.x.Failed".to_owned();
        assert_eq!(m.refusal().to_string(), " (org.x.Failed)");
        assert!(m.refusal().is(".Failed") && !m.refusal().is("Exists"));
    }

    proptest! {
        #[test]
        fn any_bytes_parse(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::parse(&bytes);
        }

        #[test]
        fn a_broken_message_is_no_panic(at in 0usize..200, byte in any::<u8>()) {
            let mut bytes = job_removed();
            let index = at % bytes.len();
            bytes[index] = byte;
            if let Ok(Some((m, _))) = Message::parse(&bytes) {
                let _ = (m.job_removed().is_ok(), m.text().is_ok(), m.object().is_ok(), m.refusal());
            }
        }
    }
}
