//! DNS: the name of the first question (RFC 1035, section 4.1).

use std::borrow::Cow;

/// The name that is asked for, without the dot at its end; `.` is the root.
pub(super) fn question(message: &[u8]) -> Option<Cow<'_, str>> {
    let (header, mut rest) = message.split_first_chunk::<12>()?;
    let [_, _, _, _, q0, q1, ..] = *header;
    if u16::from_be_bytes([q0, q1]) == 0 {
        return None;
    }
    let mut name = String::new();
    loop {
        let (len, behind) = rest.split_first()?;
        match len {
            0 => break,
            // What comes first has nothing before it to point at.
            64.. => return None,
            len => {
                let (label, behind) = behind.split_at_checked(usize::from(*len))?;
                if !name.is_empty() {
                    name.push('.');
                }
                // Labels may hold anything; what is no letter is shown as such.
                name.extend(label.iter().map(|byte| match byte {
                    byte if byte.is_ascii_graphic() => char::from(*byte).to_ascii_lowercase(),
                    _ => '?',
                }));
                if name.len() > 255 {
                    return None;
                }
                rest = behind;
            }
        }
    }
    Some(if name.is_empty() { ".".into() } else { name.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_question_names_what_is_asked_for() {
        let mut message = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(b"\x03WWW\x07example\x03com\0\0\x01\0\x01");
        assert_eq!(question(&message).as_deref(), Some("www.example.com"));
        for len in 0..message.len() - 4 {
            assert_eq!(question(&message[..len.min(28)]), None, "{len}");
        }
    }
}
