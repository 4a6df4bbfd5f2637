use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

use super::Flights;

#[tokio::test]
async fn those_who_come_meanwhile_share_it_and_those_who_come_later_do_not() {
    let flights: Arc<Flights<&str, u32>> = Arc::default();
    let (count, landing) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    let join = |key: &'static str| {
        let (flights, count, landing) = (flights.clone(), count.clone(), landing.clone());
        async move {
            let bring = async {
                let number = count.fetch_add(1, Ordering::SeqCst);
                landing.notified().await;
                number
            };
            flights.join(&key, bring).await
        }
    };
    let together = tokio::spawn(futures::future::join_all((0..5).map(|_| join("a"))));
    let other = tokio::spawn(join("b"));
    while count.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    landing.notify_waiters();
    let together = together.await.unwrap();
    assert!(together.iter().all(|number| *number == together[0]), "{together:?}");
    assert_ne!(other.await.unwrap(), together[0]);
    landing.notify_one();
    assert_eq!(join("a").await, 2);
    assert!(flights.0.lock().is_empty());
}

#[tokio::test]
async fn when_who_brings_it_gives_up_the_next_one_does() {
    let flights: Flights<&str, u32> = Flights::default();
    let first = flights.join(&"a", std::future::pending());
    let second = flights.join(&"a", async { 2 });
    tokio::pin!(second);
    {
        tokio::pin!(first);
        assert!(futures::poll!(&mut first).is_pending());
        assert!(futures::poll!(&mut second).is_pending());
    }
    assert_eq!(second.await, 2);
}
