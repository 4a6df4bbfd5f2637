//! Stock: an order reserves, and then confirms or releases. `stock` counts what nobody has reserved.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde_json::{Value, json};

use crate::service::{Answer, Service, checked, positive, text};

pub(crate) const SERVICE: Service = Service {
    name: "inventory",
    schema: "
        CREATE TABLE IF NOT EXISTS items (
            name TEXT PRIMARY KEY, price INTEGER NOT NULL, stock INTEGER NOT NULL CHECK (stock >= 0)) STRICT;
        CREATE TABLE IF NOT EXISTS reservations (
            order_id TEXT PRIMARY KEY, item TEXT NOT NULL, quantity INTEGER NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('reserved', 'confirmed', 'released'))) STRICT;
        INSERT OR IGNORE INTO items VALUES
            ('lamp', 2500, 100000), ('chair', 9900, 500), ('table', 24900, 40), ('sofa', 89900, 3), ('unicorn', 100, 0);
    ",
    post,
    get,
    totals,
};

fn post(db: &Transaction<'_>, path: &[&str], body: &Value) -> rusqlite::Result<Option<Answer>> {
    let order = match path {
        ["reserve" | "confirm" | "release"] => checked!(text(body, "order")),
        _ => return Ok(None),
    };
    match path {
        ["reserve"] => {
            let item = checked!(text(body, "item"));
            let quantity = checked!(positive(body, "quantity"));
            reserve(db, order, item, quantity).map(Some)
        }
        ["confirm"] => confirm(db, order).map(Some),
        _ => release(db, order).map(Some),
    }
}

fn reserve(db: &Transaction<'_>, order: &str, item: &str, quantity: i64) -> rusqlite::Result<Answer> {
    if let Some((.., state)) = reservation(db, order)?
        && state != "released"
    {
        return Ok(Answer::refused(409, "order exists", format!("order {order} is {state} already")));
    }
    let found = db
        .prepare_cached("SELECT price, stock FROM items WHERE name = ?1")?
        .query_row([item], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
        .optional()?;
    let Some((price, stock)) = found else {
        return Ok(Answer::refused(404, "no such item", format!("there is no item {item}")));
    };
    if stock < quantity {
        return Ok(Answer::refused(409, "out of stock", format!("{quantity} × {item} wanted, {stock} in stock")));
    }
    let Some(amount) = price.checked_mul(quantity) else {
        return Ok(Answer::refused(400, "bad request", "that many cannot be paid for"));
    };
    db.prepare_cached("UPDATE items SET stock = stock - ?2 WHERE name = ?1")?.execute(params![item, quantity])?;
    db.prepare_cached("INSERT OR REPLACE INTO reservations VALUES (?1, ?2, ?3, 'reserved')")?
        .execute(params![order, item, quantity])?;
    Ok(Answer::changed(json!({
        "order": order, "item": item, "quantity": quantity, "price": price, "amount": amount, "state": "reserved",
    })))
}

fn confirm(db: &Transaction<'_>, order: &str) -> rusqlite::Result<Answer> {
    let body = json!({"order": order, "state": "confirmed"});
    match reservation(db, order)? {
        Some((.., state)) if state == "reserved" => {
            set_state(db, order, "confirmed")?;
            Ok(Answer::changed(body))
        }
        Some((.., state)) if state == "confirmed" => Ok(Answer::same(body)),
        _ => Ok(Answer::refused(409, "nothing reserved", format!("order {order} has no reservation"))),
    }
}

/// Also after the confirmation: a later step of the order may fail. Releasing nothing is fine, so that it can be repeated.
fn release(db: &Transaction<'_>, order: &str) -> rusqlite::Result<Answer> {
    let body = json!({"order": order, "state": "released"});
    match reservation(db, order)? {
        Some((item, quantity, state)) if state != "released" => {
            db.prepare_cached("UPDATE items SET stock = stock + ?2 WHERE name = ?1")?
                .execute(params![item, quantity])?;
            set_state(db, order, "released")?;
            Ok(Answer::changed(body))
        }
        _ => Ok(Answer::same(body)),
    }
}

fn reservation(db: &Connection, order: &str) -> rusqlite::Result<Option<(String, i64, String)>> {
    db.prepare_cached("SELECT item, quantity, state FROM reservations WHERE order_id = ?1")?
        .query_row([order], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()
}

fn set_state(db: &Connection, order: &str, state: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE reservations SET state = ?2 WHERE order_id = ?1";
    db.prepare_cached(sql)?.execute([order, state]).map(drop)
}

fn get(db: &Connection, path: &[&str]) -> rusqlite::Result<Option<Answer>> {
    let ["items"] = path else { return Ok(None) };
    let mut items = db.prepare("SELECT name, price, stock FROM items ORDER BY name")?;
    let items = items.query_map([], |row| {
        Ok(json!({"name": row.get::<_, String>(0)?, "price": row.get::<_, i64>(1)?, "stock": row.get::<_, i64>(2)?}))
    })?;
    Ok(Some(Answer::same(Value::Array(items.collect::<Result<_, _>>()?))))
}

/// For each item: in stock, reserved, and sold. Their sum never changes.
fn totals(db: &Connection) -> rusqlite::Result<Value> {
    let sql = "SELECT name, stock,
            COALESCE((SELECT SUM(quantity) FROM reservations WHERE item = name AND state = 'reserved'), 0),
            COALESCE((SELECT SUM(quantity) FROM reservations WHERE item = name AND state = 'confirmed'), 0)
        FROM items ORDER BY name";
    let mut statement = db.prepare(sql)?;
    let items = statement.query_map([], |row| {
        let counts =
            json!({"stock": row.get::<_, i64>(1)?, "reserved": row.get::<_, i64>(2)?, "sold": row.get::<_, i64>(3)?});
        Ok((row.get::<_, String>(0)?, counts))
    })?;
    Ok(Value::Object(items.collect::<Result<_, _>>()?))
}
