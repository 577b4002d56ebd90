//! What a request says of itself.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};

use super::{AnyError, DEADLINE_MS, Duplicate, ErrorEvidence, GRPC_TIMEOUT, IDEMPOTENCY_KEY, PRIORITY};
use crate::{CallContext, Clock, DEADLINE_MARGIN, Env, Moment, Priority, Profile, Repeatable};

/// Knows HTTP and gRPC: a [`Profile`] of `http::Request`s and a [`Judge`](crate::Judge) of `http::Response`s.
///
/// ```
/// # use mainstay_policy::{Env, Http, Profile, Repeatable};
/// let env = Env::new("payment");
/// let http = Http::new(&env).with_idempotency_keys();
/// let get = http::Request::get("http://payment/charges/1").body(())?;
/// let post = http::Request::post("http://payment/charges").body(())?;
/// assert_eq!(http.repeatable(&get), Repeatable::ByMethod);
/// assert_eq!(http.repeatable(&post), Repeatable::No);
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Http<F = AnyError> {
    clock: Clock,
    declared: bool,
    keys: bool,
    trusting: bool,
    tenant: Option<HeaderName>,
    pub(super) errors: F,
}

impl Http {
    /// With the clock of `env`, which must be that of the policies, for deadlines are moments of one clock.
    pub fn new(env: &Env) -> Self {
        Self {
            clock: env.clock().clone(),
            declared: false,
            keys: false,
            trusting: false,
            tenant: None,
            errors: AnyError,
        }
    }
}

impl<F> Http<F> {
    /// Every request to this service means the same twice: its owner says so.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.declared = true;
        self
    }

    /// The service tells repetitions by `Idempotency-Key`, so a POST or PATCH that carries one may be sent twice.
    #[must_use]
    pub fn with_idempotency_keys(mut self) -> Self {
        self.keys = true;
        self
    }

    /// Callers are our own, and are believed when they say how important a request is.
    #[must_use]
    pub fn trusting_peers(mut self) -> Self {
        self.trusting = true;
        self
    }

    /// This header says whose request it is. It must come from somebody who has checked it.
    #[must_use]
    pub fn tenant_from(mut self, header: HeaderName) -> Self {
        self.tenant = Some(header);
        self
    }

    /// `evidence` says of the client's errors whether the request was sent.
    ///
    /// ```
    /// # use mainstay_policy::{Env, Evidence, Http};
    /// # use std::io;
    /// let http = Http::new(&Env::default()).errors_by(|error: &io::Error| match error.kind() {
    ///     io::ErrorKind::ConnectionRefused => Evidence::NeverSent,
    ///     _ => Evidence::Sent,
    /// });
    /// ```
    pub fn errors_by<E, G: ErrorEvidence<E>>(self, evidence: G) -> Http<G> {
        let Self { clock, declared, keys, trusting, tenant, errors: _ } = self;
        Http { clock, declared, keys, trusting, tenant, errors: evidence }
    }

    /// The same knowledge for bodies of which there can be no copy. That is a server's place: it has deadlines and
    /// priorities to read, and sends nothing again.
    pub fn sent_once(self) -> SentOnce<F> {
        SentOnce(self)
    }

    fn means_the_same_twice<B>(&self, request: &Request<B>) -> Repeatable {
        let keyed = self.keys && request.headers().get(IDEMPOTENCY_KEY).is_some_and(|key| !key.is_empty());
        Repeatable::of(request.method().as_str(), self.declared, keyed)
    }

    fn read<B>(&self, request: &Request<B>) -> CallContext {
        if let Some(context) = request.extensions().get::<CallContext>() {
            return *context;
        }
        let headers = request.headers();
        CallContext {
            deadline: self.deadline(headers),
            priority: self.priority(headers),
            tenant: self.tenant(headers),
            ..CallContext::default()
        }
    }

    fn write<B>(&self, request: &mut Request<B>, context: &CallContext) {
        if let Some(left) = context.remaining(self.clock.now()) {
            let left = left.saturating_sub(DEADLINE_MARGIN);
            let ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            request.headers_mut().insert(DEADLINE_MS, ms.into());
            // A gRPC server knows this one only. Whoever did not send it does not want it.
            if let Some(value) = request.headers_mut().get_mut(GRPC_TIMEOUT) {
                *value = grpc_timeout_of(ms);
            }
        }
        // In place where there is one, so that a second attempt allocates nothing.
        match request.extensions_mut().get_mut::<CallContext>() {
            Some(old) => *old = *context,
            None => {
                request.extensions_mut().insert(*context);
            }
        }
    }

    fn deadline(&self, headers: &HeaderMap) -> Option<Moment> {
        let ours = headers.get(DEADLINE_MS).and_then(|value| digits(value.as_bytes()));
        let grpc = headers.get(GRPC_TIMEOUT).and_then(|value| grpc_timeout(value.as_bytes()));
        let left = match (ours.map(Duration::from_millis), grpc) {
            (Some(ours), Some(grpc)) => ours.min(grpc),
            (one, other) => one.or(other)?,
        };
        Some(self.clock.now() + left)
    }

    fn priority(&self, headers: &HeaderMap) -> Priority {
        match headers.get(PRIORITY).filter(|_| self.trusting).and_then(|value| digits(value.as_bytes())) {
            Some(level) => Priority::claimed(u8::try_from(level).unwrap_or(u8::MAX)),
            None => Priority::NORMAL,
        }
    }

    fn tenant(&self, headers: &HeaderMap) -> u64 {
        match self.tenant.as_ref().and_then(|name| headers.get(name)) {
            None => 0,
            Some(value) => {
                let mut hasher = DefaultHasher::new();
                value.as_bytes().hash(&mut hasher);
                // 0 is kept for requests of nobody.
                hasher.finish().max(1)
            }
        }
    }
}

impl<B: Duplicate, F: Clone> Profile<Request<B>> for Http<F> {
    fn repeatable(&self, request: &Request<B>) -> Repeatable {
        self.means_the_same_twice(request)
    }

    /// PUT and DELETE mean the same twice but not at any time: a copy that comes late overwrites what came after it.
    fn hedgeable(&self, request: &Request<B>) -> bool {
        self.declared || request.method().is_safe()
    }

    fn duplicate(&self, request: &Request<B>) -> Option<Request<B>> {
        // A tunnel is not a request that could be sent again.
        if request.method() == Method::CONNECT {
            return None;
        }
        let mut copy = Request::new(request.body().duplicate()?);
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.version_mut() = request.version();
        *copy.headers_mut() = request.headers().clone();
        *copy.extensions_mut() = request.extensions().clone();
        Some(copy)
    }

    fn context(&self, request: &Request<B>) -> CallContext {
        self.read(request)
    }

    fn stamp(&self, request: &mut Request<B>, context: &CallContext) {
        self.write(request, context);
    }
}

/// An [`Http`] for requests that are not sent again from here, with bodies of any type: those that a server gets.
#[derive(Debug, Clone)]
pub struct SentOnce<F = AnyError>(pub(super) Http<F>);

impl<B, F: Clone> Profile<Request<B>> for SentOnce<F> {
    fn repeatable(&self, request: &Request<B>) -> Repeatable {
        self.0.means_the_same_twice(request)
    }

    fn hedgeable(&self, _request: &Request<B>) -> bool {
        false
    }

    fn context(&self, request: &Request<B>) -> CallContext {
        self.0.read(request)
    }

    fn stamp(&self, request: &mut Request<B>, context: &CallContext) {
        self.0.write(request, context);
    }
}

/// A number in decimal digits and nothing else; one that does not fit is as large as can be.
pub(super) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0u64, |n, digit| n.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

/// Digits that gRPC allows.
const GRPC_DIGITS_MAX: usize = 8;

fn grpc_timeout(text: &[u8]) -> Option<Duration> {
    let (unit, number) = text.split_last()?;
    let number = digits(number).filter(|_| number.len() <= GRPC_DIGITS_MAX)?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The finest unit in which eight digits suffice; the time is cut, never prolonged.
fn grpc_timeout_of(ms: u64) -> HeaderValue {
    const BELOW: u64 = 10u64.pow(GRPC_DIGITS_MAX as u32);
    let text = match ms {
        ms if ms < BELOW => format!("{ms}m"),
        ms if ms / 1000 < BELOW => format!("{}S", ms / 1000),
        ms => format!("{}H", (ms / 3_600_000).min(BELOW - 1)),
    };
    HeaderValue::try_from(text).expect("digits and a letter are a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_of_grpc_are_read() {
        for (text, expected) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("4m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("99999999n", Duration::from_nanos(99_999_999)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(grpc_timeout(text.as_bytes()), Some(expected), "{text}");
        }
        for text in ["", "S", "5", "5s", "-1S", "1.5S", "123456789S", "5 S", "5S "] {
            assert_eq!(grpc_timeout(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn timeouts_of_grpc_are_written_in_eight_digits_and_never_longer() {
        for ms in [0, 1, 99_999_999, 100_000_000, 99_999_999_999, 100_000_000_000, u64::MAX] {
            let text = grpc_timeout_of(ms);
            let read = grpc_timeout(text.as_bytes()).unwrap();
            assert!(read <= Duration::from_millis(ms), "{ms}: {text:?}");
        }
        assert_eq!(grpc_timeout_of(1500), "1500m");
    }

    #[test]
    fn numbers_that_do_not_fit_are_as_large_as_can_be() {
        assert_eq!(digits(b"18446744073709551616"), Some(u64::MAX));
        assert_eq!((digits(b"007"), digits(b""), digits(b"+1"), digits(b"1 ")), (Some(7), None, None, None));
    }
}
