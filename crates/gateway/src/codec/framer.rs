//! Where a body ends. Bytes are judged as they pass and are passed on as they came: a chunked body keeps its chunks.

use std::ops::Range;

use super::Reject;

/// Longest chunk-size line, extensions included.
const CHUNK_LINE_BYTES_MAX: u32 = 256;
/// All trailers of a body together.
const TRAILER_BYTES_MAX: u32 = 8 * 1024;
/// 16 hexadecimal digits fill a u64.
const CHUNK_DIGITS_MAX: u8 = 16;
/// Longest name among [`FORBIDDEN_TRAILERS`].
const TRAILER_NAME_KEPT: usize = 17;

/// Fields that would change how a message is read, where it goes or what it may do: never after the body.
const FORBIDDEN_TRAILERS: [&str; 8] =
    ["content-length", "transfer-encoding", "host", "connection", "te", "trailer", "upgrade", "authorization"];

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The end of the connection; answers only.
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Done,
    Length(u64),
    UntilClose,
    Size { value: u64, digits: u8 },
    Extension { value: u64, length: u32 },
    SizeLf { value: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName { length: usize },
    TrailerValue,
    TrailerLf,
    EndLf,
}

/// Reads one body.
#[derive(Debug)]
pub(crate) struct Framer {
    state: State,
    data_bytes: u64,
    trailer_bytes: u32,
    trailer_name: [u8; TRAILER_NAME_KEPT],
}

/// What [`Framer::step`] has read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Bytes of the body, framing and all.
    pub(crate) consumed: usize,
    /// Which of them are content.
    pub(crate) data: Range<usize>,
}

impl Framer {
    pub(crate) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(n) => State::Length(n),
            Framing::Chunked => State::Size { value: 0, digits: 0 },
            Framing::Close => State::UntilClose,
        };
        Self { state, data_bytes: 0, trailer_bytes: 0, trailer_name: [0; TRAILER_NAME_KEPT] }
    }

    /// The end of the body has been read.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Content read so far.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// The connection has ended. `false` if the body has not.
    pub(crate) fn end_of_stream(&mut self) -> bool {
        if self.state == State::UntilClose {
            self.state = State::Done;
        }
        self.is_done()
    }

    /// Reads as much of `bytes` as belongs to the body.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<usize, Reject> {
        let mut consumed = 0;
        while consumed < bytes.len() && !self.is_done() {
            consumed += self.step(&bytes[consumed..])?.consumed;
        }
        Ok(consumed)
    }

    /// Reads up to the end of one run of content. Consumes something unless `bytes` is empty or the body is done.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> Result<Step, Reject> {
        let mut at = 0;
        while at < bytes.len() {
            let run = match &mut self.state {
                State::Done => break,
                State::Length(left) => {
                    let run = (bytes.len() - at).min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= run as u64;
                    if *left == 0 {
                        self.state = State::Done;
                    }
                    run
                }
                State::UntilClose => bytes.len() - at,
                State::Data { left } => {
                    let run = (bytes.len() - at).min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= run as u64;
                    if *left == 0 {
                        self.state = State::DataCr;
                    }
                    run
                }
                _ => {
                    self.state = self.byte(bytes[at])?;
                    at += 1;
                    continue;
                }
            };
            self.data_bytes += run as u64;
            return Ok(Step { consumed: at + run, data: at..at + run });
        }
        Ok(Step { consumed: at, data: at..at })
    }

    /// One byte of the framing between the runs of content.
    fn byte(&mut self, byte: u8) -> Result<State, Reject> {
        const CHUNK: Reject = Reject::bad("a chunk of the body is malformed");
        Ok(match (self.state, byte) {
            (State::Size { value, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if digits == CHUNK_DIGITS_MAX || value >> 59 != 0 {
                    return Err(Reject::bad("the size of a chunk is too large"));
                }
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                State::Size { value: value << 4 | digit, digits: digits + 1 }
            }
            (State::Size { value, digits: 1.. }, b'\r') => State::SizeLf { value },
            (State::Size { value, digits: 1.. }, b';') => State::Extension { value, length: 0 },
            (State::Extension { value, .. }, b'\r') => State::SizeLf { value },
            (State::Extension { value, length }, b'\t' | b' '..=b'~' | 0x80..) if length < CHUNK_LINE_BYTES_MAX => {
                State::Extension { value, length: length + 1 }
            }
            (State::SizeLf { value: 0 }, b'\n') => State::TrailerStart,
            (State::SizeLf { value }, b'\n') => State::Data { left: value },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { value: 0, digits: 0 },
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::EndLf, b'\n') => State::Done,
            (State::TrailerStart | State::TrailerName { .. }, _) => return self.trailer_name(byte),
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_trailer()?;
                State::TrailerValue
            }
            (State::TrailerLf, b'\n') => State::TrailerStart,
            _ => return Err(CHUNK),
        })
    }

    fn trailer_name(&mut self, byte: u8) -> Result<State, Reject> {
        self.count_trailer()?;
        let length = if let State::TrailerName { length } = self.state { length } else { 0 };
        if byte == b':' && length > 0 {
            let name = &self.trailer_name[..length.min(TRAILER_NAME_KEPT)];
            if length <= TRAILER_NAME_KEPT && FORBIDDEN_TRAILERS.iter().any(|f| f.as_bytes() == name) {
                return Err(Reject::bad("a trailer may not say how a message is read"));
            }
            return Ok(State::TrailerValue);
        }
        if !super::head::is_token(byte) {
            return Err(Reject::bad("a trailer is malformed"));
        }
        if let Some(kept) = self.trailer_name.get_mut(length) {
            *kept = byte.to_ascii_lowercase();
        }
        Ok(State::TrailerName { length: length + 1 })
    }

    fn count_trailer(&mut self) -> Result<(), Reject> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(Reject::bad("the trailers are too long"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
