//! Accounts in cents: an order is charged once, and refunded if it comes to nothing.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde_json::{Value, json};

use crate::service::{Answer, Service, checked, positive, text};

pub(crate) const SERVICE: Service = Service {
    name: "payment",
    schema: "
        CREATE TABLE IF NOT EXISTS accounts (
            user TEXT PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0)) STRICT;
        CREATE TABLE IF NOT EXISTS charges (
            order_id TEXT PRIMARY KEY, user TEXT NOT NULL, amount INTEGER NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('charged', 'refunded'))) STRICT;
        INSERT OR IGNORE INTO accounts VALUES ('ann', 100000000), ('bob', 50000), ('eve', 1000);
    ",
    post,
    get,
    totals,
};

fn post(db: &Transaction<'_>, path: &[&str], body: &Value) -> rusqlite::Result<Option<Answer>> {
    match path {
        ["charge"] => {
            let order = checked!(text(body, "order"));
            let user = checked!(text(body, "user"));
            let amount = checked!(positive(body, "amount"));
            charge(db, order, user, amount).map(Some)
        }
        ["refund"] => {
            let order = checked!(text(body, "order"));
            refund(db, order).map(Some)
        }
        _ => Ok(None),
    }
}

fn charge(db: &Transaction<'_>, order: &str, user: &str, amount: i64) -> rusqlite::Result<Answer> {
    if let Some((.., state)) = charged(db, order)?
        && state == "charged"
    {
        return Ok(Answer::refused(409, "order exists", format!("order {order} has been charged already")));
    }
    let Some(balance) = balance(db, user)? else {
        return Ok(Answer::refused(404, "no such account", format!("{user} has no account")));
    };
    if balance < amount {
        let detail = format!("{} wanted, {user} has {}", money(amount), money(balance));
        return Ok(Answer::refused(402, "payment declined", detail));
    }
    db.prepare_cached("UPDATE accounts SET balance = balance - ?2 WHERE user = ?1")?.execute(params![user, amount])?;
    db.prepare_cached("INSERT OR REPLACE INTO charges VALUES (?1, ?2, ?3, 'charged')")?
        .execute(params![order, user, amount])?;
    Ok(Answer::changed(json!({"order": order, "user": user, "amount": amount, "state": "charged"})))
}

/// Refunding nothing is fine, so that it can be repeated.
fn refund(db: &Transaction<'_>, order: &str) -> rusqlite::Result<Answer> {
    let body = json!({"order": order, "state": "refunded"});
    match charged(db, order)? {
        Some((user, amount, state)) if state == "charged" => {
            let sql = "UPDATE accounts SET balance = balance + ?2 WHERE user = ?1";
            db.prepare_cached(sql)?.execute(params![user, amount])?;
            db.prepare_cached("UPDATE charges SET state = 'refunded' WHERE order_id = ?1")?.execute([order])?;
            Ok(Answer::changed(body))
        }
        _ => Ok(Answer::same(body)),
    }
}

fn charged(db: &Connection, order: &str) -> rusqlite::Result<Option<(String, i64, String)>> {
    db.prepare_cached("SELECT user, amount, state FROM charges WHERE order_id = ?1")?
        .query_row([order], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()
}

fn balance(db: &Connection, user: &str) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT balance FROM accounts WHERE user = ?1")?.query_row([user], |row| row.get(0)).optional()
}

fn money(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn get(db: &Connection, path: &[&str]) -> rusqlite::Result<Option<Answer>> {
    let ["accounts", user] = path else { return Ok(None) };
    Ok(balance(db, user)?.map(|balance| Answer::same(json!({"user": user, "balance": balance}))))
}

/// For each account: what it has, and what its orders have taken. Their sum never changes.
fn totals(db: &Connection) -> rusqlite::Result<Value> {
    let sql = "SELECT user, balance,
            COALESCE((SELECT SUM(amount) FROM charges WHERE charges.user = accounts.user AND state = 'charged'), 0)
        FROM accounts ORDER BY user";
    let mut statement = db.prepare(sql)?;
    let accounts = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, json!({"balance": row.get::<_, i64>(1)?, "charged": row.get::<_, i64>(2)?})))
    })?;
    Ok(Value::Object(accounts.collect::<Result<_, _>>()?))
}
