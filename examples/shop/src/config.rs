//! What a service reads from its environment.

use std::path::PathBuf;

/// What a card whose name begins with `limit-` may be charged in all, unless `$SHOP_CARD_LIMIT` says otherwise.
const CARD_LIMIT_CENTS: i64 = 50_000;
/// Plenty of four things and few of a fifth, unless `$SHOP_STOCK` says otherwise.
const STOCK: &str = "tea=1000000,coffee=1000000,cup=1000000,kettle=1000000,last-one=5";

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Takes orders and says what became of them.
    Order,
    /// Holds the stock.
    Inventory,
    /// Charges cards.
    Payment,
}

impl Service {
    /// All three.
    pub const ALL: [Service; 3] = [Service::Order, Service::Inventory, Service::Payment];

    /// `order`, `inventory` or `payment`.
    pub const fn name(self) -> &'static str {
        match self {
            Service::Order => "order",
            Service::Inventory => "inventory",
            Service::Payment => "payment",
        }
    }

    /// The service of that name.
    pub fn from_name(name: &str) -> Option<Service> {
        Service::ALL.into_iter().find(|service| service.name() == name)
    }
}

/// All that a service needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which service this is.
    pub service: Service,
    /// Port on 127.0.0.1 (`$PORT`).
    pub port: u16,
    /// Folder of the database, which all replicas of a service share (`$SHOP_DATA`, `./data`).
    pub data: PathBuf,
    /// Where the order service finds inventory (`$INVENTORY_URL`); without it the catalog is unavailable.
    pub inventory_url: Option<String>,
    /// Stock that a fresh database is filled with (`$SHOP_STOCK`, `sku=count,…`).
    pub stock: Vec<(String, i64)>,
    /// Limit in cents of each card `limit-…` (`$SHOP_CARD_LIMIT`).
    pub card_limit_cents: i64,
}

/// A variable of the environment that is missing or wrong.
#[derive(Debug, thiserror::Error)]
#[error("${variable} {problem}")]
pub struct ConfigError {
    variable: &'static str,
    problem: String,
}

impl Config {
    /// Reads the environment of this process.
    pub fn from_env(service: Service) -> Result<Config, ConfigError> {
        Self::from_lookup(service, |name| std::env::var(name).ok())
    }

    /// Reads the variables through `lookup`.
    pub fn from_lookup(
        service: Service,
        lookup: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        let wrong = |variable, problem: &str| ConfigError { variable, problem: problem.to_owned() };
        let port = lookup("PORT").ok_or_else(|| wrong("PORT", "is missing: the port to listen on"))?;
        let limit = lookup("SHOP_CARD_LIMIT").map(|text| text.parse().ok().filter(|limit| *limit >= 0));
        Ok(Config {
            service,
            port: port.parse().map_err(|_| wrong("PORT", &format!("is {port:?}, not a port")))?,
            data: lookup("SHOP_DATA").unwrap_or_else(|| "data".to_owned()).into(),
            inventory_url: lookup("INVENTORY_URL"),
            stock: parse_stock(&lookup("SHOP_STOCK").unwrap_or_else(|| STOCK.to_owned()))
                .ok_or_else(|| wrong("SHOP_STOCK", "must look like tea=100,coffee=5"))?,
            card_limit_cents: match limit {
                None => CARD_LIMIT_CENTS,
                Some(limit) => limit.ok_or_else(|| wrong("SHOP_CARD_LIMIT", "must be a number of cents"))?,
            },
        })
    }
}

fn parse_stock(text: &str) -> Option<Vec<(String, i64)>> {
    text.split(',')
        .map(|entry| {
            let (sku, count) = entry.trim().split_once('=')?;
            let count = count.trim().parse().ok().filter(|count| *count >= 0)?;
            crate::web::is_plain_name(sku.trim()).then(|| (sku.trim().to_owned(), count))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_read_and_what_is_wrong_is_named() {
        let read = |port: &'static str, stock: Option<&'static str>| {
            Config::from_lookup(Service::Inventory, move |name| match name {
                "PORT" => Some(port.to_owned()),
                "SHOP_STOCK" => stock.map(str::to_owned),
                _ => None,
            })
        };
        let config = read("8001", Some("tea=3, cup=0")).unwrap();
        assert_eq!(config.stock, [("tea".to_owned(), 3), ("cup".to_owned(), 0)]);
        assert_eq!(config.card_limit_cents, CARD_LIMIT_CENTS);
        assert_eq!(read("8001", None).unwrap().stock.len(), 5);
        assert_eq!(read("http", None).unwrap_err().to_string(), "$PORT is \"http\", not a port");
        assert!(read("8001", Some("tea=-1")).unwrap_err().to_string().contains("$SHOP_STOCK"));
    }
}
