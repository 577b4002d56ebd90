use proptest::prelude::*;

use super::*;

/// Reads `wire` in pieces of `piece` bytes: the content and how much belonged to the body, or that it was refused.
fn read(framing: Framing, wire: &[u8], piece: usize) -> Result<(Vec<u8>, usize, bool), &'static str> {
    let mut framer = Framer::new(framing);
    let (mut content, mut consumed) = (Vec::new(), 0);
    for part in wire.chunks(piece.max(1)) {
        let mut at = 0;
        while at < part.len() && !framer.is_done() {
            let step = framer.step(&part[at..]).map_err(|r| r.detail)?;
            content.extend_from_slice(&part[at..][step.data.clone()]);
            at += step.consumed;
        }
        consumed += at;
    }
    Ok((content, consumed, framer.is_done()))
}

#[test]
fn good_chunks() {
    for (wire, content) in [
        ("0\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("005;a=\"b\"\r\nhello\r\nA\r\n0123456789\r\n0\r\nx-sum: 1\r\nX-b:\r\n\r\n", "hello0123456789"),
        ("1\r\n\n\r\n0;x\r\n\r\n", "\n"),
    ] {
        for piece in [1, 2, 3, 1000] {
            let whole = format!("{wire}GET / HTTP/1.1");
            let read = read(Framing::Chunked, whole.as_bytes(), piece);
            assert_eq!(read, Ok((content.as_bytes().to_vec(), wire.len(), true)), "{wire:?}");
        }
    }
}

#[test]
fn bad_chunks() {
    for wire in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-1\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello",
        ";x\r\n",
        "g\r\n",
        "ffffffffffffffff\r\n",
        "10000000000000000\r\n",
        "00000000000000005\r\nhello\r\n",
        "0\r\n\n",
        "0\n\r\n",
        "0\r\nx: y\n\r\n",
        "0\r\nx : y\r\n\r\n",
        "0\r\n: y\r\n\r\n",
        "0\r\n folded\r\n\r\n",
        "0\r\nContent-Length: 5\r\n\r\n",
        "0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "0\r\nhost: other\r\n\r\n",
        &format!("5;{}\r\nhello", "x".repeat(300)),
        &format!("0\r\nx: {}\r\n\r\n", "y".repeat(9000)),
    ] {
        for piece in [1, 7, 100_000] {
            assert!(read(Framing::Chunked, wire.as_bytes(), piece).is_err(), "{wire:?} by {piece}");
        }
    }
}

#[test]
fn lengths_and_closes() {
    assert_eq!(read(Framing::Length(5), b"helloGET", 2), Ok((b"hello".to_vec(), 5, true)));
    assert_eq!(read(Framing::None, b"GET", 2), Ok((Vec::new(), 0, true)));
    let mut framer = Framer::new(Framing::Close);
    assert_eq!(framer.advance(b"anything"), Ok(8));
    assert!(!framer.is_done());
    assert!(framer.end_of_stream());
    assert!(!Framer::new(Framing::Length(1)).end_of_stream());
    assert!(!Framer::new(Framing::Chunked).end_of_stream());
}

proptest! {
    /// However a body is cut, into chunks and into reads, the same content comes out and nothing more is taken.
    #[test]
    fn cuts_do_not_matter(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..8),
                          piece in 1usize..40, tail in proptest::collection::vec(any::<u8>(), 0..20)) {
        let mut wire = Vec::new();
        for part in &parts {
            wire.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
            wire.extend_from_slice(part);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n\r\n");
        let length = wire.len();
        wire.extend_from_slice(&tail);
        prop_assert_eq!(read(Framing::Chunked, &wire, piece), Ok((parts.concat(), length, true)));
    }

    /// No bytes make it loop or panic, and how they are cut into reads does not change the verdict.
    #[test]
    fn any_bytes_are_judged_the_same_however_cut(wire in proptest::collection::vec(
        prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'5'), Just(b';'), Just(b':'), Just(b'x'), any::<u8>()], 0..60)) {
        prop_assert_eq!(read(Framing::Chunked, &wire, 1), read(Framing::Chunked, &wire, 1000));
    }
}
