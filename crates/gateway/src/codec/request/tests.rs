use super::*;

/// What a request becomes on its way to the upstream, or the reason and detail of its refusal.
fn forward(raw: &str) -> Result<Option<String>, String> {
    read_request(raw.as_bytes(), &Limits::default(), |r| {
        let mut out = Vec::new();
        write_upstream_head(&mut out, r, "192.0.2.1", "service");
        String::from_utf8(out).unwrap()
    })
    .map_err(|r| format!("{}: {}", r.reason, r.detail))
}

#[test]
fn a_head_is_passed_on_with_the_fewest_changes() {
    for (raw, expected) in [
        (
            "GET /a?b=c HTTP/1.1\r\nHost: x\r\nA: 1\r\n\r\n",
            "GET /a?b=c HTTP/1.1\r\nHost: x\r\nA: 1\r\nx-forwarded-for: 192.0.2.1\r\n\r\n",
        ),
        // What belongs to the connection stays behind, by its name and by being named.
        (
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, x-a, Host\r\nX-A: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nUpgrade: h2c\r\nB: 2\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nB: 2\r\nx-forwarded-for: 192.0.2.1\r\n\r\n",
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nHost: x\r\nExpect: 100-continue\r\nX-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\nx-forwarded-for: 1.1.1.1, 2.2.2.2, 192.0.2.1\r\n\r\n",
        ),
        ("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nhost: service\r\nx-forwarded-for: 192.0.2.1\r\n\r\n"),
        (
            "GET http://x:1/p HTTP/1.1\r\nHost: X:1\r\n\r\n",
            "GET /p HTTP/1.1\r\nHost: X:1\r\nx-forwarded-for: 192.0.2.1\r\n\r\n",
        ),
        ("GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nx-forwarded-for: 192.0.2.1\r\n\r\n"),
    ] {
        assert_eq!(forward(raw).unwrap().unwrap(), expected);
    }
}

#[test]
fn an_unfinished_head_is_waited_for() {
    let whole = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n";
    for end in 0..whole.len() {
        assert_eq!(forward(&whole[..end]), Ok(None), "{end}");
    }
    assert!(forward(whole).unwrap().is_some());
}

#[test]
fn the_framing_and_the_connection() {
    let facts = |raw: &str| {
        read_request(raw.as_bytes(), &Limits::default(), |r| (r.framing, r.keep_alive, r.path().len()))
            .unwrap()
            .unwrap()
    };
    assert_eq!(facts("GET /?x HTTP/1.1\r\nHost: x\r\n\r\n"), (Framing::None, true, 1));
    assert_eq!(facts("GET /a HTTP/1.1\r\nHost: x\r\nconnection: Close\r\n\r\n"), (Framing::None, false, 2));
    assert_eq!(facts("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n"), (Framing::Length(12), true, 1));
    assert_eq!(facts("PUT / HTTP/1.0\r\nContent-Length: 0\r\n\r\n"), (Framing::Length(0), false, 1));
}
