use futures_util::poll;

use super::*;
use crate::columns::Clearance;

const SECOND: Duration = Duration::from_secs(1);

/// A renderer whose worker runs.
fn renderer(list: &ProcList) -> Renderer {
    let (renderer, worker) = new(list.clone());
    tokio::spawn(worker.run());
    renderer
}

fn view() -> View {
    View::new(1000, Clearance::Secret)
}

const DUE: Wish = Wish { newer_than: None, delay: SECOND, is_asked: false };

async fn table(renderer: &Renderer, view: View, wish: Wish) -> String {
    renderer.frame(renderer.client(), view, wish).await.expect("a frame").table().to_string()
}

#[tokio::test(start_paused = true)]
async fn equal_views_share_a_frame_while_it_is_young_and_different_ones_do_not() {
    let list = ProcList::new();
    let renderer = renderer(&list);
    let shown = table(&renderer, view(), DUE).await;
    let _task = list.start("a");
    assert_eq!(table(&renderer, view(), DUE).await, shown);
    let newer = Wish { newer_than: Some(Instant::now()), ..DUE };
    assert_ne!(table(&renderer, view(), newer).await, shown, "never older than the last reply");
    let masked = View::new(1000, Clearance::Public);
    assert_ne!(table(&renderer, masked, DUE).await, shown, "shared within a clearance only");
    let shown = table(&renderer, view(), DUE).await;
    let _task = list.start("b");
    time::advance(SECOND / 10 + Duration::from_millis(1)).await;
    assert_ne!(table(&renderer, view(), DUE).await, shown);
}

/// A worker whose last frame took a second, just now.
fn slow_worker(list: &ProcList) -> (Renderer, Instant) {
    let (renderer, mut worker) = new(list.clone());
    let (reply, _waiting) = oneshot::channel();
    let now = Instant::now();
    worker.frames.wish(0, view(), DUE, reply);
    let (_, _, slot, _) = worker.frames.due(now).remove(0);
    assert!(worker.frames.begin(slot));
    worker.frames.finish(slot, Some(Frame::new("slow", now, SECOND)));
    tokio::spawn(worker.run());
    (renderer, now)
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_due_waits_ten_times_what_the_last_one_took_and_one_that_is_asked_for_does_not() {
    let (renderer, began) = slow_worker(&ProcList::new());
    time::advance(SECOND).await;
    table(&renderer, View::new(7, Clearance::Secret), DUE).await;
    assert_eq!(began.elapsed(), SECOND, "other views do not wait");
    table(&renderer, view(), DUE).await;
    assert_eq!(began.elapsed().as_secs(), 10);

    let (renderer, began) = slow_worker(&ProcList::new());
    let asked = Wish { is_asked: true, newer_than: Some(began), ..DUE };
    table(&renderer, view(), asked).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[test]
fn the_next_frame_of_a_client_comes_no_sooner_than_ten_times_what_the_last_one_took() {
    let began = Instant::now();
    let slow = Frame::new("", began, SECOND);
    assert_eq!(slow.next(3 * SECOND), began + 10 * SECOND);
    assert_eq!(slow.next(30 * SECOND), began + 30 * SECOND);
    assert_eq!(Frame::new("", began, 60 * SECOND).next(SECOND), began + 10 * SECOND, "but it comes");
}

#[tokio::test]
async fn a_large_table_is_made_on_another_thread_in_pieces_and_a_panic_is_told() {
    let list = ProcList::new();
    let _tasks: Vec<_> = (0..=INLINE).map(|n| list.start(format!("t{n}"))).collect();
    let renderer = renderer(&list);
    let name = || std::thread::current().name().map(str::to_string);
    let size = list.len();
    let make = |size| renderer.make(renderer.client(), Lane::Asked, size, async move { name() });
    assert_eq!(make(size).await.flatten().as_deref(), Some("pm-render"));
    assert_ne!(make(INLINE).await.flatten().as_deref(), Some("pm-render"));
    let panics = || async { std::panic::resume_unwind(Box::new("a bug")) };
    for size in [1, size] {
        let made: Option<()> = renderer.make(renderer.client(), Lane::Asked, size, panics()).await;
        assert_eq!(made, None);
    }
    let frame = renderer.frame(renderer.client(), view(), DUE).await.expect("it goes on");
    assert_eq!(frame.table().lines().count(), INLINE + 2);
}

#[tokio::test(start_paused = true)]
async fn others_have_their_turn_between_the_pieces_and_what_nobody_waits_for_ends() {
    let list = ProcList::new();
    let renderer = renderer(&list);
    let pieces = Arc::new(AtomicU64::new(0));
    let done = Arc::clone(&pieces);
    let long = async move {
        loop {
            done.fetch_add(1, Ordering::Relaxed);
            task::yield_now().await;
        }
    };
    let mut making: BoxFuture<'static, Option<()>> = renderer.make(renderer.client(), Lane::Asked, 1, long);
    assert!(poll!(&mut making).is_pending());
    table(&renderer, view(), DUE).await;
    while pieces.load(Ordering::Relaxed) < 3 {
        task::yield_now().await;
    }
    drop(making);
    // The turns of others come after the one that finds it dropped.
    for limit in 1..3 {
        table(&renderer, View::new(limit, Clearance::Secret), DUE).await;
    }
    let then = pieces.load(Ordering::Relaxed);
    table(&renderer, View::new(9, Clearance::Secret), DUE).await;
    assert_eq!(pieces.load(Ordering::Relaxed), then);
}
