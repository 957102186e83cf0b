//! Settings: what a browser may do here. Adds `Server::{allow_host, allow_origin, peers}`.

use crate::server::Server;

impl Server {
    /// Another name under which [`http`](Self::http) is reached: `pm.example`, or `pm.example:8443` for that port
    /// alone. Without it only loopback addresses and `localhost` are, because any name may point here: a page of
    /// another origin reads what it likes from a name of its own (DNS rebinding).
    pub fn allow_host(mut self, name: impl Into<String>) -> Self {
        self.web.hosts.push(name.into());
        self
    }

    /// An origin whose pages may use [`http`](Self::http) from a browser: `http://dashboard.example:3000`. They list
    /// and kill as the person at that browser may.
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.web.origins.push(origin.into());
        self
    }

    /// Other hosts that the page shows beside this one: `b:8082`, or `https://b.example/pm`. Each of them must
    /// [allow the origin](Self::allow_origin) of this page.
    pub fn peers(mut self, peers: impl IntoIterator<Item: Into<String>>) -> Self {
        self.web.peers.extend(peers.into_iter().map(Into::into));
        self
    }
}
