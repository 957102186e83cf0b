//! Web: what a browser may do at a server, as it was set.

/// The names of a server, the origins that may use it and the hosts that its page shows beside it.
#[cfg_attr(not(feature = "http"), allow(dead_code))]
#[derive(Debug, Clone, Default)]
pub(crate) struct Web {
    pub(crate) hosts: Vec<String>,
    pub(crate) origins: Vec<String>,
    pub(crate) peers: Vec<String>,
}
