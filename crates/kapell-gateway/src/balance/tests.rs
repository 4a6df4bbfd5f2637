use super::*;

/// Deterministic numbers that are spread well enough for a distribution test (SplitMix64).
fn numbers(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|n| {
        let n = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    })
}

fn port(endpoints: &[(&str, &str, EndpointState)]) -> PortRoute {
    let endpoints = endpoints.iter().map(|(address, pod, state)| EndpointRoute {
        address: address.parse().unwrap(),
        pod: (*pod).to_owned(),
        state: *state,
    });
    PortRoute {
        name: String::new(),
        port: 80,
        transport: crate::table::Transport::Tcp,
        protocol: Protocol::Http,
        listen: Vec::new(),
        node_listen: Vec::new(),
        endpoints: endpoints.collect(),
    }
}

const PATIENCE: Patience =
    Patience { silence: Duration::from_secs(2), answer: Duration::from_secs(300), departed: Duration::from_secs(30) };

fn backend(route: &PortRoute) -> Arc<Backend> {
    let backend = Arc::new(Backend::new(ObjectKey::new("shop", "order"), PATIENCE, Tasks::default()));
    backend.update(route, false);
    backend
}

use EndpointState::{Draining, NotReady, Ready};

#[test]
fn equal_endpoints_share_equally_and_a_busy_one_is_avoided() {
    let mut hits = [0; 5];
    for random in numbers(10_000) {
        hits[choose_less_loaded(5, |_| Some(0), random).unwrap()] += 1;
    }
    assert!(hits.iter().all(|hits| (1_800..2_200).contains(hits)), "{hits:?}");

    let mut hits = [0; 5];
    for random in numbers(10_000) {
        hits[choose_less_loaded(5, |index| Some(if index == 3 { 9 } else { 1 }), random).unwrap()] += 1;
    }
    assert_eq!(hits[3], 0, "two distinct draws never leave the busiest as the better one");
}

#[test]
fn unusable_endpoints_are_never_chosen() {
    for random in numbers(1_000) {
        let chosen = choose_less_loaded(4, |index| (index % 2 == 1).then_some(0), random).unwrap();
        assert_eq!(chosen % 2, 1);
        assert_eq!(choose_less_loaded(3, |_| None, random), None);
        assert_eq!(choose_less_loaded(0, |_| None, random), None);
        assert_eq!(choose_less_loaded(1, |_| Some(7), random), Some(0));
    }
}

#[test]
fn a_client_stays_at_its_endpoint_when_others_go() {
    let homes = |usable: &dyn Fn(usize) -> bool| -> Vec<_> {
        let place = |client| choose_for_client(4, |index| usable(index).then_some(0), |index| (client, index));
        (0..100).map(|client| place(client).unwrap()).collect()
    };
    let all = homes(&|_| true);
    let without = homes(&|index| index != 2);
    for (before, after) in all.iter().zip(&without) {
        assert!(before == after || *before == 2);
    }
    assert!((0..4).all(|index| all.contains(&index)));
}

#[tokio::test]
async fn terminating_endpoints_serve_only_while_none_is_ready() {
    let draining = ("127.1.0.1:80", "a", Draining);
    let backend = backend(&port(&[draining, ("127.1.0.2:80", "b", NotReady)]));
    assert_eq!(backend.acquire(None).await.unwrap().0.pod, "a");
    backend.update(&port(&[draining, ("127.1.0.2:80", "b", Ready)]), false);
    for _ in 0..20 {
        assert_eq!(backend.acquire(None).await.unwrap().0.pod, "b");
    }
}

#[tokio::test]
async fn state_is_kept_by_address_and_pod() {
    let ready = port(&[("127.1.0.1:1", "a", Ready), ("127.1.0.2:1", "b", Ready)]);
    let backend = backend(&ready);
    let lease = backend.acquire(None).await.unwrap();
    let first = lease.0.clone();
    backend.eject(&first);
    backend.update(&ready, false);
    assert!(first.is_ejected(), "an unchanged slice says nothing new about an endpoint that just failed");
    assert_eq!(backend.set().all[&first.address].0.outstanding(), 1);

    let mut changed = ready.clone();
    for endpoint in changed.endpoints.iter_mut().filter(|endpoint| endpoint.address == first.address) {
        endpoint.state = NotReady;
    }
    backend.update(&changed, false);
    backend.update(&ready, false);
    assert!(!first.is_ejected(), "ready anew");

    for endpoint in &mut changed.endpoints {
        endpoint.pod = "other".to_owned();
    }
    backend.update(&changed, false);
    assert_eq!(backend.set().all[&first.address].0.outstanding(), 0, "another pod starts with a clean record");
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_readiness_and_no_longer_than_it_should() {
    let not_ready = port(&[("127.1.0.1:1", "a", NotReady), ("127.1.0.2:1", "b", NotReady)]);
    let backend = backend(&not_ready);
    let waiting = tokio::spawn({
        let backend = backend.clone();
        async move { backend.acquire(None).await.map(|lease| lease.0.pod.clone()) }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    backend.update(&port(&[("127.1.0.1:1", "a", NotReady), ("127.1.0.2:1", "b", Ready)]), false);
    assert_eq!(waiting.await.unwrap().unwrap(), "b");

    backend.update(&not_ready, false);
    let refused = backend.acquire(None).await.err().unwrap();
    assert_eq!(refused.to_string(), "no ready endpoint of service shop/order: 2 pods, 0 ready");
    assert_eq!(backend.waiting.load(Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn the_waiting_are_limited() {
    let backend = backend(&port(&[]));
    let waiting: Vec<_> = (0..WAITING_REQUESTS)
        .map(|_| {
            let backend = backend.clone();
            tokio::spawn(async move { backend.acquire(None).await.map(drop) })
        })
        .collect();
    while backend.waiting.load(Relaxed) < WAITING_REQUESTS {
        tokio::task::yield_now().await;
    }
    let refused = backend.acquire(None).await.err().unwrap();
    assert!(refused.queue_full);
    for task in waiting {
        assert!(!task.await.unwrap().unwrap_err().queue_full);
    }
}
