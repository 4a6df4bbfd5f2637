//! The record of each order: pending, then confirmed or cancelled.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde_json::{Value, json};

use crate::service::{Answer, Service, checked, positive, text};

pub(crate) const SERVICE: Service = Service {
    name: "order",
    schema: "
        CREATE TABLE IF NOT EXISTS orders (
            id TEXT PRIMARY KEY, user TEXT NOT NULL, item TEXT NOT NULL, quantity INTEGER NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('pending', 'confirmed', 'cancelled'))) STRICT;
    ",
    post,
    get,
    totals,
};

fn post(db: &Transaction<'_>, path: &[&str], body: &Value) -> rusqlite::Result<Option<Answer>> {
    match path {
        ["orders"] => {
            let order = checked!(text(body, "order"));
            let user = checked!(text(body, "user"));
            let item = checked!(text(body, "item"));
            let quantity = checked!(positive(body, "quantity"));
            create(db, order, user, item, quantity).map(Some)
        }
        ["orders", order, "confirm"] => change(db, order, "confirmed").map(Some),
        ["orders", order, "cancel"] => change(db, order, "cancelled").map(Some),
        _ => Ok(None),
    }
}

/// An order that was cancelled may be placed again under its name.
fn create(db: &Transaction<'_>, order: &str, user: &str, item: &str, quantity: i64) -> rusqlite::Result<Answer> {
    if let Some(earlier) = record(db, order)?
        && earlier["state"] != "cancelled"
    {
        let detail = format!("order {order} is {} already", earlier["state"].as_str().unwrap_or_default());
        return Ok(Answer::refused(409, "order exists", detail));
    }
    db.prepare_cached("INSERT OR REPLACE INTO orders VALUES (?1, ?2, ?3, ?4, 'pending')")?
        .execute(params![order, user, item, quantity])?;
    let body = json!({"order": order, "user": user, "item": item, "quantity": quantity, "state": "pending"});
    Ok(Answer::changed(body))
}

/// A confirmed order may still be cancelled: it happens when a later step fails.
fn change(db: &Transaction<'_>, order: &str, state: &str) -> rusqlite::Result<Answer> {
    let Some(mut record) = record(db, order)? else {
        return Ok(Answer::refused(404, "no such order", format!("there is no order {order}")));
    };
    let before = record["state"].take();
    record["state"] = json!(state);
    if before == state {
        return Ok(Answer::same(record));
    }
    if before == "cancelled" {
        return Ok(Answer::refused(409, "order cancelled", format!("order {order} has been cancelled")));
    }
    db.prepare_cached("UPDATE orders SET state = ?2 WHERE id = ?1")?.execute([order, state])?;
    Ok(Answer::changed(record))
}

fn record(db: &Connection, order: &str) -> rusqlite::Result<Option<Value>> {
    db.prepare_cached("SELECT id, user, item, quantity, state FROM orders WHERE id = ?1")?
        .query_row([order], |row| {
            Ok(json!({
                "order": row.get::<_, String>(0)?, "user": row.get::<_, String>(1)?, "item": row.get::<_, String>(2)?,
                "quantity": row.get::<_, i64>(3)?, "state": row.get::<_, String>(4)?,
            }))
        })
        .optional()
}

fn get(db: &Connection, path: &[&str]) -> rusqlite::Result<Option<Answer>> {
    match path {
        [] | ["orders"] => totals(db).map(|totals| Some(Answer::same(totals))),
        ["orders", order] => Ok(record(db, order)?.map(Answer::same)),
        _ => Ok(None),
    }
}

/// How many orders are in each state.
fn totals(db: &Connection) -> rusqlite::Result<Value> {
    let mut totals = json!({"pending": 0, "confirmed": 0, "cancelled": 0});
    let mut statement = db.prepare("SELECT state, COUNT(*) FROM orders GROUP BY state")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        totals[row.get::<_, String>(0)?] = json!(row.get::<_, i64>(1)?);
    }
    Ok(totals)
}
