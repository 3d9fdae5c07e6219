//! TLS: the server name of a ClientHello (RFC 6066, section 3).

use std::borrow::Cow;

use super::printable;

/// The name of the server that is asked for; `None` also if the message is cut before it.
pub(super) fn server_name(record: &[u8]) -> Option<Cow<'_, str>> {
    // Record header, then type and length of the handshake message, version and random.
    let mut rest = record.get(5 + 4 + 2 + 32..)?;
    let _session = take_short(&mut rest)?;
    let _suites = take_long(&mut rest)?;
    let _compressions = take_short(&mut rest)?;
    let (_, mut extensions) = rest.split_first_chunk::<2>()?;
    loop {
        let (kind, behind) = extensions.split_first_chunk::<2>()?;
        extensions = behind;
        let body = take_long(&mut extensions)?;
        if *kind == SERVER_NAME {
            // A list, of which there is one entry: its kind, 0 for a host, and the name.
            let (_, entry) = body.split_first_chunk::<2>()?;
            let (kind, mut entry) = entry.split_first()?;
            let name = take_long(&mut entry)?;
            return printable(name).filter(|_| *kind == 0).map(Cow::from);
        }
    }
}

/// Bytes behind one byte that says how many.
fn take_short<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, behind) = rest.split_first()?;
    let (taken, behind) = behind.split_at_checked(usize::from(*len))?;
    *rest = behind;
    Some(taken)
}

/// Bytes behind two bytes that say how many.
fn take_long<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, behind) = rest.split_first_chunk::<2>()?;
    let (taken, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    *rest = behind;
    Some(taken)
}

const SERVER_NAME: [u8; 2] = [0, 0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_name_is_found_behind_other_extensions_and_never_beyond_the_bytes() {
        let mut hello = vec![22, 3, 1, 0, 0, 1, 0, 0, 0, 3, 3];
        hello.extend([7; 32]);
        hello.extend([0, 0, 2, 0x13, 1, 1, 0]); // no session, one suite, no compression
        hello.extend([0, 30, 0, 43, 0, 3, 2, 3, 4]); // supported versions
        hello.extend([0, 0, 0, 12, 0, 10, 0, 0, 7]);
        hello.extend(b"web.lan");
        assert_eq!(server_name(&hello).as_deref(), Some("web.lan"));
        for len in 0..hello.len() {
            assert_eq!(server_name(&hello[..len]), None, "{len}");
        }
    }
}
