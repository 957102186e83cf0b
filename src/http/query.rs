//! Query: what stands behind the question mark of a path.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use http::request::Parts;

use crate::escape;
use crate::http::fault::Fault;

/// The parameters, decoded.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let parsed: Result<Query<Vec<(String, String)>>, QueryRejection> =
            Query::from_request_parts(parts, state).await;
        parsed
            .map(|Query(params)| Params(params))
            .map_err(|_| Fault::bad_request("invalid query: name=value&name=value"))
    }
}

impl Params {
    /// The values of these, in this order.
    ///
    /// # Errors
    ///
    /// There is another one, or one twice: somebody would take a list for another than it is.
    pub(super) fn take<const N: usize>(self, names: [&str; N]) -> Result<[Option<String>; N], Fault> {
        let mut values = [const { None }; N];
        for (name, value) in self.0 {
            let Some(at) = names.iter().position(|known| *known == name) else {
                let (name, known) = (escape::echo(&name), names.join(", "));
                return Err(Fault::bad_request(format!("invalid query: there is no parameter '{name}' ({known})")));
            };
            if values[at].replace(value).is_some() {
                return Err(Fault::bad_request(format!("invalid query: '{}' is there twice", names[at])));
            }
        }
        Ok(values)
    }
}
