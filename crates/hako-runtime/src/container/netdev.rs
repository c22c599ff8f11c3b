//! Network devices that move from the runtime's network namespace into the
//! container's (config-linux.md, "Network Devices"; rtnetlink(7)).

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hako_spec::runtime::NetDevice;
use hako_sys::clone::flags::NEWNET;
use hako_sys::ns;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice, recv, send,
    socket_with,
};

use crate::error::{Context, Error, Result};

const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const IF_NAME: u16 = 3;
const NET_NS_FD: u16 = 28;
const UP: u32 = 1;

/// Moves `devices` to the namespace of process `pid`: with their permanent
/// global addresses, and up.
pub fn move_all(devices: &BTreeMap<String, NetDevice>, pid: i32) -> Result<()> {
    let open = |path: String| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::open(&path, flags, Mode::empty()).context(|| path)
    };
    let own = open("/proc/self/ns/net".to_owned())?;
    let theirs = open(format!("/proc/{pid}/ns/net"))?;
    let outside = socket()?;
    // A socket stays in the namespace that it was made in.
    ns::join(theirs.as_fd(), NEWNET).context(|| "enter the container's network namespace")?;
    let inside = socket();
    ns::join(own.as_fd(), NEWNET).context(|| "return to the runtime's network namespace")?;
    let inside = inside?;
    for (name, device) in devices {
        let wanted = device.name.as_deref().filter(|new| !new.is_empty());
        one(
            &outside,
            &inside,
            theirs.as_fd(),
            name,
            wanted.unwrap_or(name),
        )
        .context(|| format!("linux.netDevices: {name}"))?;
    }
    Ok(())
}

fn socket() -> Result<OwnedFd> {
    let kind = SocketType::RAW;
    let made = socket_with(AddressFamily::NETLINK, kind, SocketFlags::CLOEXEC, None);
    made.context(|| "make a netlink socket")
}

fn one(
    outside: &OwnedFd,
    inside: &OwnedFd,
    namespace: BorrowedFd<'_>,
    name: &str,
    wanted: &str,
) -> Result<()> {
    let index = netdevice::name_to_index(outside, name)?;
    let wanted = free_name(inside, wanted)?;
    let addresses = addresses(outside, index)?;
    let mut body = link(index, 0, 0);
    let fd = std::os::fd::AsRawFd::as_raw_fd(&namespace);
    attribute(&mut body, NET_NS_FD, &fd.to_ne_bytes());
    let mut text = wanted.as_bytes().to_vec();
    text.push(0);
    attribute(&mut body, IF_NAME, &text);
    call(outside, NEW_LINK, &body).context(|| "move to the container")?;
    let index = netdevice::name_to_index(inside, &wanted)?;
    for mut address in addresses {
        if let Some(place) = address.get_mut(4..8) {
            place.copy_from_slice(&index.to_ne_bytes());
        }
        match call(inside, NEW_ADDRESS, &address) {
            Err(Errno::EXIST) => {}
            other => other.context(|| "give an address back")?,
        }
    }
    call(inside, NEW_LINK, &link(index, UP, UP)).context(|| "set up")
}

/// The name inside, which nobody may have; `%d` stands for the first number
/// that is free.
fn free_name(inside: &OwnedFd, wanted: &str) -> Result<String> {
    let is_free = |name: &str| match netdevice::name_to_index(inside, name) {
        Err(Errno::NODEV) => Ok(true),
        other => other.map(|_| false),
    };
    let Some((front, back)) = wanted.split_once("%d") else {
        return match is_free(wanted)? {
            true => Ok(wanted.to_owned()),
            false => Err(Error::new(format!("the container has a device {wanted}"))),
        };
    };
    for number in 0..32768 {
        let name = format!("{front}{number}{back}");
        if is_free(&name)? {
            return Ok(name);
        }
    }
    Err(Error::new(format!("no free name for {wanted}")))
}

/// Requests that give a device the permanent global addresses which it has.
fn addresses(socket: &OwnedFd, index: u32) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    send(
        socket,
        &message(GET_ADDRESS, REQUEST | DUMP, &[0; 8]),
        SendFlags::empty(),
    )?;
    let mut buffer = vec![0; 1 << 15];
    loop {
        let (got, _) = recv(socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = buffer.get(..got).unwrap_or_default();
        while let Some((kind, body, more)) = next(rest) {
            match kind {
                DONE => return Ok(found),
                ERROR => return Err(error(body).into()),
                NEW_ADDRESS => found.extend(kept(body, index)),
                _ => {}
            }
            rest = more;
        }
    }
}

/// The request for an address, if it is one that goes with the device.
fn kept(body: &[u8], index: u32) -> Option<Vec<u8>> {
    const PERMANENT: u8 = 0x80;
    // Address, local, broadcast, flags, route priority; a label has the
    // device's old name, and lifetimes are unlimited.
    const KEPT: [u16; 5] = [1, 2, 4, 8, 9];
    let (head, mut rest) = body.split_at_checked(8)?;
    let of_device = head.get(4..)? == index.to_ne_bytes();
    let (flags, scope) = (*head.get(2)?, *head.get(3)?);
    if !of_device || flags & PERMANENT == 0 || scope != 0 {
        return None;
    }
    let mut request = head.to_vec();
    while let Some((kind, value, more)) = next_attribute(rest) {
        if KEPT.contains(&kind) {
            attribute(&mut request, kind, value);
        }
        rest = more;
    }
    Some(request)
}

/// An `ifinfomsg`.
fn link(index: u32, flags: u32, change: u32) -> Vec<u8> {
    [
        [0; 4],
        index.to_ne_bytes(),
        flags.to_ne_bytes(),
        change.to_ne_bytes(),
    ]
    .concat()
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((value.len() as u16 + 4).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut all = (body.len() as u32 + 16).to_ne_bytes().to_vec();
    all.extend(kind.to_ne_bytes());
    all.extend(flags.to_ne_bytes());
    all.extend([0; 8]);
    all.extend(body);
    all
}

/// Splits the first message off: its type, its body, and the rest.
fn next(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let rest = bytes.get(length.next_multiple_of(4)..);
    Some((kind, bytes.get(16..length)?, rest.unwrap_or_default()))
}

fn next_attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
    let rest = bytes.get(length.next_multiple_of(4)..);
    Some((kind, bytes.get(4..length)?, rest.unwrap_or_default()))
}

fn error(body: &[u8]) -> Errno {
    let code = body.get(..4).and_then(|bytes| bytes.try_into().ok());
    Errno::from_raw_os_error(-code.map_or(-5, i32::from_ne_bytes))
}

/// One request and its answer.
fn call(socket: &OwnedFd, kind: u16, body: &[u8]) -> rustix::io::Result<()> {
    send(
        socket,
        &message(kind, REQUEST | ACK, body),
        SendFlags::empty(),
    )?;
    let mut buffer = [0; 4096];
    let (got, _) = recv(socket, &mut buffer[..], RecvFlags::empty())?;
    match next(buffer.get(..got).unwrap_or_default()) {
        Some((ERROR, [0, 0, 0, 0, ..], _)) => Ok(()),
        Some((ERROR, body, _)) => Err(error(body)),
        _ => Err(Errno::PROTO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_attributes() {
        let mut body = link(7, UP, UP);
        attribute(&mut body, IF_NAME, b"eth0\0");
        let mut bytes = message(NEW_LINK, REQUEST, &body);
        bytes.extend(message(DONE, 0, &[0; 4]));
        let (kind, found, rest) = next(&bytes).unwrap();
        assert_eq!((kind, found), (NEW_LINK, &body[..]));
        let (name, value, more) = next_attribute(&found[16..]).unwrap();
        assert_eq!((name, value, more), (IF_NAME, &b"eth0\0"[..], &[][..]));
        assert_eq!(next(rest).unwrap().0, DONE);
        for end in 0..bytes.len() {
            let _ = next(&bytes[..end]);
            let _ = next_attribute(&bytes[..end]);
        }
    }

    #[test]
    fn which_addresses_go_along() {
        let address = |flags: u8, scope: u8, index: u32| {
            let mut body = vec![2, 24, flags, scope];
            body.extend(index.to_ne_bytes());
            attribute(&mut body, 1, &[10, 0, 0, 1]);
            attribute(&mut body, 3, b"eth0\0");
            body
        };
        let kept_one = kept(&address(0x80, 0, 5), 5).unwrap();
        assert_eq!(kept_one.len(), 16, "without the label: {kept_one:?}");
        assert_eq!(kept(&address(0x80, 0, 5), 6), None);
        assert_eq!(kept(&address(0, 0, 5), 5), None);
        assert_eq!(kept(&address(0x80, 253, 5), 5), None);
        assert_eq!(kept(&[], 5), None);
    }
}
