//! Telling the caller that the answer is not the service's own.

/// Marks an answer that something else gave. Any `Fn(&mut Res)` is one.
pub trait Mark<Res>: Clone {
    /// Marks `response`.
    fn mark(&self, response: &mut Res);
}

impl<Res, F: Fn(&mut Res) + Clone> Mark<Res> for F {
    fn mark(&self, response: &mut Res) {
        self(response);
    }
}

/// Leaves answers as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unmarked;

impl<Res> Mark<Res> for Unmarked {
    fn mark(&self, _response: &mut Res) {}
}

/// Sets the header `mainstay-fallback: 1`.
#[cfg(feature = "http")]
#[derive(Debug, Clone, Copy, Default)]
pub struct FallbackHeader;

#[cfg(feature = "http")]
impl<B> Mark<http::Response<B>> for FallbackHeader {
    fn mark(&self, response: &mut http::Response<B>) {
        const NAME: http::HeaderName = http::HeaderName::from_static("mainstay-fallback");
        response.headers_mut().insert(NAME, http::HeaderValue::from_static("1"));
    }
}
