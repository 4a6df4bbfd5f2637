//! The API's two time formats, and ages as `kubectl get` prints them. (Bodies follow.)
use jiff::Timestamp;

/// A string that is no RFC 3339 time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an RFC 3339 time")]
pub struct TimeError {
    pub text: String,
}

/// Any RFC 3339 time, whatever its offset and precision.
pub fn parse(_text: &str) -> Result<Timestamp, TimeError> {
    unimplemented!()
}
/// `metav1.Time`: `2026-01-02T03:04:05Z`.
pub fn format_time(_t: Timestamp) -> String {
    unimplemented!()
}
/// `metav1.MicroTime`: `2026-01-02T03:04:05.000006Z`.
pub fn format_micro_time(_t: Timestamp) -> String {
    unimplemented!()
}
/// A duration in the form of `AGE` columns: `5s`, `2m10s`, `3h`, `4d2h`.
pub fn human_duration(_seconds: i64) -> String {
    unimplemented!()
}
/// The age of an RFC 3339 time at `now` (seconds since the epoch); `<unknown>` for anything else.
pub fn age(_then: &str, _now: i64) -> String {
    unimplemented!()
}
