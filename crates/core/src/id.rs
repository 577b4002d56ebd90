//! Names of things. A name is checked once, where it enters, and is cheap to clone afterwards.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest service name: it becomes a DNS label and a part of file names.
const NAME_LEN_MAX: usize = 40;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{name}' is not a name: {why}")]
pub struct NameError {
    name: String,
    why: &'static str,
}

/// The name of a service: lower-case letters, digits and dashes, starting with a letter.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(Arc<str>);

impl ServiceName {
    /// Checks and keeps `name`.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let refuse = |why| Err(NameError { name: name.chars().take(NAME_LEN_MAX).collect(), why });
        if name.is_empty() || name.len() > NAME_LEN_MAX {
            return refuse("a name has 1 to 40 characters");
        }
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            return refuse("a name starts with a lower-case letter");
        }
        if name.ends_with('-') || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
            return refuse("use lower-case letters, digits and dashes");
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The variable under which a caller finds this service: `inventory` → `INVENTORY_URL`.
    pub fn url_variable(&self) -> String {
        format!("{}_URL", self.0.to_ascii_uppercase().replace('-', "_"))
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ServiceName {
    type Err = NameError;
    fn from_str(s: &str) -> Result<Self, NameError> {
        Self::new(s)
    }
}

/// One running instance of a service, counted from 1: `payment-2`.
///
/// The id names the place, not the process: a restarted replica keeps its id.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplicaId {
    /// The service that this is an instance of.
    pub service: ServiceName,
    /// Counted from 1.
    pub index: u16,
}

impl ReplicaId {
    /// Replica `index` (from 1) of `service`.
    pub fn new(service: ServiceName, index: u16) -> Self {
        Self { service, index }
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.service, self.index)
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for ReplicaId {
    type Err = NameError;
    fn from_str(s: &str) -> Result<Self, NameError> {
        let bad = || NameError {
            name: s.chars().take(NAME_LEN_MAX).collect(),
            why: "a replica is written service-number, such as payment-1",
        };
        let (service, index) = s.rsplit_once('-').ok_or_else(bad)?;
        let index = index.parse().ok().filter(|i| *i > 0).ok_or_else(bad)?;
        Ok(Self { service: ServiceName::new(service)?, index })
    }
}

/// The id of a transaction: unguessable, sortable by start time, safe in URLs.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransactionId(Arc<str>);

impl TransactionId {
    /// Takes an id as it stands in a journal or a request.
    pub fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// Makes an id from the start time and 64 random bits.
    pub fn generate(wall_ms: i64, random: u64) -> Self {
        Self(format!("tx-{:011x}-{random:016x}", wall_ms.max(0)).into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! serde_as_text {
    ($($name:ty),+) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}
pub(crate) use serde_as_text;
serde_as_text!(ServiceName, ReplicaId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_where_they_enter() {
        for good in ["a", "payment", "pay-2", "x9"] {
            assert_eq!(ServiceName::new(good).map(|n| n.to_string()).as_deref(), Ok(good));
        }
        for bad in ["", "9a", "Pay", "a_b", "a-", "-a", "a b", &"x".repeat(41)] {
            assert!(ServiceName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_replica_id_reads_back_as_it_is_written() {
        let id: ReplicaId = "pay-ment-12".parse().unwrap();
        assert_eq!((id.service.as_str(), id.index), ("pay-ment", 12));
        assert_eq!(id.to_string(), "pay-ment-12");
        for bad in ["payment", "payment-0", "payment-x", "-1", "payment-99999"] {
            assert!(bad.parse::<ReplicaId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_variable_of_an_edge() {
        assert_eq!(ServiceName::new("stock-keeper").unwrap().url_variable(), "STOCK_KEEPER_URL");
    }
}
