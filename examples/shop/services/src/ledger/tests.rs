use super::*;
use crate::{inventory, order, payment, user};

struct Shop {
    ledger: Ledger,
    directory: tempfile::TempDir,
}

impl Shop {
    fn open(service: &'static Service) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { ledger: Ledger::open(service, directory.path()).unwrap(), directory }
    }

    /// One call as the HTTP side makes it.
    fn post(&mut self, key: &str, path: &str, body: Value) -> (u16, Value) {
        match self.ledger.note_call(key, path).unwrap() {
            Fault::None => {}
            fault => return (503, json!(format!("{fault:?}"))),
        }
        let answer = self.ledger.perform(key, path, &body).unwrap().unwrap();
        (answer.status, answer.body)
    }

    fn audit(&self) -> Value {
        self.ledger.audit().unwrap()
    }
}

#[test]
fn a_key_has_one_effect_and_one_answer() {
    static SERVICE: Service = inventory::SERVICE;
    let mut shop = Shop::open(&SERVICE);
    let order = json!({"order": "o1", "item": "sofa", "quantity": 2});
    let first = shop.post("k1", "/reserve", order.clone());
    assert_eq!((first.0, &first.1["amount"]), (200, &json!(179_800)));
    // The other replica answers the repetition.
    let other = Ledger::open(&SERVICE, shop.directory.path()).unwrap();
    let mut replica = Shop { ledger: other, directory: tempfile::tempdir().unwrap() };
    assert_eq!(replica.post("k1", "/reserve", order), first);
    let audit = shop.audit();
    assert_eq!(audit["keys"]["k1"], json!({"path": "/reserve", "calls": 2, "effects": 1, "status": 200}));
    assert_eq!(audit["totals"]["sofa"], json!({"stock": 1, "reserved": 2, "sold": 0}));
    assert_eq!(shop.post("k1", "/release", json!({"order": "o1"})).0, 422, "a key belongs to one request");
}

#[test]
fn stock_is_reserved_confirmed_and_released() {
    static SERVICE: Service = inventory::SERVICE;
    let mut shop = Shop::open(&SERVICE);
    let steps = [
        ("/reserve", json!({"order": "o1", "item": "sofa", "quantity": 4}), 409),
        ("/reserve", json!({"order": "o1", "item": "bird", "quantity": 1}), 404),
        ("/reserve", json!({"order": "o1", "item": "sofa", "quantity": 0}), 400),
        ("/confirm", json!({"order": "o1"}), 409),
        ("/release", json!({"order": "o1"}), 200),
        ("/reserve", json!({"order": "o1", "item": "sofa", "quantity": 3}), 200),
        ("/reserve", json!({"order": "o1", "item": "sofa", "quantity": 3}), 409),
        ("/reserve", json!({"order": "o2", "item": "sofa", "quantity": 1}), 409),
        ("/confirm", json!({"order": "o1"}), 200),
        ("/release", json!({"order": "o1"}), 200),
        ("/release", json!({"order": "o1"}), 200),
    ];
    for (number, (path, body, expected)) in steps.into_iter().enumerate() {
        assert_eq!(shop.post(&format!("k{number}"), path, body).0, expected, "step {number} {path}");
    }
    let audit = shop.audit();
    assert_eq!(audit["totals"]["sofa"], json!({"stock": 3, "reserved": 0, "sold": 0}));
    assert_eq!(audit["keys"]["k10"]["effects"], 0, "nothing is released twice");
}

#[test]
fn accounts_are_charged_and_refunded() {
    static SERVICE: Service = payment::SERVICE;
    let mut shop = Shop::open(&SERVICE);
    let declined = shop.post("k1", "/charge", json!({"order": "o1", "user": "eve", "amount": 2500}));
    assert_eq!(declined.0, 402);
    assert_eq!(declined.1["detail"], "25.00 wanted, eve has 10.00");
    assert_eq!(shop.post("k2", "/charge", json!({"order": "o1", "user": "bob", "amount": 2500})).0, 200);
    assert_eq!(shop.audit()["totals"]["bob"], json!({"balance": 47_500, "charged": 2500}));
    for key in ["k3", "k4"] {
        assert_eq!(shop.post(key, "/refund", json!({"order": "o1"})).0, 200);
    }
    assert_eq!(shop.audit()["totals"]["bob"], json!({"balance": 50_000, "charged": 0}));
}

#[test]
fn orders_and_notifications_are_recorded() {
    static ORDER: Service = order::SERVICE;
    let mut shop = Shop::open(&ORDER);
    let record = json!({"order": "o1", "user": "ann", "item": "lamp", "quantity": 1});
    for (key, path, expected) in [
        ("k1", "/orders", 200),
        ("k2", "/orders", 409),
        ("k3", "/orders/o1/confirm", 200),
        ("k4", "/orders/o1/cancel", 200),
        ("k5", "/orders/o1/confirm", 409),
        ("k6", "/orders", 200),
        ("k7", "/orders/none/confirm", 404),
    ] {
        assert_eq!(shop.post(key, path, record.clone()).0, expected, "{key}");
    }
    assert_eq!(shop.ledger.get("/orders/o1").unwrap().unwrap().body["state"], "pending");

    assert_eq!(
        shop.post("k8", "/orders", json!({"order": "a b/c", "user": "ann", "item": "lamp", "quantity": 1})).0,
        200
    );
    assert_eq!(shop.post("k9", "/orders/a%20b%2Fc/confirm", Value::Null).1["order"], "a b/c");

    static USER: Service = user::SERVICE;
    let mut shop = Shop::open(&USER);
    assert_eq!(shop.post("k1", "/notify", json!({"user": "ann", "order": "o1", "message": "hi"})).0, 200);
    assert_eq!(shop.audit()["totals"], json!({"notifications": 1, "orders": 1}));
}

#[test]
fn faults_count_calls_but_do_nothing_and_end() {
    static SERVICE: Service = payment::SERVICE;
    let mut shop = Shop::open(&SERVICE);
    let charge = json!({"order": "o1", "user": "ann", "amount": 1});
    shop.ledger.set_fault(Fault::Error, Some(2)).unwrap();
    let statuses = [(); 4].map(|()| shop.post("k1", "/charge", charge.clone()).0);
    assert_eq!(statuses, [503, 503, 200, 200]);
    assert_eq!(shop.audit()["keys"]["k1"], json!({"path": "/charge", "calls": 4, "effects": 1, "status": 200}));

    shop.ledger.set_fault(Fault::Slow(Duration::from_millis(7)), None).unwrap();
    let mut replica = Ledger::open(&SERVICE, shop.directory.path()).unwrap();
    assert_eq!(replica.note_call("k2", "/charge").unwrap(), Fault::Slow(Duration::from_millis(7)), "all replicas obey");
    replica.set_fault(Fault::None, None).unwrap();
    assert_eq!(shop.ledger.note_call("k3", "/charge").unwrap(), Fault::None);
}
