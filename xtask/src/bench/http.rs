//! As much HTTP/1.1 as the two ends of a bench need: heads with a `content-length`, nothing else.

/// The longest head that is read.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// One head, of a request or an answer.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Head<'a> {
    /// The request line or the status line.
    pub(crate) line: &'a str,
    pub(crate) content_length: Option<usize>,
    /// Where the body begins.
    pub(crate) end: usize,
}

/// The head at the beginning of `bytes`, or `None` where its end has not come yet.
pub(crate) fn head(bytes: &[u8]) -> Result<Option<Head<'_>>, String> {
    let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES_MAX { Err("a head without end".to_owned()) } else { Ok(None) };
    };
    let text = std::str::from_utf8(&bytes[..at]).map_err(|_| "a head that is no text".to_owned())?;
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let mut content_length = None;
    for field in lines {
        let (name, value) = field.split_once(':').ok_or_else(|| format!("no field: {field}"))?;
        if name.eq_ignore_ascii_case("content-length") {
            content_length = Some(value.trim().parse().map_err(|_| format!("no length: {value}"))?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("a body without a length".to_owned());
        }
    }
    Ok(Some(Head { line, content_length, end: at + 4 }))
}

/// Whether an answer is what the case expects; where it is, where its body begins.
pub(crate) fn accepted(head: &Head<'_>, body_bytes: usize) -> Result<usize, String> {
    if !head.line.starts_with("HTTP/1.1 200") {
        return Err(format!("answered: {}", head.line));
    }
    match head.content_length {
        Some(length) if length == body_bytes => Ok(head.end),
        other => Err(format!("a body of {other:?} bytes instead of {body_bytes}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let bytes = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 3\r\n\r\nabc";
        let whole = head(bytes).unwrap().unwrap();
        assert_eq!(whole, Head { line: "HTTP/1.1 200 OK", content_length: Some(3), end: bytes.len() - 3 });
        assert_eq!(head(&bytes[..whole.end - 1]), Ok(None));
        assert_eq!(head(b""), Ok(None));
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        for bad in [
            "GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
            "GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nfield\r\n\r\n",
        ] {
            assert!(head(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(head(&vec![b'x'; HEAD_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn status_and_length_are_checked() {
        let answer = |line, content_length| Head { line, content_length, end: 40 };
        assert_eq!(accepted(&answer("HTTP/1.1 200 OK", Some(8)), 8), Ok(40));
        assert!(accepted(&answer("HTTP/1.1 503 Service Unavailable", Some(8)), 8).is_err());
        assert!(accepted(&answer("HTTP/1.1 200 OK", Some(7)), 8).is_err());
        assert!(accepted(&answer("HTTP/1.1 200 OK", None), 8).is_err());
    }
}
