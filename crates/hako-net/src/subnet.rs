//! IPv4 subnets and MAC addresses: the words that the rest speaks in.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 network, for example `10.89.0.0/24`; host bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    network: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// The network that `address` with a prefix of `prefix` bits lies in; none
    /// for more than 32 bits.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        let network = Ipv4Addr::from_bits(address.to_bits() & mask(prefix)?);
        Some(Self { network, prefix })
    }

    /// The first address, which names the network.
    pub fn network(&self) -> Ipv4Addr {
        self.network
    }

    /// Bits of the network's part, 0 to 32.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The mask as an address (255.255.255.0).
    pub fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask(self.prefix).unwrap_or(u32::MAX))
    }

    /// The last address, which reaches all.
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | !self.mask().to_bits())
    }

    /// The first address for a station: what the bridge gets when nothing else
    /// is asked.
    pub fn first(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits().saturating_add(1))
    }

    /// Whether an address lies in it.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask().to_bits() == self.network.to_bits()
    }

    /// Whether the two have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// Whether an address in it can be a station's: neither the network's own
    /// nor the broadcast address.
    pub fn is_station(&self, address: Ipv4Addr) -> bool {
        self.contains(address) && address != self.network && address != self.broadcast()
    }
}

fn mask(prefix: u8) -> Option<u32> {
    match prefix {
        0 => Some(0),
        1..=32 => Some(u32::MAX << (32 - prefix)),
        _ => None,
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = Error;

    /// Reads `A.B.C.D/N` for a container network: 8 ≤ N ≤ 30, so that there is
    /// room for a gateway and a container and no more than 2²⁴ addresses.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let prefix = prefix.parse().ok().filter(|n| (8..=30).contains(n))?;
            Self::new(address.parse().ok()?, prefix)
        };
        parse().ok_or_else(|| Error::InvalidSubnet(text.to_owned()))
    }
}

impl TryFrom<String> for Subnet {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

/// A hardware address of one station.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

impl Mac {
    /// The address that belongs to an IPv4 address: `6a:6b` (locally
    /// administered, one station) and its four bytes. A container that gets the
    /// address of one that is gone so has its MAC too, and no neighbour's ARP
    /// cache is wrong. Only stations of one bridge need differ, and on it no
    /// two have one IPv4 address.
    pub fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x6a, 0x6b, a, b, c, d])
    }

    /// Its six bytes.
    pub fn octets(&self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::InvalidMac(text.to_owned());
        let mut octets = [0u8; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2);
            let part = part.ok_or_else(invalid)?;
            if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(invalid());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        // Neither a group's address nor all zeroes (is_valid_ether_addr in the
        // kernel's etherdevice.h).
        let group = octets.first().is_some_and(|first| first & 1 == 1);
        if parts.next().is_some() || group || octets == [0; 6] {
            return Err(invalid());
        }
        Ok(Self(octets))
    }
}

impl TryFrom<String> for Mac {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn parts_of_a_subnet() {
        let subnet = net("10.89.3.77/22");
        assert_eq!(subnet.to_string(), "10.89.0.0/22");
        assert_eq!(subnet.mask(), Ipv4Addr::new(255, 255, 252, 0));
        assert_eq!(subnet.broadcast(), Ipv4Addr::new(10, 89, 3, 255));
        assert_eq!(subnet.first(), Ipv4Addr::new(10, 89, 0, 1));
        assert!(!subnet.is_station(Ipv4Addr::new(10, 89, 0, 0)));
        assert!(!subnet.is_station(Ipv4Addr::new(10, 89, 3, 255)));
        assert!(!subnet.is_station(Ipv4Addr::new(10, 89, 4, 1)));
        assert!(subnet.is_station(Ipv4Addr::new(10, 89, 2, 255)));
    }

    #[test]
    fn overlap_is_symmetric_and_needs_a_common_address() {
        let all = Subnet::new(Ipv4Addr::UNSPECIFIED, 0).unwrap();
        for (one, other, common) in [
            (net("10.89.0.0/24"), net("10.89.0.0/24"), true),
            (net("10.89.0.0/24"), net("10.89.1.0/24"), false),
            (net("10.0.0.0/8"), net("10.89.1.0/24"), true),
            (all, net("10.89.1.0/24"), true),
        ] {
            assert_eq!(one.overlaps(&other), common, "{one} {other}");
            assert_eq!(other.overlaps(&one), common, "{other} {one}");
        }
    }

    #[test]
    fn what_is_no_subnet() {
        for text in [
            "",
            "10.89.0.0",
            "10.89.0.0/31",
            "10.0.0.0/7",
            "::/64",
            "10.89.0/24",
            "10.89.0.0/+24 ",
        ] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
        assert_eq!(Subnet::new(Ipv4Addr::LOCALHOST, 33), None);
    }

    #[test]
    fn what_is_no_mac() {
        let all = [
            "",
            "02:42:ac:11:00",
            "02:42:ac:11:00:02:03",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "+2:42:ac:11:00:02",
            "2:42:ac:11:00:02",
        ];
        for text in all {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
        let mac: Mac = "02-42-AC-11-00-02".parse().unwrap();
        assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
        assert_eq!(
            Mac::of(Ipv4Addr::new(10, 89, 0, 2)).to_string(),
            "6a:6b:0a:59:00:02"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,24}") {
            let _ = text.parse::<Subnet>();
            let _ = text.parse::<Mac>();
        }

        #[test]
        fn text_round_trips(bits in any::<u32>(), prefix in 8u8..=30, mac in any::<[u8; 6]>()) {
            let subnet = Subnet::new(Ipv4Addr::from_bits(bits), prefix).unwrap();
            prop_assert_eq!(subnet.to_string().parse::<Subnet>().unwrap(), subnet);
            prop_assert!(subnet.contains(Ipv4Addr::from_bits(bits)));
            let mac = Mac(mac);
            if let Ok(read) = mac.to_string().parse::<Mac>() {
                prop_assert_eq!(read, mac);
            }
        }
    }
}
