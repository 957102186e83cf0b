//! Session: one client over any stream. Socket, timers and jobs; what is said is the dialogue's.

pub(crate) mod command;
mod dialogue;
mod kills;
mod line;
mod outbox;
mod question;
mod screen;
mod sets;

use std::future::{pending, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, OptionFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{self, Instant};
use tokio_util::codec::FramedRead;

use crate::access::Admitted;
use crate::call::Followed;
use crate::kill::Kill;
use crate::pending_kill::WaitOutcome;
use crate::render::Client;
use crate::service::{Present, Service};
use crate::stack;
use dialogue::{Dialogue, Job, JobId, Made};
use line::{Line, LineDecoder};
use question::Answer;

/// How long input that is not executed is taken in after the end: closing a TCP connection over
/// unread input would make the client lose our last words.
const LINGER: Duration = Duration::from_secs(1);

/// Serves one client until it leaves, or takes nothing for too long.
///
/// # Errors
///
/// The connection failed.
pub(crate) async fn run<S>(stream: S, service: Arc<Service>, admitted: Admitted) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite,
{
    let _present = Present::of(&service);
    let client = service.renderer.client();
    let (reader, mut writer) = tokio::io::split(stream);
    let mut input = FramedRead::new(reader, LineDecoder::default());
    let mut dialogue = Dialogue::new(Arc::clone(&service), admitted, Instant::now());
    let mut jobs: Vec<(JobId, RunningJob)> = Vec::new();
    let mut outcomes = FuturesUnordered::new();
    let mut followed: Option<Followed> = None;
    // While a command of the program's own runs, one line is read ahead: so the end of the client is noticed.
    let mut ahead: Option<Line> = None;
    loop {
        let now = Instant::now();
        dialogue.on_time(now);
        while let Some((id, job)) = dialogue.next_job(now) {
            jobs.push((id, begin(job, &service, client)));
        }
        jobs.retain(|(id, _)| dialogue.awaits(*id));
        outcomes.extend(dialogue.kills.take_new().into_iter().map(outcome));
        if !dialogue.is_following()
            && let Some(lines) = followed.take()
        {
            // Its destructor is the program's.
            _ = catch_unwind(AssertUnwindSafe(|| drop(lines)));
        }
        if dialogue.is_over() {
            break;
        }
        let (wants_line, wants_outcomes, wants_followed) =
            (dialogue.wants_line(now), dialogue.wants_outcomes(), dialogue.wants_followed());
        if wants_line && let Some(line) = ahead.take() {
            dialogue.on_line(line, now);
            continue;
        }
        let is_calling = dialogue.is_calling();
        let (wake_at, patience_ends) = (dialogue.wake_at(now), dialogue.out.patience_ends());
        let unsent = dialogue.out.next().cloned();
        tokio::select! {
            biased;
            sent = send(&mut writer, unsent.as_ref(), patience_ends), if unsent.is_some() => {
                dialogue.out.sent(sent?, Instant::now());
            }
            Some(kill) = outcomes.next(), if wants_outcomes => dialogue.on_kill_ended(&kill, Instant::now()),
            (id, (made, lines)) = first(&mut jobs) => {
                followed = lines;
                dialogue.on_made(id, made, Instant::now());
            }
            // Before the lines that follow, which may be ready all the time.
            line = input.next(), if wants_line || (is_calling && ahead.is_none()) => match line {
                Some(line) if wants_line => dialogue.on_line(line?, Instant::now()),
                Some(line) => ahead = Some(line?),
                None => dialogue.on_end_of_input(Instant::now()),
            },
            line = next_line(&mut followed), if wants_followed => dialogue.on_followed(line, Instant::now()),
            Some(()) = OptionFuture::from(wake_at.map(time::sleep_until)) => {}
        }
    }
    close(input.into_inner(), writer).await
}

/// A job. It may leave lines that the session follows.
type RunningJob = BoxFuture<'static, (Made, Option<Followed>)>;

/// Begins what the dialogue wants to have done.
fn begin(job: Job, service: &Arc<Service>, client: Client) -> RunningJob {
    let plain = |made| (made, None);
    match job {
        Job::Frame(view, wish) => {
            let frame = service.renderer.frame(client, view, wish);
            frame.map(move |frame| plain(frame.map_or(Made::Failed, Made::Frame))).boxed()
        }
        Job::Stack(name) => {
            let list = service.list.clone();
            async move { plain(Made::Answer(Answer::Lines(stack::answer(&list, &name).await))) }.boxed()
        }
        Job::Answer(question, view) => {
            let (list, clients) = (service.list.clone(), service.clients());
            let (lane, size) = (question.lane(), question.size(&list));
            let answer = service.renderer.make(client, lane, size, question.answer(list, view, clients));
            answer.map(move |answer| plain(answer.map_or(Made::Failed, Made::Answer))).boxed()
        }
        Job::Auth(token) => {
            let service = Arc::clone(service);
            async move { plain(Made::Auth(service.access.auth(token).await)) }.boxed()
        }
        Job::Call(call) => call.run().map(|(called, followed)| (Made::Called(called), followed)).boxed(),
    }
}

/// The first job that is done.
async fn first(jobs: &mut Vec<(JobId, RunningJob)>) -> (JobId, (Made, Option<Followed>)) {
    poll_fn(|cx| {
        for (at, (_, job)) in jobs.iter_mut().enumerate() {
            if let Poll::Ready(made) = job.poll_unpin(cx) {
                return Poll::Ready((jobs.swap_remove(at).0, made));
            }
        }
        Poll::Pending
    })
    .await
}

/// The kill, when its task has left the list.
async fn outcome(kill: Arc<Kill>) -> Arc<Kill> {
    WaitOutcome::new(&kill).await;
    kill
}

async fn next_line(followed: &mut Option<Followed>) -> Option<String> {
    match followed {
        Some(lines) => lines.next().await,
        None => pending().await,
    }
}

/// Sends some of `unsent`.
///
/// # Errors
///
/// The connection failed, or the client took nothing for too long.
async fn send(mut writer: impl AsyncWrite + Unpin, unsent: Option<&Bytes>, until: Instant) -> io::Result<usize> {
    let Some(unsent) = unsent else { return pending().await };
    match time::timeout_at(until, writer.write(unsent)).await?? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        sent => Ok(sent),
    }
}

/// Says that no more comes, and takes in what the client has still to say.
pub(crate) async fn close(reader: impl AsyncRead, writer: impl AsyncWrite) -> io::Result<()> {
    let (mut reader, mut writer) = (pin!(reader), pin!(writer));
    let farewell = async {
        writer.shutdown().await?;
        let mut unread = [0; 1024];
        while reader.read(&mut unread).await? > 0 {}
        Ok(())
    };
    time::timeout(LINGER, farewell).await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests;
