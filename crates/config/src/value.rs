//! Plain values: durations, shares, calls, patterns, paths. Each is read from its text, and each refusal says how it is
//! written right, with the very number that the writer meant where that can be guessed.

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_core::{Rate, Share, Span};

use crate::plan::{JsonPath, Sum};
use crate::tree::shown;

/// Why a value was refused: `message` follows the key, `fix` says how it is written right.
#[derive(Debug, PartialEq)]
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) fix: String,
}

pub(crate) type Read<T> = Result<T, Wrong>;

fn wrong<T>(message: impl Into<String>, fix: impl Into<String>) -> Read<T> {
    Err(Wrong { message: message.into(), fix: fix.into() })
}

/// A number without a unit, the mistake that everybody makes first.
fn bare(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0 && *n < 1e12)
}

pub(crate) fn span_or_zero(text: &str) -> Read<Duration> {
    match text.parse::<Span>() {
        Ok(span) => Ok(span.0),
        Err(_) if bare(text).is_some() => wrong(
            format!("`{}` has no unit: {} what?", shown(text), shown(text)),
            format!("write `{text}s` for seconds or `{text}ms` for milliseconds"),
        ),
        Err(_) => wrong(
            format!("`{}` is no duration", shown(text)),
            "write a number and its unit, such as 250ms, 5s, 10m, 2h or 7d; at most 1000d",
        ),
    }
}

pub(crate) fn span(text: &str) -> Read<Duration> {
    match span_or_zero(text)? {
        Duration::ZERO => wrong("it must be longer than nothing", "write a duration such as 5s"),
        span => Ok(span),
    }
}

pub(crate) fn span_range(text: &str) -> Read<(Duration, Duration)> {
    let Some((first, last)) = text.split_once("..") else {
        return wrong(format!("`{}` is no range", shown(text)), "write the first and the longest pause: 25ms..250ms");
    };
    let (first, last) = (span(first.trim())?, span(last.trim())?);
    if first > last {
        return wrong("the first is longer than the longest", format!("write `{}..{}`", Span(last), Span(first)));
    }
    Ok((first, last))
}

pub(crate) fn share(text: &str) -> Read<Share> {
    match (text.parse(), bare(text)) {
        (Ok(share), _) => Ok(share),
        (Err(_), Some(n)) if n > 0.0 && n < 1.0 => {
            wrong(format!("`{text}` has no unit"), format!("write `{}%`", (n * 10_000.0).round() / 100.0))
        }
        (Err(_), Some(n)) if n <= 100.0 => wrong(format!("`{text}` has no unit"), format!("write `{text}%`")),
        _ => wrong(format!("`{}` is no share", shown(text)), "write a percentage from 0% to 100%, such as 20% or 0.5%"),
    }
}

pub(crate) fn rate(text: &str) -> Read<Rate> {
    match (text.parse(), bare(text)) {
        (Ok(rate), _) => Ok(rate),
        (Err(_), Some(n)) if n > 0.0 => {
            wrong(format!("`{text}` has no unit: {text} per what?"), format!("write `{text}/s` or `{text}/m`"))
        }
        _ => {
            wrong(format!("`{}` is no rate", shown(text)), "write a number per second or minute, such as 50/s or 600/m")
        }
    }
}

pub(crate) fn count(text: &str, min: u64, max: u64) -> Read<u64> {
    let range = if max == u64::MAX { format!("a whole number from {min}") } else { format!("{min} to {max}") };
    match text.parse::<u64>() {
        Ok(n) if (min..=max).contains(&n) => Ok(n),
        Ok(n) => wrong(format!("{n} is out of range"), format!("write {range}")),
        Err(_) if text.contains("..") => {
            wrong("a range needs `scale`, which is not built yet", format!("write one number, {range}"))
        }
        Err(_) => wrong(format!("`{}` is no whole number", shown(text)), format!("write {range}")),
    }
}

pub(crate) fn flag(text: &str) -> Read<bool> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => wrong(format!("`{}` is neither true nor false", shown(text)), "write true or false"),
    }
}

pub(crate) fn only_true(text: &str) -> Read<()> {
    match text {
        "true" => Ok(()),
        _ => wrong(format!("`{}` means nothing here", shown(text)), "write true, or leave the key out"),
    }
}

pub(crate) fn address(text: &str) -> Read<SocketAddr> {
    let fix = match (text.strip_prefix(':').unwrap_or(text).parse::<u16>(), text.strip_prefix("localhost:")) {
        (Ok(port), _) => format!("write `127.0.0.1:{port}`, or `0.0.0.0:{port}` for all networks"),
        (_, Some(port)) => format!("write `127.0.0.1:{port}`"),
        _ => "write an IP address and a port, such as 127.0.0.1:8080".to_owned(),
    };
    text.parse().or_else(|_| wrong(format!("`{}` is no address", shown(text)), fix))
}

/// A name of a policy, transaction, step, invariant or drill.
pub(crate) fn name(text: &str) -> Read<String> {
    const CHARS_MAX: usize = 64;
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || text.len() > CHARS_MAX || !text.chars().all(good) {
        return wrong(
            format!("`{}` is no name", shown(text)),
            format!("use 1 to {CHARS_MAX} letters, digits, dashes and underscores"),
        );
    }
    Ok(text.to_owned())
}

pub(crate) fn words(text: &str) -> Read<Vec<String>> {
    match shlex::split(text) {
        None => {
            wrong("a quote is not closed, or a backslash ends the line", "close it, or write a list: [./order, --fast]")
        }
        Some(words) if words.first().is_none_or(String::is_empty) => wrong("no program is named", "write ./program"),
        Some(words) if words.iter().any(|word| word.contains('\0')) => wrong("a program has no NUL in its name", ""),
        Some(words) => Ok(words),
    }
}

/// A path as it stands in a request line: no space, no control character, no query, no fragment.
pub(crate) fn url_path(text: &str) -> Read<String> {
    if !text.starts_with('/') {
        return wrong(format!("`{}` is no path", shown(text)), "begin it with `/`");
    }
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '#' | '"' | '<' | '>' | '\\')) {
        return wrong(format!("`{}` cannot stand in a path", bad.escape_debug()), "encode it by percent signs");
    }
    Ok(text.to_owned())
}

/// A path in which `{key}` may stand, and no other placeholder.
fn template(text: &str) -> Read<String> {
    let path = url_path(text)?;
    let rest = path.replace("{key}", "");
    if rest.contains(['{', '}']) {
        return wrong("the only placeholder is `{key}`", "write `{key}`: the transaction's or the request's key");
    }
    Ok(path)
}

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

fn method(text: &str) -> Read<String> {
    let upper = text.to_ascii_uppercase();
    match METHODS.contains(&upper.as_str()) {
        true if upper == text => Ok(upper),
        true => wrong(format!("`{text}` is no method"), format!("write `{upper}`")),
        false => wrong(format!("`{}` is no method", shown(text)), format!("use one of {}", METHODS.join(", "))),
    }
}

/// `GET|HEAD /stock/*` of a route: methods and pattern.
pub(crate) fn route_match(text: &str) -> Read<(Option<Vec<String>>, String)> {
    let (methods, pattern) = match text.trim().rsplit_once(' ') {
        Some((methods, pattern)) => {
            let methods: Read<Vec<_>> = methods.split('|').map(|m| method(m.trim())).collect();
            (Some(methods?), pattern)
        }
        None => (None, text.trim()),
    };
    let pattern = url_path(pattern)?;
    if pattern.contains(['{', '}', ':']) {
        return wrong("a match has no named parts", "write `/*` at the end for everything below: /orders/*");
    }
    let fixed = pattern.strip_suffix("/*").unwrap_or(&pattern);
    if fixed.contains('*') {
        return wrong("`*` stands for everything below, so only at the end, after a slash", "write /orders/*");
    }
    if pattern.contains('?') {
        return wrong("a match looks at the path, not at the query", "leave out `?` and what follows");
    }
    Ok((methods, pattern))
}

/// `POST /checkout` of a load: method and path with `{key}`.
pub(crate) fn request(text: &str) -> Read<(String, String)> {
    let Some((verb, path)) = text.trim().split_once(' ') else {
        return wrong(format!("`{}` is no request", shown(text)), "write the method and the path: POST /checkout");
    };
    Ok((method(verb)?, template(path.trim())?))
}

/// `POST inventory/reservations`: method, service, path with `{key}`.
pub(crate) fn call(text: &str) -> Read<(String, String, String)> {
    const FIX: &str = "write method, service and path: POST inventory/reservations";
    let Some((verb, rest)) = text.trim().split_once(' ') else {
        return wrong(format!("`{}` is no call", shown(text)), FIX);
    };
    let verb = method(verb)?;
    let rest = rest.trim();
    match rest.find('/') {
        Some(0) | None => wrong(format!("`{}` names no service and path", shown(rest)), FIX),
        Some(at) => Ok((verb, rest[..at].to_owned(), template(&rest[at..])?)),
    }
}

/// `payment/charges`: service and what stands behind the slash.
pub(crate) fn place(text: &str) -> Read<(String, String)> {
    let text = text.trim();
    let text = text.strip_prefix("GET ").unwrap_or(text).trim();
    match text.split_once('/') {
        Some((service, rest)) if !service.is_empty() && !rest.is_empty() => {
            url_path(&format!("/{rest}"))?;
            Ok((service.to_owned(), rest.to_owned()))
        }
        _ => wrong(format!("`{}` is no place", shown(text)), "write the service and what is meant: payment/charges"),
    }
}

pub(crate) fn json_path(text: &str) -> Read<JsonPath> {
    let Some(rest) = text.trim().strip_prefix('$') else {
        let fix = match name(text.trim()) {
            Ok(name) => format!("write `$.{name}`"),
            Err(_) => "write `$` and the keys from the outside in: $.totals.sum".to_owned(),
        };
        return wrong(format!("`{}` is no path into JSON", shown(text)), fix);
    };
    if rest.is_empty() {
        return Ok(JsonPath(Vec::new()));
    }
    let segments: Vec<String> = rest.split('.').skip(1).map(str::to_owned).collect();
    let good = |s: &String| !s.is_empty() && !s.contains(['[', ']', '*', '$', '+', ' ', '"', '\'']);
    if !rest.starts_with('.') || !segments.iter().all(good) {
        return wrong(
            format!("`{}` is more than a plain path", shown(text)),
            "only keys and dots are read: $.totals.sum",
        );
    }
    Ok(JsonPath(segments))
}

pub(crate) fn sum(text: &str) -> Read<Sum> {
    if let Some(number) = text.trim().parse::<f64>().ok().filter(|n| n.is_finite()) {
        return Ok(Sum::Number(number));
    }
    let paths: Read<Vec<_>> = text.split('+').map(json_path).collect();
    paths.map(Sum::Paths)
}

pub(crate) fn number(text: &str) -> Read<f64> {
    match text.parse::<f64>().ok().filter(|n| n.is_finite()) {
        Some(number) => Ok(number),
        None => wrong(format!("`{}` is no number", shown(text)), "write a number, such as 0"),
    }
}
