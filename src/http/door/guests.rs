//! Who may ask: requests that a web page made its visitor's browser send are refused.
//!
//! A page can send requests to this machine, and with a name of its own that resolves to this
//! address (DNS rebinding) it could read the answers. The name in `host` is the page's then, so
//! that only known names are served; an address in `host` is the one that the browser connected
//! to. Programs that are no browsers send neither `origin` nor `sec-fetch-site`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::config::HttpConfig;
use crate::http::error::ApiError;

const FETCH_SITE: &str = "sec-fetch-site";
/// Headers that only browsers send, and pages cannot change.
const FETCH: [&str; 3] = [FETCH_SITE, "sec-fetch-mode", "sec-fetch-dest"];
/// What a page can send anywhere without asking first.
const SIMPLE: [&str; 3] =
    ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded"];
/// Characters of a foreign name that are told.
const SHOWN_MAX: usize = 80;

/// Why somebody is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// HTTP/1.1 without `host`, or with several.
    #[error("a request has one header `host` with a name or an address: send it")]
    NoHost,
    /// A name that is not ours.
    #[error(
        "this node is not known as `{host}`: ask it by its address, or add the name to `hosts` in \
         the section [http] of the configuration"
    )]
    Host {
        /// The name.
        host: String,
    },
    /// A page of somebody else.
    #[error(
        "pages of {origin} may not ask this node: add \"{origin}\" to `origins` in the section \
         [http] of the configuration if they should"
    )]
    Origin {
        /// Where the page is from.
        origin: String,
    },
    /// A page of somebody else, which one the browser does not say.
    #[error(
        "a page of another site may not ask this node: add its origin to `origins` in the section \
         [http] of the configuration if it should"
    )]
    CrossSite,
    /// What a form can send.
    #[error(
        "a browser sent `{kind}`, which any page can make it do: send the body with \
         `content-type: application/json`"
    )]
    Form {
        /// The type of the body.
        kind: String,
    },
}

impl Stranger {
    /// The status and the stable word.
    pub(in crate::http) fn words(&self) -> (StatusCode, &'static str) {
        match self {
            Stranger::NoHost => (StatusCode::BAD_REQUEST, "no_host"),
            Stranger::Host { .. } => (StatusCode::FORBIDDEN, "unknown_host"),
            Stranger::Origin { .. } => (StatusCode::FORBIDDEN, "foreign_origin"),
            Stranger::CrossSite => (StatusCode::FORBIDDEN, "cross_site"),
            Stranger::Form { .. } => (StatusCode::FORBIDDEN, "browser_form"),
        }
    }
}

/// Who may ask.
#[derive(Clone)]
pub(in crate::http) struct Guests(Arc<Known>);

struct Known {
    listen: IpAddr,
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Guests {
    pub(in crate::http) fn new(http: &HttpConfig) -> Guests {
        Guests(Arc::new(Known {
            listen: http.listen.ip(),
            hosts: http.hosts.clone(),
            origins: http.origins.clone(),
        }))
    }

    /// The origin that may read the answer, where a page of another one asks and is known.
    fn admit(&self, parts: &Parts) -> Result<Option<HeaderValue>, Stranger> {
        let host = self.host(parts)?;
        let origin = parts.headers.get(header::ORIGIN);
        let known = origin.filter(|origin| {
            self.0.origins.iter().any(|known| known.as_bytes() == origin.as_bytes())
        });
        if known.is_some() {
            return Ok(known.cloned());
        }
        let site = parts.headers.get(FETCH_SITE);
        let is_cross_site = site.is_some_and(|site| site.as_bytes() == b"cross-site");
        let is_plain = matches!(parts.method, Method::GET | Method::HEAD)
            && !parts.headers.contains_key(header::UPGRADE);
        match origin {
            Some(origin) if !is_of(origin, host.as_deref()) && (is_cross_site || !is_plain) => {
                return Err(Stranger::Origin { origin: shown(origin) });
            }
            _ if is_cross_site => return Err(Stranger::CrossSite),
            Some(_) | None => {}
        }
        let is_browser =
            origin.is_some() || FETCH.iter().any(|name| parts.headers.contains_key(*name));
        if is_browser
            && !is_plain
            && let Some(kind) = simple_kind(&parts.headers)
        {
            return Err(Stranger::Form { kind });
        }
        Ok(None)
    }

    /// The host with its port, as it is asked for; `None` of a client of HTTP/1.0.
    fn host(&self, parts: &Parts) -> Result<Option<String>, Stranger> {
        let mut given = parts.headers.get_all(header::HOST).iter();
        let host = match (given.next(), given.next()) {
            (Some(host), None) => host.to_str().map_err(|_| Stranger::NoHost)?.to_lowercase(),
            (None, _) if parts.version < Version::HTTP_11 => return Ok(None),
            (Some(_), Some(_)) | (None, _) => return Err(Stranger::NoHost),
        };
        let of_target = parts.uri.authority().map(|authority| authority.as_str().to_lowercase());
        for name in [Some(&host), of_target.as_ref()].into_iter().flatten() {
            let authority: Authority = name.parse().map_err(|_| Stranger::NoHost)?;
            if !self.is_ours(authority.host()) {
                return Err(Stranger::Host { host: cut(authority.host()) });
            }
        }
        Ok(Some(host))
    }

    fn is_ours(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if let Ok(address) = inner.unwrap_or(host).parse::<IpAddr>() {
            // An address is no name that somebody else could have let resolve to this node.
            let listen = self.0.listen;
            return !listen.is_loopback()
                || address.to_canonical().is_loopback()
                || address == listen;
        }
        host == "localhost" || self.0.hosts.iter().any(|known| known == host)
    }
}

/// Lets a request through, or says why not.
pub(super) async fn check(State(guests): State<Guests>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let known = match guests.admit(&parts) {
        Ok(known) => known,
        Err(stranger) => return ApiError::Stranger(stranger).into_response(),
    };
    let Some(origin) = known else {
        return next.run(Request::from_parts(parts, body)).await;
    };
    // Cross-origin resource sharing, for the pages that may ask.
    let asks_first = parts.method == Method::OPTIONS
        && parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if asks_first {
        let allowed = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
        ];
        (StatusCode::NO_CONTENT, allowed).into_response()
    } else {
        next.run(Request::from_parts(parts, body)).await
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    response
}

/// Whether a page is of the host that it asks.
fn is_of(origin: &HeaderValue, host: Option<&str>) -> bool {
    let origin = origin.to_str().unwrap_or_default();
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| host.is_some_and(|host| authority.eq_ignore_ascii_case(host)))
}

/// The type of a body, if it is one that forms have.
fn simple_kind(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?.to_lowercase();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    SIMPLE.contains(&kind).then(|| kind.to_owned())
}

fn shown(value: &HeaderValue) -> String {
    cut(&String::from_utf8_lossy(value.as_bytes()))
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(listen: &str, method: &str, headers: &[(&str, &str)]) -> &'static str {
        let http = HttpConfig {
            listen: listen.parse().unwrap(),
            hosts: vec!["node.example".to_owned()],
            origins: vec!["https://app.example".to_owned()],
            ..HttpConfig::default()
        };
        let mut request = axum::http::Request::builder().method(method).uri("/v1/sql");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        match Guests::new(&http).admit(&parts) {
            Ok(_) => "ok",
            Err(stranger) => stranger.words().1,
        }
    }

    #[test]
    fn names_that_are_not_ours_are_not_served_and_addresses_are_where_others_may_ask() {
        let (local, open) = ("127.0.0.1:8646", "0.0.0.0:8646");
        for (listen, host, expected) in [
            (local, "localhost:8646", "ok"),
            (local, "LOCALHOST", "ok"),
            (local, "127.0.0.1:8646", "ok"),
            (local, "127.9.9.9", "ok"),
            (local, "[::1]:8646", "ok"),
            (local, "node.example:8646", "ok"),
            (local, "Node.Example.", "ok"),
            (local, "10.0.0.7:8646", "unknown_host"),
            (local, "evil.example", "unknown_host"),
            (local, "127.0.0.1.evil.example", "unknown_host"),
            (local, "localhost.evil.example", "unknown_host"),
            (local, "node.example@evil.example", "unknown_host"),
            (local, "", "no_host"),
            (local, "a b", "no_host"),
            (open, "10.0.0.7:8646", "ok"),
            (open, "[2001:db8::1]", "ok"),
            (open, "evil.example", "unknown_host"),
            ("10.0.0.7:8646", "10.0.0.7", "ok"),
        ] {
            assert_eq!(words(listen, "GET", &[("host", host)]), expected, "{listen} {host}");
        }
        assert_eq!(words(local, "GET", &[]), "no_host");
        assert_eq!(words(local, "GET", &[("host", "localhost"), ("host", "x")]), "no_host");
    }

    #[test]
    fn pages_of_others_are_refused_and_programs_go_on() {
        let form = ("content-type", "application/x-www-form-urlencoded");
        let json = ("content-type", "application/json");
        let ours = ("origin", "http://localhost:1");
        let theirs = ("origin", "https://evil.example");
        let known = ("origin", "https://app.example");
        let cross = ("sec-fetch-site", "cross-site");
        let upgrade = ("upgrade", "websocket");
        for (method, headers, expected) in [
            ("POST", vec![form], "ok"),
            ("POST", vec![json], "ok"),
            ("POST", vec![ours, json], "ok"),
            ("POST", vec![ours, form], "browser_form"),
            ("POST", vec![("sec-fetch-mode", "navigate"), form], "browser_form"),
            (
                "POST",
                vec![("sec-fetch-site", "none"), ("content-type", "Text/Plain; x=y")],
                "browser_form",
            ),
            ("POST", vec![theirs, json], "foreign_origin"),
            ("POST", vec![("origin", "null"), json], "foreign_origin"),
            ("POST", vec![("origin", "http://localhost:2"), json], "foreign_origin"),
            ("POST", vec![theirs], "foreign_origin"),
            ("POST", vec![known, cross, json], "ok"),
            ("POST", vec![cross, json], "cross_site"),
            ("OPTIONS", vec![theirs], "foreign_origin"),
            ("GET", vec![theirs], "ok"),
            ("GET", vec![theirs, cross], "foreign_origin"),
            ("GET", vec![cross], "cross_site"),
            ("GET", vec![("sec-fetch-site", "none")], "ok"),
            ("GET", vec![theirs, upgrade], "foreign_origin"),
            ("GET", vec![ours, upgrade], "ok"),
            ("GET", vec![known, upgrade], "ok"),
            ("GET", vec![upgrade], "ok"),
        ] {
            let all = [&[("host", "localhost:1")][..], &headers].concat();
            assert_eq!(words("127.0.0.1:1", method, &all), expected, "{method} {headers:?}");
        }
    }
}
