//! The API's two time formats, and durations as `kubectl get` prints them.
//!
//! Objects carry times as strings in UTC, `metav1.Time` to the second and `metav1.MicroTime` to the microsecond.
//! Clients may send any offset and precision of RFC 3339; [`Schema::normalise`](crate::schema::Schema::normalise)
//! rewrites what they send. Nothing here reads a clock.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

const SECONDS: DateTimePrinter = DateTimePrinter::new().precision(Some(0));
const MICROSECONDS: DateTimePrinter = DateTimePrinter::new().precision(Some(6));

/// A string that is no RFC 3339 time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an RFC 3339 time")]
pub struct TimeError {
    pub text: String,
}

/// Any RFC 3339 time, whatever its offset and precision (digits after the ninth are an error).
pub fn parse(text: &str) -> Result<Timestamp, TimeError> {
    let error = || TimeError { text: text.to_owned() };
    // jiff reads a larger family of formats; the API means only this one.
    let shape: &[u8; 19] = b"dddd-dd-ddTdd:dd:dd";
    let bytes = text.as_bytes();
    let fits = bytes.len() > shape.len()
        && bytes.iter().zip(shape).all(|(&c, &s)| if s == b'd' { c.is_ascii_digit() } else { c == s })
        && bytes[shape.len()..].iter().all(|c| matches!(c, b'0'..=b'9' | b'.' | b'+' | b'-' | b':' | b'Z'));
    if !fits {
        return Err(error());
    }
    text.parse().map_err(|_| error())
}

/// `metav1.Time`: `2026-01-02T03:04:05Z`; what is finer is cut off.
pub fn format_time(t: Timestamp) -> String {
    SECONDS.timestamp_to_string(&t)
}

/// `metav1.MicroTime`: `2026-01-02T03:04:05.000006Z`; what is finer is cut off.
pub fn format_micro_time(t: Timestamp) -> String {
    MICROSECONDS.timestamp_to_string(&t)
}

/// A duration in the form of `AGE` columns: two units while the second one still says something, then one.
pub fn human_duration(seconds: i64) -> String {
    // A second in the future is clock skew between two readings; more is a wrong clock, and says so.
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let seconds = seconds.max(0);
    let (minutes, hours, days, years) = (seconds / 60, seconds / 3600, seconds / 86_400, seconds / 86_400 / 365);
    let two = |big: i64, big_unit: char, small: i64, small_unit: char| {
        if small == 0 { format!("{big}{big_unit}") } else { format!("{big}{big_unit}{small}{small_unit}") }
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => two(days, 'd', hours % 24, 'h'),
        () if years < 2 => format!("{days}d"),
        () if years < 8 => two(years, 'y', days % 365, 'd'),
        () => format!("{years}y"),
    }
}

/// The age of an RFC 3339 time at `now` (seconds since the epoch); `<unknown>` for anything else.
pub fn age(then: &str, now: i64) -> String {
    match parse(then) {
        Ok(then) => human_duration(now.saturating_sub(then.as_second())),
        Err(_) => "<unknown>".to_owned(),
    }
}

#[cfg(test)]
mod tests;
