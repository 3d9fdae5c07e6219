//! The Community ID of a flow, by which records of other tools are joined with ours.
//!
//! It knows neither networks nor tenants, so it is a column and never a key.

use std::net::IpAddr;

use crate::key::Ends;

/// Version 1 with seed 0, as `1:` and 28 letters.
pub fn community_id(ends: &Ends) -> String {
    let is_swapped = {
        let [source, destination] = ends.addresses.map(octets);
        let [from, to] = ends.ports;
        (destination, to) < (source, from) && !ends.is_one_way()
    };
    let ends = if is_swapped { ends.reversed() } else { *ends };
    let mut sha1 = sha1_smol::Sha1::new();
    sha1.update(&[0, 0]);
    ends.addresses.iter().for_each(|address| sha1.update(&octets(*address)));
    sha1.update(&[ends.protocol, 0]);
    if matches!(ends.protocol, 1 | 6 | 17 | 58 | 132) {
        ends.ports.iter().for_each(|port| sha1.update(&port.to_be_bytes()));
    }
    format!("1:{}", base64(&sha1.digest().bytes()))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    }
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let padded = [0, 1, 2].map(|place| chunk.get(place).copied().unwrap_or_default());
        let [a, b, c] = padded.map(u32::from);
        let bits = a << 16 | b << 8 | c;
        for place in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * place) & 0x3f).unwrap_or_default();
            let letter = LETTERS.get(index).copied().map_or('=', char::from);
            text.push(if place as usize <= chunk.len() { letter } else { '=' });
        }
    }
    text
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    fn id(source: &str, destination: &str, protocol: u8, ports: [u16; 2]) -> String {
        let addresses = [source.parse().unwrap(), destination.parse().unwrap()];
        let mut ends = Ends { addresses, ports, protocol };
        if protocol == 1 {
            let [kind, code] = ports.map(|port| u8::try_from(port).unwrap());
            ends.set_icmp(kind, code);
        }
        let id = community_id(&ends);
        if protocol != 1 {
            assert_eq!(community_id(&ends.reversed()), id);
        }
        id
    }

    #[test]
    fn it_is_what_the_specification_says() {
        // The examples of the reference implementation.
        assert_eq!(
            id("128.232.110.120", "66.35.250.204", 6, [34855, 80]),
            "1:LQU9qZlK+B5F3KDmev6m5PMibrg="
        );
        assert_eq!(
            id("192.168.1.52", "8.8.8.8", 17, [54585, 53]),
            "1:d/FP5EW3wiY1vCndhwleRRKHowQ="
        );
        assert_eq!(id("192.168.0.89", "192.168.0.1", 1, [8, 0]), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=");
    }
}
