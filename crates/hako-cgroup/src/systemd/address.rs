//! Where systemd is listening: its own socket, which needs no daemon between,
//! or else the bus (D-Bus Specification, "Server Addresses").

use super::error::BusError;

/// The socket of the system's systemd, for root.
const PRIVATE: &str = "/run/systemd/private";
/// The system bus.
const SYSTEM: &str = "/run/dbus/system_bus_socket";

/// A unix socket to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// The path, or the name with a `@` in front that is not in the file system.
    pub(super) socket: String,
    /// Whether there is a bus, with names and an introduction.
    pub(super) bus: bool,
}

impl Address {
    fn new(socket: impl Into<String>, bus: bool) -> Self {
        Self {
            socket: socket.into(),
            bus,
        }
    }
}

/// The sockets to try in their order: of the user's systemd, or the system's.
pub(super) fn candidates(
    user: bool,
    variable: impl Fn(&str) -> Option<String>,
) -> Vec<Result<Address, BusError>> {
    let mut found = Vec::new();
    let run = variable("XDG_RUNTIME_DIR").filter(|dir| dir.starts_with('/'));
    let name = match user {
        true => "DBUS_SESSION_BUS_ADDRESS",
        false => "DBUS_SYSTEM_BUS_ADDRESS",
    };
    match (&run, user) {
        (Some(run), true) => found.push(Ok(Address::new(format!("{run}/systemd/private"), false))),
        (None, true) => {}
        (_, false) => found.push(Ok(Address::new(PRIVATE, false))),
    }
    if let Some(list) = variable(name).filter(|list| !list.is_empty()) {
        found.extend(list.split(';').filter(|a| !a.is_empty()).map(parse));
    } else if !user {
        found.push(Ok(Address::new(SYSTEM, true)));
    } else if let Some(run) = run {
        found.push(Ok(Address::new(format!("{run}/bus"), true)));
    }
    found
}

/// `unix:path=/run/user/1000/bus,guid=…`
fn parse(address: &str) -> Result<Address, BusError> {
    let keys = address.strip_prefix("unix:").ok_or(BusError::Address)?;
    keys.split(',')
        .find_map(|pair| match pair.split_once('=')? {
            ("path", value) => Some(unescape(value)),
            ("abstract", value) => Some(unescape(value).map(|name| format!("@{name}"))),
            _ => None,
        })
        .flatten()
        .map(|socket| Address::new(socket, true))
        .ok_or(BusError::Address)
}

/// Undoes `%20`.
fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.as_bytes().split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest);
    }
    String::from_utf8(bytes).ok().filter(|t| !t.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sockets(user: bool, variables: &[(&str, &str)]) -> Vec<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, v)| (*v).to_owned())
        };
        let found = candidates(user, variable).into_iter();
        found
            .map(|a| a.map_or_else(|e| e.to_string(), |a| a.socket))
            .collect()
    }

    #[test]
    fn in_their_order() {
        assert_eq!(sockets(false, &[]), [PRIVATE, SYSTEM]);
        assert_eq!(sockets(true, &[]), [""; 0]);
        let run = ("XDG_RUNTIME_DIR", "/run/user/7");
        assert_eq!(
            sockets(true, &[run]),
            ["/run/user/7/systemd/private", "/run/user/7/bus"]
        );
        let bus = (
            "DBUS_SESSION_BUS_ADDRESS",
            "tcp:host=x;unix:guid=1,path=/a%20b;",
        );
        assert_eq!(
            sockets(true, &[run, bus]),
            [
                "/run/user/7/systemd/private",
                "the address is not that of a unix socket",
                "/a b"
            ]
        );
        let bus = ("DBUS_SYSTEM_BUS_ADDRESS", "unix:abstract=/tmp/x,guid=2");
        assert_eq!(sockets(false, &[bus]), [PRIVATE, "@/tmp/x"]);
    }

    proptest! {
        #[test]
        fn any_address_parses(text in "(unix:)?[a-z=,%0-9/;]{0,30}") {
            let _ = parse(&text);
        }
    }
}
