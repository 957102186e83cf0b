//! Head: what the list reads of the head of a request.

use http::request::Parts;
use http::{Extensions, HeaderMap, Method, Request, Uri, header};

use crate::entry::Fresh;

/// The head of a request.
pub(super) struct Head<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

impl<'a> Head<'a> {
    pub(super) fn of<B>(request: &'a Request<B>) -> Self {
        Head {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }

    /// Sets the columns of `task`. `peer` is who has sent it, if somebody knows better.
    #[inline]
    pub(super) fn describe(&self, mut task: Fresh<'_>, peer: Option<&str>, show_query: bool) {
        match (peer, from_axum::peer(self.extensions)) {
            (Some(peer), _) => task.set("host", peer),
            (None, Some(peer)) => task.set_addr("host", peer),
            (None, None) => self.host().into_iter().for_each(|host| task.set("host", host)),
        }
        task.set("method", self.method.as_str());
        let path = match self.uri.path_and_query() {
            Some(whole) if show_query => whole.as_str(),
            _ => self.uri.path(),
        };
        task.set("uri", path);
        if let Some(route) = from_axum::route(self.extensions) {
            task.set("route", route);
        }
    }

    /// HTTP/2 has it in the uri.
    fn host(&self) -> Option<&'a str> {
        let header = || self.headers.get(header::HOST)?.to_str().ok();
        // Without a password that somebody has put before it.
        let authority = self.uri.authority().map(|authority| authority.as_str());
        authority.or_else(header).map(|host| host.rsplit_once('@').map_or(host, |(_, host)| host))
    }
}

impl<'a> From<&'a Parts> for Head<'a> {
    fn from(parts: &'a Parts) -> Self {
        Head { method: &parts.method, uri: &parts.uri, headers: &parts.headers, extensions: &parts.extensions }
    }
}

/// What axum leaves in a request.
#[cfg(feature = "axum")]
mod from_axum {
    use std::net::SocketAddr;

    use axum::extract::{ConnectInfo, MatchedPath};
    use http::Extensions;

    #[inline]
    pub(super) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
        extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer)
    }

    #[inline]
    pub(super) fn route(extensions: &Extensions) -> Option<&str> {
        extensions.get::<MatchedPath>().map(MatchedPath::as_str)
    }
}

#[cfg(not(feature = "axum"))]
mod from_axum {
    use std::net::SocketAddr;

    use http::Extensions;

    pub(super) fn peer(_: &Extensions) -> Option<SocketAddr> {
        None
    }

    pub(super) fn route(_: &Extensions) -> Option<&str> {
        None
    }
}
