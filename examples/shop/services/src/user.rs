//! Who orders, and what they were told.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde_json::{Value, json};

use crate::service::{Answer, Service, checked, text};

pub(crate) const SERVICE: Service = Service {
    name: "user",
    schema: "
        CREATE TABLE IF NOT EXISTS users (id TEXT PRIMARY KEY, email TEXT NOT NULL) STRICT;
        CREATE TABLE IF NOT EXISTS notifications (
            id INTEGER PRIMARY KEY, user TEXT NOT NULL, order_id TEXT NOT NULL, message TEXT NOT NULL) STRICT;
        INSERT OR IGNORE INTO users VALUES
            ('ann', 'ann@shop.example'), ('bob', 'bob@shop.example'), ('eve', 'eve@shop.example');
    ",
    post,
    get,
    totals,
};

fn post(db: &Transaction<'_>, path: &[&str], body: &Value) -> rusqlite::Result<Option<Answer>> {
    let ["notify"] = path else { return Ok(None) };
    let user = checked!(text(body, "user"));
    let order = checked!(text(body, "order"));
    let message = checked!(text(body, "message"));
    if email(db, user)?.is_none() {
        return Ok(Some(Answer::refused(404, "no such user", format!("there is no user {user}"))));
    }
    db.prepare_cached("INSERT INTO notifications (user, order_id, message) VALUES (?1, ?2, ?3)")?
        .execute(params![user, order, message])?;
    Ok(Some(Answer::changed(json!({"user": user, "order": order, "message": message}))))
}

fn email(db: &Connection, user: &str) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT email FROM users WHERE id = ?1")?.query_row([user], |row| row.get(0)).optional()
}

fn get(db: &Connection, path: &[&str]) -> rusqlite::Result<Option<Answer>> {
    let ["users", user] = path else { return Ok(None) };
    Ok(email(db, user)?.map(|email| Answer::same(json!({"id": user, "email": email}))))
}

fn totals(db: &Connection) -> rusqlite::Result<Value> {
    let sql = "SELECT COUNT(*), COUNT(DISTINCT order_id) FROM notifications";
    db.query_row(sql, [], |row| Ok(json!({"notifications": row.get::<_, i64>(0)?, "orders": row.get::<_, i64>(1)?})))
}
