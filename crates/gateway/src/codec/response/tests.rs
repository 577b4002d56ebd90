use super::*;

fn facts(raw: &str, to_head: bool) -> Result<Option<ResponseFacts>, &'static str> {
    read_response(raw.as_bytes(), to_head, |r| r.facts).map_err(|r| r.detail)
}

#[test]
fn the_framing_of_answers() {
    for (raw, to_head, framing, keep_alive) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", false, Framing::Length(3), true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true, Framing::None, true),
        ("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n", false, Framing::Chunked, false),
        ("HTTP/1.1 204 No\r\n\r\n", false, Framing::None, true),
        ("HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n", false, Framing::None, true),
        ("HTTP/1.1 200 OK\r\n\r\n", false, Framing::Close, false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", false, Framing::Length(3), false),
    ] {
        let facts = facts(raw, to_head).unwrap().unwrap();
        assert_eq!((facts.framing, facts.keep_alive), (framing, keep_alive), "{raw:?}");
    }
}

#[test]
fn answers_that_could_be_read_in_two_ways_are_refused() {
    for raw in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 3\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 101 Switching\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n",
    ] {
        assert!(facts(raw, false).is_err(), "{raw:?}");
    }
}

#[test]
fn what_the_client_gets() {
    let write = |raw: &str, http11| {
        let mut out = Vec::new();
        read_response(raw.as_bytes(), false, |r| write_client_head(&mut out, r, http11)).unwrap().unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        write("HTTP/1.0 200 Fine\r\nA: 1\r\nConnection: close, b\r\nB: 2\r\nContent-Length: 1\r\n\r\n", true),
        "HTTP/1.1 200 Fine\r\nA: 1\r\nContent-Length: 1\r\n"
    );
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(write(chunked, true), "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n");
    assert_eq!(write(chunked, false), "HTTP/1.1 200 OK\r\n");
    assert_eq!(write("HTTP/1.1 204 None\r\nContent-Length: 0\r\n\r\n", true), "HTTP/1.1 204 None\r\n");
}
