//! What may stand under a key, in words, as an example and as a pattern: for messages and for the schema.

use crate::table::Shape;

impl Shape {
    /// For "must be …".
    pub(crate) fn words(&self) -> &'static str {
        match self {
            Shape::Text | Shape::Choice(..) => "plain text",
            Shape::Span | Shape::SpanOrZero => "a duration such as 5s",
            Shape::Share => "a percentage such as 20%",
            Shape::Rate => "a rate such as 50/s",
            Shape::Count { .. } => "a whole number",
            Shape::Flag => "true or false",
            Shape::True => "true",
            Shape::SpanRange => "two durations such as 25ms..250ms",
            Shape::Words => "a command line or a list of words",
            Shape::Folder => "a folder",
            Shape::Address => "an address such as 127.0.0.1:8080",
            Shape::Match => "a method and a path such as POST /checkout",
            Shape::Call => "a call such as POST inventory/reservations",
            Shape::Place => "a service and a name such as payment/charges",
            Shape::UrlPath => "a path such as /health",
            Shape::JsonPath => "a path such as $.order_id",
            Shape::ServiceName => "the name of a service",
            Shape::ServiceNames | Shape::Names | Shape::List(_) => "a list",
            Shape::Texts | Shape::SumPairs | Shape::SumFloors | Shape::Section(_) | Shape::Sections(_) => "a mapping",
            Shape::SectionOrOff(_) => "a mapping or `off`",
            Shape::Json => "any value",
        }
    }

    /// For "add `key: …`".
    pub(crate) fn example(&self) -> &'static str {
        match self {
            Shape::Text => "name",
            Shape::Span | Shape::SpanOrZero => "5s",
            Shape::Share => "20%",
            Shape::Rate => "50/s",
            Shape::Count { .. } => "1",
            Shape::Flag | Shape::True => "true",
            Shape::SpanRange => "25ms..250ms",
            Shape::Words => "./program",
            Shape::Folder => ".",
            Shape::Address => "127.0.0.1:8080",
            Shape::Match => "POST /checkout",
            Shape::Call => "POST service/path",
            Shape::Place => "service/name",
            Shape::UrlPath => "/health",
            Shape::JsonPath => "$.order_id",
            Shape::ServiceName => "service",
            Shape::Names => "[completed, compensated]",
            Shape::Choice(known, _) => known[0],
            Shape::ServiceNames | Shape::List(_) => "[…]",
            Shape::Texts | Shape::SumPairs | Shape::SumFloors | Shape::Json => "{ … }",
            Shape::Section(_) | Shape::SectionOrOff(_) | Shape::Sections(_) => "{ … }",
        }
    }

    /// A regular expression (ECMA 262, as JSON Schema has it) of the plain values; none: any text.
    pub(crate) fn pattern(&self) -> Option<&'static str> {
        Some(match self {
            Shape::Span | Shape::SpanOrZero => r"^[0-9]+(\.[0-9]+)?(us|µs|ms|s|m|h|d)$",
            Shape::Share => r"^[0-9]+(\.[0-9]+)?%$",
            Shape::Rate => r"^[0-9]+(\.[0-9]+)?/[sm]$",
            Shape::SpanRange => r"^[0-9]+(\.[0-9]+)?(us|µs|ms|s|m|h|d)\.\.[0-9]+(\.[0-9]+)?(us|µs|ms|s|m|h|d)$",
            Shape::Address => r"^(\[[0-9a-fA-F:.]+\]|[0-9.]+):[0-9]{1,5}$",
            Shape::Match => r"^([A-Z|]+ )?/[^ ]*$",
            Shape::Call => r"^[A-Z]+ [a-z][a-z0-9-]*/[^ ]*$",
            Shape::Place => r"^(GET )?[a-z][a-z0-9-]*/[^ ]+$",
            Shape::UrlPath => "^/[^ ]*$",
            Shape::JsonPath => r"^\$(\.[^.\[\] ]+)*$",
            Shape::ServiceName | Shape::ServiceNames => "^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$",
            _ => return None,
        })
    }
}
