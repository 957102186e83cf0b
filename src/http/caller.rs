//! Caller: who sends a request, and what it may do.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::ConnectInfo;
use http::{HeaderMap, StatusCode, header};
use tokio::time::sleep;

use crate::access::{AuthResult, Role};
use crate::columns::Clearance;
use crate::http::fault::Fault;
use crate::peer::Peer;
use crate::render::Client;
use crate::service::Service;

/// How often a token is tried again, in a file that may have changed.
const RECHECK: Duration = Duration::from_secs(1);

/// The other end of a connection that a server of ours has accepted.
#[derive(Debug, Clone)]
pub(super) struct Connected {
    /// Decided by its user; `None` if it must show a token.
    pub(super) role: Option<Role>,
    pub(super) peer: Arc<Peer>,
    pub(super) client: Client,
    /// Whether it has shown a right token, or need not.
    pub(super) is_known: Arc<AtomicBool>,
}

/// Who sends a request that has been let in.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) role: Role,
    pub(super) peer: Arc<Peer>,
    /// To whom rendering is charged.
    pub(super) client: Client,
    /// What it has shown.
    pub(super) token: Option<String>,
}

impl Caller {
    pub(super) fn clearance(&self) -> Clearance {
        Role::clearance(Some(self.role))
    }

    /// # Errors
    ///
    /// It may only see.
    pub(super) fn may_kill(&self) -> Result<(), Fault> {
        match self.role {
            Role::Kill => Ok(()),
            Role::See => Err(Fault::forbidden("forbidden: you may see, not kill")),
        }
    }
}

impl Caller {
    /// Waits until its token is another one: then nothing more is sent to it. For ever, if it cannot change.
    pub(super) async fn revoked(self, service: Arc<Service>) {
        let (Some(token), true) = (self.token, service.access.tokens.may_change()) else { return pending().await };
        loop {
            sleep(RECHECK).await;
            if service.access.auth(token.clone()).await != AuthResult::Right(self.role) {
                return;
            }
        }
    }
}

impl Connected {
    /// The other end of a connection to somebody else's server, in which this one is nested.
    ///
    /// # Errors
    ///
    /// There is no token, and its user is never looked up here; or it is unknown, and kills need a name in the audit.
    pub(super) fn nested(service: &Service, extensions: &http::Extensions) -> Result<Self, Fault> {
        let info = extensions.get::<ConnectInfo<SocketAddr>>();
        if !service.access.tokens.are_set() {
            let why =
                "forbidden: a processlist that is nested in another server wants a token: see_token or kill_token";
            return Err(Fault::forbidden(why));
        }
        let Some(ConnectInfo(address)) = info else {
            let why = "forbidden: the peer is unknown: serve the program with into_make_service_with_connect_info";
            return Err(Fault::forbidden(why));
        };
        let peer = Arc::new(Peer { user: None, address: Some(*address) });
        Ok(Connected { role: None, peer, client: service.renderer.client(), is_known: Arc::default() })
    }

    /// What it may do.
    ///
    /// # Errors
    ///
    /// It has shown no token, or a wrong one; which is told after a second.
    pub(super) async fn authenticate(self, service: &Service, headers: &HeaderMap) -> Result<Caller, Fault> {
        let Connected { role, peer, client, is_known } = self;
        let unauthorized = |text: &str| Fault::new(StatusCode::UNAUTHORIZED, text);
        if !service.access.tokens.are_set() {
            let role = role.ok_or_else(|| Fault::forbidden("forbidden"))?;
            return Ok(Caller { role, peer, client, token: None });
        }
        let wanted = "this processlist wants a token: send Authorization: Bearer <token>";
        let token = bearer(headers).ok_or_else(|| unauthorized(wanted))?;
        match service.access.auth(token.clone()).await {
            AuthResult::Right(role) => {
                is_known.store(true, Ordering::Relaxed);
                Ok(Caller { role, peer, client, token: Some(token) })
            }
            AuthResult::Wrong | AuthResult::None => Err(unauthorized("wrong token")),
        }
    }
}

/// The token that a request brings.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = std::str::from_utf8(headers.get(header::AUTHORIZATION)?.as_bytes()).ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim().to_string()).filter(|token| !token.is_empty())
}
