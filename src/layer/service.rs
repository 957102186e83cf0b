//! The service: starts the task of each request.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response, Version};
use http_body::Body;
use tower_service::Service;

use super::answer;
use super::body::ResponseBody;
use super::client::Asked;
use super::future::ResponseFuture;
use super::settings::{self, COLUMNS, Settings};
use crate::run::catch_own;
use crate::task::Task;

/// What [`layer()`](crate::layer()) makes of a service: each of its requests is a task.
#[derive(Clone)]
pub struct ProcListService<S> {
    inner: S,
    settings: Option<Arc<Settings>>,
    location: &'static Location<'static>,
}

impl<S> ProcListService<S> {
    pub(super) fn new(inner: S, settings: Option<Arc<Settings>>, location: &'static Location<'static>) -> Self {
        let list = match &settings {
            Some(settings) => settings.list(),
            None => crate::global(),
        };
        list.set_cols_if_none(COLUMNS);
        ProcListService { inner, settings, location }
    }
}

impl<S, A, B> Service<Request<A>> for ProcListService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body,
{
    type Response = Response<ResponseBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<A>) -> Self::Future {
        let Some(settings) = &self.settings else {
            let task = settings::start(&request);
            return self.call_listed(request, task);
        };
        match settings.start(request) {
            (Some(task), request) => self.call_listed(request, task),
            (None, request) => ResponseFuture::unlisted(self.inner.call(request)),
        }
    }
}

impl<S> ProcListService<S> {
    #[inline]
    fn call_listed<A>(&mut self, request: Request<A>, task: Task) -> ResponseFuture<S::Future>
    where
        S: Service<Request<A>>,
    {
        let asked = Asked {
            is_head: request.method() == Method::HEAD,
            is_connect: request.method() == Method::CONNECT,
            // It needs trailers.
            is_grpc: request.version() == Version::HTTP_2 && answer::is_grpc(request.headers()),
            settings: self.settings.clone(),
            location: self.location,
        };
        // Not moved more than once: it may be large.
        let mut future = None;
        match catch_own(&task.entry, || future = Some(self.inner.call(request))) {
            Ok(()) => ResponseFuture::listed(future, task, asked),
            Err(stopped) => ResponseFuture::stopped(stopped, task, asked),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for ProcListService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcListService").field("inner", &self.inner).finish_non_exhaustive()
    }
}
