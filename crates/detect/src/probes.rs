//! The three probes of one process together: which of them run, and what their verdicts mean for the process.
//!
//! Two rules tie them. Until the startup probe has succeeded the other two do not run: a slow start is no failure, and a
//! live probe must not kill what is still loading. And a kind that is not there counts as succeeded.

use crate::probe::{Kind, Probe, Sample, Settings, Verdict};

/// What follows from a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The startup probe succeeded: ready and live probes begin now.
    Started,
    /// It may take traffic.
    Ready,
    /// It must take no more traffic.
    NotReady,
    /// It must be restarted: its startup or live probe failed.
    Dead(Kind),
    /// Its live probe, which had failed, succeeds again: a restart that has not begun is not needed any more.
    Alive,
}

/// The probes of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSet {
    startup: Option<Probe>,
    ready: Option<Probe>,
    live: Option<Probe>,
}

impl ProbeSet {
    /// Before the first sample; a kind without settings counts as succeeded.
    pub fn new(startup: Option<Settings>, ready: Option<Settings>, live: Option<Settings>) -> Self {
        let probe = |kind, settings: Option<Settings>| settings.map(|s| Probe::new(kind, s));
        Self { startup: probe(Kind::Startup, startup), ready: probe(Kind::Ready, ready), live: probe(Kind::Live, live) }
    }

    /// Whether a probe of this kind is to run now.
    pub fn runs(&self, kind: Kind) -> bool {
        match kind {
            Kind::Startup => self.startup.is_some() && !self.started(),
            Kind::Ready => self.ready.is_some() && self.started(),
            Kind::Live => self.live.is_some() && self.started(),
        }
    }

    /// Takes one sample of a probe of this kind. A sample of a probe that does not run is one that came late: ignored.
    pub fn observe(&mut self, kind: Kind, sample: Sample) -> Option<Change> {
        if !self.runs(kind) {
            return None;
        }
        let verdict = self.slot(kind).as_mut()?.observe(sample)?;
        Some(match (kind, verdict) {
            (Kind::Startup, Verdict::Success) => Change::Started,
            (Kind::Ready, Verdict::Success) => Change::Ready,
            (Kind::Ready, _) => Change::NotReady,
            (Kind::Live, Verdict::Success) => Change::Alive,
            (Kind::Startup | Kind::Live, _) => Change::Dead(kind),
        })
    }

    /// Whether it has come up.
    pub fn started(&self) -> bool {
        passed(self.startup.as_ref())
    }

    /// Whether it may take traffic.
    pub fn ready(&self) -> bool {
        self.started() && passed(self.ready.as_ref())
    }

    /// Whether no live or startup probe has failed.
    pub fn alive(&self) -> bool {
        [&self.startup, &self.live].into_iter().flatten().all(|p| p.verdict() != Verdict::Failure)
    }

    /// The probe of this kind, where there is one.
    pub fn get(&self, kind: Kind) -> Option<&Probe> {
        match kind {
            Kind::Startup => self.startup.as_ref(),
            Kind::Ready => self.ready.as_ref(),
            Kind::Live => self.live.as_ref(),
        }
    }

    /// Forgets everything: for a new process.
    pub fn reset(&mut self) {
        [&mut self.startup, &mut self.ready, &mut self.live].into_iter().flatten().for_each(Probe::reset);
    }

    fn slot(&mut self, kind: Kind) -> &mut Option<Probe> {
        match kind {
            Kind::Startup => &mut self.startup,
            Kind::Ready => &mut self.ready,
            Kind::Live => &mut self.live,
        }
    }
}

fn passed(probe: Option<&Probe>) -> bool {
    probe.is_none_or(|p| p.verdict() == Verdict::Success)
}

#[cfg(test)]
mod tests;
