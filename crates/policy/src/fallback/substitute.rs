//! What answers in place of a service.

use std::fmt;
use std::future::{Ready, ready};

/// Answers in place of a service that failed.
pub trait Substitute<Req, Res, Err>: Clone {
    /// What it keeps of a request while the service has it.
    type Kept;
    /// Its answer, some time.
    type Answer: Future<Output = Result<Res, Err>>;

    /// Before the request goes to the service. `None`: it will not be able to answer this one.
    fn keep(&self, request: &Req) -> Option<Self::Kept>;

    /// The service has answered, and well.
    fn good(&self, _kept: Self::Kept, _response: &Res) {}

    /// The service has failed. `None`: there is nothing to answer with.
    fn answer(&self, kept: Self::Kept, failure: Result<&Res, &Err>) -> Option<Self::Answer>;
}

/// Answers with what a function makes of the failure: any `Fn(Result<&Res, &Err>) -> Res`.
#[derive(Clone, Copy)]
pub struct Canned<F> {
    make: F,
}

impl<F> Canned<F> {
    /// Answers with what `make` gives.
    pub const fn new(make: F) -> Self {
        Self { make }
    }
}

impl<F, Req, Res, Err> Substitute<Req, Res, Err> for Canned<F>
where
    F: Fn(Result<&Res, &Err>) -> Res + Clone,
{
    type Kept = ();
    type Answer = Ready<Result<Res, Err>>;

    fn keep(&self, _request: &Req) -> Option<()> {
        Some(())
    }

    fn answer(&self, (): (), failure: Result<&Res, &Err>) -> Option<Self::Answer> {
        Some(ready(Ok((self.make)(failure))))
    }
}

impl<F> fmt::Debug for Canned<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canned").finish_non_exhaustive()
    }
}
