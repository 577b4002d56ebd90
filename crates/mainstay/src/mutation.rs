//! Switches that break one protection each. For tests only: a drill that cannot fail proves nothing, so each protection
//! is taken away once and the drill must notice. Named by the variable `MAINSTAY_TEST_MUTATION`, separated by commas.

use anyhow::bail;

/// Which protections are taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mutations {
    /// No attempt is repeated.
    pub(crate) retries_off: bool,
    /// Every attempt has a new idempotency key, and starts are not deduplicated.
    pub(crate) idempotency_off: bool,
    /// The journal acknowledges before the disk has it.
    pub(crate) journal_sync_off: bool,
    /// Open transactions of an earlier process are not taken up.
    pub(crate) recovery_off: bool,
    /// Failing endpoints stay in rotation.
    pub(crate) ejection_off: bool,
    /// The balancer does not shun an endpoint after a failure: alone, that nearly hides what ejection does.
    pub(crate) failure_penalty_off: bool,
}

impl Mutations {
    pub(crate) fn from_env() -> anyhow::Result<Self> {
        Self::parse(&std::env::var("MAINSTAY_TEST_MUTATION").unwrap_or_default())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut mutations = Self::default();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            *match name {
                "retries_off" => &mut mutations.retries_off,
                "idempotency_off" => &mut mutations.idempotency_off,
                "journal_sync_off" => &mut mutations.journal_sync_off,
                "recovery_off" => &mut mutations.recovery_off,
                "ejection_off" => &mut mutations.ejection_off,
                "failure_penalty_off" => &mut mutations.failure_penalty_off,
                other => bail!("MAINSTAY_TEST_MUTATION: there is no mutation '{other}'"),
            } = true;
        }
        Ok(mutations)
    }

    pub(crate) fn any(self) -> bool {
        self != Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutation_is_never_switched_on_by_accident() {
        assert!(!Mutations::parse("").unwrap().any());
        assert!(Mutations::parse("retry").is_err());
        let two = Mutations::parse("retries_off, recovery_off").unwrap();
        assert_eq!(two, Mutations { retries_off: true, recovery_off: true, ..Mutations::default() });
    }
}
