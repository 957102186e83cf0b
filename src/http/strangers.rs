//! Strangers: which requests a browser may have been made to send.
//!
//! A page of any origin can make its visitor's browser send requests to this server. It cannot choose three
//! headers: `Host`, `Origin` and `Sec-Fetch-Site`.

use std::io;
use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use crate::escape;
use crate::server::Web;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Which requests are let in.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    hosts: Vec<Authority>,
    origins: Vec<Origin>,
}

impl Strangers {
    /// # Errors
    ///
    /// A host or an origin is none.
    pub(crate) fn new(web: &Web) -> io::Result<Self> {
        let host = |host: &String| {
            let advice = "give a name, with or without a port: pm.example";
            authority(host).filter(is_name).ok_or_else(|| invalid("allow_host", host, advice))
        };
        let origin = |origin: &String| {
            let advice = "give a scheme and a host: http://pm.example:3000";
            Origin::parse(origin.trim_end_matches('/'))
                .filter(|origin| is_name(&origin.authority))
                .ok_or_else(|| invalid("allow_origin", origin, advice))
        };
        Ok(Strangers {
            hosts: web.hosts.iter().map(host).collect::<io::Result<_>>()?,
            origins: web.origins.iter().map(origin).collect::<io::Result<_>>()?,
        })
    }

    /// Whether the request was meant for this server.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        let hosts = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
        let named: Vec<&str> = hosts.chain(uri.authority().map(Authority::as_str)).collect();
        // An absolute address may stand beside the header; two headers may not.
        let are_too_many = headers.get_all(header::HOST).iter().nth(1).is_some();
        if !named.is_empty() && !are_too_many && named.iter().all(|host| self.is_ours(host)) {
            return Ok(());
        }
        let host = named.iter().find(|host| !self.is_ours(host)).map_or("", |host| host);
        Err(format!(
            "forbidden: this processlist does not answer to the host '{}': use a loopback address, or a name that the \
             program allows (allow_host)",
            escape::echo(host)
        ))
    }

    fn is_ours(&self, host: &str) -> bool {
        let Some(authority) = authority(host) else { return false };
        let name = authority.host();
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        name.eq_ignore_ascii_case("localhost")
            || address.is_ok_and(|address| address.to_canonical().is_loopback())
            || self.hosts.iter().any(|known| {
                let is_port = known.port_u16().is_none_or(|port| authority.port_u16() == Some(port));
                is_port && known.host().eq_ignore_ascii_case(name)
            })
    }

    /// The origin of the request, if it is one that may use this server from its pages.
    pub(crate) fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = single(headers, &header::ORIGIN)?;
        let parsed = Origin::parse(origin.to_str().ok()?)?;
        self.origins.contains(&parsed).then(|| origin.clone())
    }

    /// Whether a request whose origin is not [allowed](Self::allowed_origin) may come in all the same: from a page
    /// of this server, from a person, or from a program that is no browser.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) fn check_origin(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        let refusal = |who: &[u8]| {
            let who = String::from_utf8_lossy(who);
            format!(
                "forbidden: a page of {} may not use this processlist: the program may allow it (allow_origin)",
                escape::echo(&who)
            )
        };
        let mut origins = headers.get_all(header::ORIGIN).iter();
        if let Some(foreign) = origins.find(|origin| !is_same(origin, uri, headers)) {
            return Err(refusal(foreign.as_bytes()));
        }
        let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
        if sites.all(|site| matches!(site.as_bytes(), b"same-origin" | b"none")) {
            return Ok(());
        }
        // A link from a wiki to the page.
        let is = |name: &HeaderName, value: &str| single(headers, name).is_some_and(|given| given == value);
        let is_link = is(&SEC_FETCH_MODE, "navigate") && is(&SEC_FETCH_DEST, "document");
        if method == Method::GET && is_link && matches!(uri.path(), "" | "/") {
            return Ok(());
        }
        Err(refusal(b"another site"))
    }
}

/// Whether an origin is that of the server to which the request was sent.
fn is_same(origin: &HeaderValue, uri: &Uri, headers: &HeaderMap) -> bool {
    let Some(origin) = origin.to_str().ok().and_then(Origin::parse) else { return false };
    let host = single(headers, &header::HOST).and_then(|host| authority(host.to_str().ok()?));
    // Behind a proxy that speaks TLS the scheme is the browser's, not ours.
    host.as_ref().or(uri.authority()).is_some_and(|own| Origin::new(origin.is_tls, own.clone()) == origin)
}

/// A scheme, a host and a port, as a browser names where a page is from.
#[derive(Debug, Clone)]
struct Origin {
    is_tls: bool,
    authority: Authority,
}

impl Origin {
    fn new(is_tls: bool, authority: Authority) -> Self {
        Origin { is_tls, authority }
    }

    /// `http://host:port`, and nothing behind it.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, host) = text.split_once("://")?;
        let is_tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        Some(Origin::new(is_tls, authority(host)?))
    }

    fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.is_tls { 443 } else { 80 })
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        let is_host = self.authority.host().eq_ignore_ascii_case(other.authority.host());
        is_host && self.is_tls == other.is_tls && self.port() == other.port()
    }
}

/// A host, and a port if there is one; nothing else, which `Authority` would pass over.
pub(super) fn authority(text: &str) -> Option<Authority> {
    let authority = text.parse::<Authority>().ok()?;
    let exact = match authority.port_u16() {
        Some(port) => format!("{}:{port}", authority.host()),
        None => authority.host().to_string(),
    };
    (exact == text && !authority.host().is_empty()).then_some(authority)
}

/// Whether it can be the host of a request: no pattern, which would match nothing.
fn is_name(authority: &Authority) -> bool {
    let host = authority.host();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    host.parse::<std::net::Ipv6Addr>().is_ok()
        || host.starts_with('[')
        || (host.bytes().all(is_plain) && host.bytes().any(|byte| byte.is_ascii_alphanumeric()))
}

/// The value of a header that is there once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

pub(super) fn invalid(setting: &str, value: &str, advice: &str) -> io::Error {
    let what = format!("{setting}({}): {advice}", escape::quoted(value));
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        let mut headers = HeaderMap::new();
        pairs.iter().map(pair).for_each(|(name, value)| _ = headers.append(name, value));
        headers
    }

    fn strangers(hosts: &[&str], origins: &[&str]) -> Strangers {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Strangers::new(&Web { hosts: texts(hosts), origins: texts(origins), peers: Vec::new() }).expect("are good")
    }

    fn is_known(rules: &Strangers, host: &str) -> bool {
        rules.check_host(&Uri::from_static("/"), &headers(&[("host", host)])).is_ok()
    }

    #[test]
    fn only_loopback_and_configured_names_are_answered() {
        let rules = strangers(&["pm.example", "tls.example:8443"], &[]);
        for host in ["127.0.0.1:8082", "127.9.9.9", "[::1]:8082", "localhost", "LocalHost:1", "[::ffff:127.0.0.1]:1"] {
            assert!(is_known(&rules, host), "{host}");
        }
        assert!(is_known(&rules, "PM.example:8082") && is_known(&rules, "tls.example:8443"));
        for host in [
            "",
            "evil.example",
            "127.0.0.1.evil.example",
            "tls.example",
            "10.0.0.1",
            "x@localhost",
            "localhost.evil",
            "0.0.0.0",
            "[::]",
            "localhost:1:2",
        ] {
            assert!(!is_known(&rules, host), "{host}");
        }
        let two = headers(&[("host", "localhost"), ("host", "evil.example")]);
        assert!(rules.check_host(&Uri::from_static("/"), &two).is_err());
        let twice = headers(&[("host", "localhost"), ("host", "localhost")]);
        assert!(rules.check_host(&Uri::from_static("/"), &twice).is_err());
        let absolute = Uri::from_static("http://evil.example/");
        assert!(rules.check_host(&absolute, &headers(&[("host", "localhost")])).is_err());
        assert!(rules.check_host(&Uri::from_static("/"), &HeaderMap::new()).is_err());
    }

    #[test]
    fn other_origins_and_sites_are_refused() {
        let rules = strangers(&[], &["http://Dash.example:3000", "https://tls.example:443"]);
        let check = |method: &Method, path: &'static str, pairs: &[(&'static str, &str)]| {
            let mut all = vec![("host", "localhost:8082")];
            all.extend_from_slice(pairs);
            rules.check_origin(method, &Uri::from_static(path), &headers(&all)).is_ok()
        };
        let (get, delete) = (Method::GET, Method::DELETE);
        assert!(check(&get, "/procs/", &[]) && check(&delete, "/procs/a", &[]));
        assert!(check(&delete, "/procs/a", &[("origin", "http://localhost:8082"), ("sec-fetch-site", "same-origin")]));
        assert!(check(&get, "/procs/", &[("sec-fetch-site", "none")]));
        for origin in [
            "null",
            "http://evil.example",
            "http://localhost:3000",
            "http://localhost",
            "file://",
            "http://a@localhost:8082",
            "http://localhost:8082#@evil",
            "http://localhost:8082/../x",
            "ftp://localhost:8082",
        ] {
            assert!(!check(&get, "/procs/", &[("origin", origin)]), "{origin}");
        }
        let link = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        for site in ["cross-site", "same-site"] {
            let linked = [link[0], link[1], ("sec-fetch-site", site)];
            assert!(!check(&get, "/procs/", &[("sec-fetch-site", site)]), "{site}");
            assert!(!check(&get, "/procs/", &linked), "{site}");
            assert!(check(&get, "/", &linked) && !check(&delete, "/", &linked), "{site}");
            assert!(!check(&get, "/", &[link[0], ("sec-fetch-dest", "iframe"), ("sec-fetch-site", site)]), "{site}");
        }
        let allowed = |origin| rules.allowed_origin(&headers(&[("origin", origin)])).is_some();
        assert!(allowed("http://dash.example:3000") && !allowed("http://dash.example") && !allowed("null"));
        assert!(allowed("https://tls.example") && !allowed("http://tls.example"));
        let two = headers(&[("origin", "http://dash.example:3000"), ("origin", "http://evil.example")]);
        assert!(rules.allowed_origin(&two).is_none());
    }

    #[test]
    fn what_is_no_host_or_origin_is_refused_when_it_is_set() {
        let hosts = ["a b", "http://a", "*", "*.example", "a:", "a:x", "a:99999", "a,b", ".", ""];
        let origins = [
            "pm.example",
            "*",
            "http://a/b",
            "null",
            "http://a?b",
            "http://a#x",
            "http://*",
            "http://a:99999",
            "http://",
        ];
        let only = |list: &[&'static str], n: usize| list[n..=n].to_vec();
        let wrong_hosts = (0..hosts.len()).map(|n| (only(&hosts, n), vec![]));
        let wrong_origins = (0..origins.len()).map(|n| (vec![], only(&origins, n)));
        for (hosts, origins) in wrong_hosts.chain(wrong_origins) {
            let texts = |texts: Vec<&str>| texts.into_iter().map(str::to_string).collect();
            let web = Web { hosts: texts(hosts), origins: texts(origins), peers: Vec::new() };
            assert!(Strangers::new(&web).is_err(), "{web:?}");
        }
    }
}
