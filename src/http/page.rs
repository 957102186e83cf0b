//! Page: the list for people, in a browser. It holds nothing of the list: its script asks for that.

use std::io;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use crate::http::strangers::{authority, invalid};
use crate::server::Web;

const INDEX: &str = include_str!("page/index.html");

/// Where the other hosts stand in it.
const PEERS: &str = "{peers}";

const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// What the page loads, all of it from here.
#[rustfmt::skip]
const FILES: &[(&str, &str, &str)] = &[
    ("style.css", CSS, include_str!("page/style.css")),
    ("app.js", JAVASCRIPT, include_str!("page/app.js")),
    ("detail.js", JAVASCRIPT, include_str!("page/detail.js")),
    ("dom.js", JAVASCRIPT, include_str!("page/dom.js")),
    ("format.js", JAVASCRIPT, include_str!("page/format.js")),
    ("host.js", JAVASCRIPT, include_str!("page/host.js")),
    ("server.js", JAVASCRIPT, include_str!("page/server.js")),
    ("table.js", JAVASCRIPT, include_str!("page/table.js")),
];

/// The page, with the hosts that it shows.
#[derive(Default)]
pub(super) struct Page {
    html: String,
    headers: HeaderMap,
}

impl Page {
    /// # Errors
    ///
    /// A peer is none.
    pub(super) fn new(web: &Web) -> io::Result<Self> {
        let peers = web.peers.iter().map(|peer| base(peer)).collect::<io::Result<Vec<_>>>()?;
        let origins: String = peers.iter().map(|(_, origin)| format!(" {origin}")).collect();
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'{origins}; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
        );
        let policy = HeaderValue::try_from(policy).map_err(io::Error::other)?;
        let bases: Vec<_> = peers.into_iter().map(|(base, _)| base).collect();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        let opener = HeaderName::from_static("cross-origin-opener-policy");
        headers.insert(opener, HeaderValue::from_static("same-origin"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        Ok(Page { html: INDEX.replace(PEERS, &bases.join(" ")), headers })
    }
}

impl Page {
    /// The page itself.
    pub(super) fn index(&self) -> Response {
        (self.headers.clone(), self.html.clone()).into_response()
    }
}

/// What the page loads under this name.
pub(super) fn file(name: &str) -> Option<Response> {
    let (_, kind, text) = FILES.iter().find(|(file, ..)| *file == name)?;
    let header = |value| HeaderValue::from_static(value);
    Some(([(header::CONTENT_TYPE, header(kind)), (header::CACHE_CONTROL, header("no-cache"))], *text).into_response())
}

/// The address below which a peer answers, and its origin.
fn base(peer: &str) -> io::Result<(String, String)> {
    let address = if peer.contains("://") { peer.to_string() } else { format!("http://{peer}") };
    let fault = || invalid("peers", peer, "give a host and a port, or an address: b:8082, https://b.example/pm");
    // What else an address may hold would end the attribute or the policy that it stands in.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~:/[]%".contains(&byte);
    let uri = address.parse::<Uri>().ok().filter(|_| address.bytes().all(is_plain)).ok_or_else(fault)?;
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme @ ("http" | "https")), Some(at)) if !address.contains("..") => {
            let authority = authority(at.as_str()).ok_or_else(fault)?;
            let path = uri.path().trim_end_matches('/');
            Ok((format!("{scheme}://{authority}{path}/"), format!("{scheme}://{authority}")))
        }
        _ => Err(fault()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_an_address_and_nothing_else() {
        let peer = |peer| base(peer).map(|(base, origin)| format!("{base} {origin}")).ok();
        assert_eq!(peer("b:8082").as_deref(), Some("http://b:8082/ http://b:8082"));
        assert_eq!(peer("https://b.example/pm/").as_deref(), Some("https://b.example/pm/ https://b.example"));
        for bad in [
            "",
            "ftp://b",
            "b:8082; script-src *",
            "b\"onload=",
            "http://",
            "a b",
            "http://b/?x",
            "javascript:alert(1)",
            "b:99999",
            "http://b:x",
            "b/../c",
        ] {
            assert_eq!(peer(bad), None, "{bad}");
        }
    }
}
