//! The requests that are timed.

use clap::ValueEnum;

/// What is asked, over and over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Case {
    #[value(name = "get-1k")]
    Get1k,
    #[value(name = "get-64k")]
    Get64k,
    #[value(name = "post-4k")]
    Post4k,
}

/// The length of what `POST /upload` sends.
pub(crate) const UPLOAD_BYTES: usize = 4 * 1024;
/// The answer to an upload of the right length.
pub(crate) const RECEIPT: &[u8] = b"received";

impl Case {
    pub(crate) const ALL: [Self; 3] = [Self::Get1k, Self::Get64k, Self::Post4k];

    /// On the command line and in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get1k => "get-1k",
            Self::Get64k => "get-64k",
            Self::Post4k => "post-4k",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Get1k => "GET 1 KiB",
            Self::Get64k => "GET 64 KiB",
            Self::Post4k => "POST 4 KiB",
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Get1k => "/1k",
            Self::Get64k => "/64k",
            Self::Post4k => "/upload",
        }
    }

    /// How long the body of the answer is.
    pub(crate) fn answer_bytes(self) -> usize {
        match self {
            Self::Get1k => 1024,
            Self::Get64k => 64 * 1024,
            Self::Post4k => RECEIPT.len(),
        }
    }

    /// The request as it goes over the wire.
    pub(crate) fn request(self) -> Vec<u8> {
        let path = self.path();
        let fields = "host: bench.local\r\nuser-agent: bench\r\naccept: */*\r\n";
        match self {
            Self::Get1k | Self::Get64k => format!("GET {path} HTTP/1.1\r\n{fields}\r\n").into_bytes(),
            Self::Post4k => {
                let head = format!("POST {path} HTTP/1.1\r\n{fields}content-length: {UPLOAD_BYTES}\r\n\r\n");
                let mut request = head.into_bytes();
                request.resize(request.len() + UPLOAD_BYTES, b'u');
                request
            }
        }
    }
}
