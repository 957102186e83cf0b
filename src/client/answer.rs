//! Answer: what a server has sent.

use reqwest::{RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;

use crate::client::error::Error;
use crate::escape::shorten;
use crate::wire::SERVER;

/// How much of an error's text is read, and kept, in bytes.
const ERROR: usize = 4096;
const TEXT: usize = 512;

/// The most of an answer that is read: a million tasks.
const LONGEST: usize = 512 << 20;

pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// It is from a server of this crate.
    pub(super) is_ours: bool,
    body: Vec<u8>,
}

impl Answer {
    pub(super) async fn of(request: RequestBuilder) -> Result<Self, Error> {
        let unreachable = |error: reqwest::Error| Error::Unreachable { source: Box::new(error.without_url()) };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let is_ours = response.headers().get(reqwest::header::SERVER).is_some_and(|server| server == SERVER);
        let most = if status.is_success() { LONGEST } else { ERROR };
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&piece);
            if body.len() > most {
                match status.is_success() {
                    true => return Err(Error::not_pm(format!("its answer is longer than {LONGEST} bytes"))),
                    false => break,
                }
            }
        }
        Ok(Answer { status, is_ours, body })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.body.trim_ascii().is_empty()
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| Error::not_pm(error.to_string()))
    }

    /// What an answer other than those hoped for means.
    pub(super) fn error(&self) -> Error {
        // Behind it there may be JSON.
        let mut message = String::from_utf8_lossy(&self.body).lines().next().unwrap_or_default().trim().to_string();
        shorten(&mut message, TEXT);
        match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::Forbidden { message },
            status if status.is_redirection() || status == StatusCode::NOT_FOUND => {
                Error::not_pm(format!("it answers {status}"))
            }
            status => Error::Failed { status: status.as_u16(), message },
        }
    }
}
