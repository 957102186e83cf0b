//! Layer: each request of a server that speaks tower is a task.
//!
//! In the shape of all middlewares: a layer makes services, a service makes futures of responses, and
//! the guard of the task travels with the work, into the future and then into the body.
//!
//! See [`layer()`](crate::layer()) for how to use it.

mod answer;
mod body;
mod client;
mod future;
mod head;
#[expect(clippy::module_inception)]
mod layer;
mod service;
mod settings;

pub use body::ResponseBody;
pub use future::ResponseFuture;
pub use layer::{ProcListLayer, layer};
pub use service::ProcListService;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

/// What the body of a response may fail with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body of any type: that of the answer to a killed request.
type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

fn boxed<B>(body: B) -> AnswerBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}
