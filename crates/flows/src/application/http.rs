//! HTTP/1: the host of a request (RFC 9112, section 3.2).

use std::borrow::Cow;

use super::printable;

/// Whether a request begins here.
pub(super) fn is_request(payload: &[u8]) -> bool {
    METHODS.iter().any(|method| payload.starts_with(method))
}

/// The host that is asked for, from the header of that name.
pub(super) fn host(payload: &[u8]) -> Option<Cow<'_, str>> {
    let lines = payload.split(|byte| *byte == b'\n').skip(1).take(MOST_LINES);
    for line in lines {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_first_chunk::<5>() else { continue };
        if name.eq_ignore_ascii_case(b"host:") {
            return printable(value.trim_ascii()).map(Cow::from);
        }
    }
    None
}

const METHODS: [&[u8]; 9] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
    b"PRI * HTTP/2",
];

/// Behind so many lines nobody looks for it.
const MOST_LINES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_found_whatever_stands_before_it() {
        let request = b"GET /x HTTP/1.1\r\nAccept: */*\r\nhOsT:  web-01.acme:8080 \r\n\r\nHost: b";
        assert!(is_request(request));
        assert_eq!(host(request).as_deref(), Some("web-01.acme:8080"));
        assert_eq!(host(b"GET / HTTP/1.1\r\n\r\nHost: b\r\n"), None);
        assert_eq!(host(b"GET / HTTP/1.1\r\nHost: \x1b[31m\r\n"), None, "not on a terminal");
    }
}
