use super::*;

#[tokio::test]
async fn the_longest_idle_connection_makes_room() {
    let (all, shutdown) = (Arc::<OpenConnections>::default(), CancellationToken::new());
    let [first, second, third] = std::array::from_fn(|_| all.add(&shutdown));
    let of_first = first.busy();
    drop(second.busy());
    // Idle since it came: the second has done something meanwhile, the first is at work.
    let (waiter, unwanted) = (all.clone(), third.unwanted());
    let room = tokio::spawn(async move { waiter.make_room(3).await });
    unwanted.cancelled().await;
    assert!(!first.unwanted().is_cancelled() && !second.unwanted().is_cancelled());
    drop(third);
    room.await.unwrap();

    let waiter = all.clone();
    let room = tokio::spawn(async move { waiter.make_room(1).await });
    second.unwanted().cancelled().await;
    drop(second);
    assert!(!room.is_finished(), "the first is busy and may stay");
    drop(of_first);
    first.unwanted().cancelled().await;
    drop(first);
    room.await.unwrap();
}

#[tokio::test]
async fn shutdown_makes_all_unwanted() {
    let (all, shutdown) = (Arc::<OpenConnections>::default(), CancellationToken::new());
    let connection = all.add(&shutdown);
    shutdown.cancel();
    connection.unwanted().cancelled().await;
}

#[tokio::test]
async fn a_session_is_never_idle() {
    let (all, shutdown) = (Arc::<OpenConnections>::default(), CancellationToken::new());
    let (session, other) = (all.add(&shutdown), all.add(&shutdown));
    let upgraded = session.busy();
    upgraded.for_good();
    drop(upgraded);
    drop(other.busy());
    let waiter = all.clone();
    let room = tokio::spawn(async move { waiter.make_room(2).await });
    other.unwanted().cancelled().await;
    assert!(!session.unwanted().is_cancelled());
    drop(other);
    room.await.unwrap();
}

#[tokio::test]
async fn only_answers_to_somebody_keep_a_connection_busy() {
    let (all, shutdown) = (Arc::<OpenConnections>::default(), CancellationToken::new());
    for known in [false, true] {
        let connection = all.add(&shutdown);
        let service = tower::service_fn(|_: Request<()>| async move {
            let mut response = Response::new(Body::from("answer"));
            if known {
                response.extensions_mut().insert(ToSomebody);
            }
            Ok::<_, std::convert::Infallible>(response)
        });
        let response = Watched::new(service, connection.clone()).call(Request::new(())).await.unwrap();
        assert_eq!((connection.is_busy(), connection.is_known()), (known, known));
        drop(response);
        assert!(!connection.is_busy());
    }
}
