//! `/apis/kapell.dev/v1alpha1/namespaces/NAMESPACE/cloudevents`: the event log of a namespace over HTTP.
//!
//! `POST` publishes what the request holds, in the modes of the CloudEvents HTTP binding, and answers when it is synced. With
//! `?run=NAME` it is sent to that run alone.
//! `GET` reads from a position on.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use http::{Method, Response, StatusCode};
use kapell_api::status::Status;
use kapell_apiserver::{Feed, FeedRequest};
use kapell_workflow::{Engine, EventsError, IngestError, PublishError, SignalError};
use serde_json::{Value, json};

/// Events in one answer, unless fewer are asked for.
const MOST: usize = 1_000;

pub(crate) struct CloudEvents(pub(crate) Arc<Engine>);

#[async_trait]
impl Feed for CloudEvents {
    async fn answer(&self, request: FeedRequest) -> Result<Response<Body>, Status> {
        match request.method {
            Method::POST if request.query.get("run").is_some() => {
                let run = request.query.get("run").unwrap_or_default();
                let accepted = self.0.signal(&request.namespace, run, &request.headers, &request.body).await;
                answer(StatusCode::ACCEPTED, &json!({ "accepted": accepted.map_err(|error| unsent(&error))? }))
            }
            Method::POST => {
                let accepted = self.0.ingest(&request.namespace, &request.headers, &request.body).await;
                answer(StatusCode::ACCEPTED, &json!({ "accepted": accepted.map_err(|error| refusal(&error))? }))
            }
            Method::GET => {
                let number = |key: &str| match request.query.get(key).map(str::parse::<u64>) {
                    None => Ok(None),
                    Some(Ok(number)) => Ok(Some(number)),
                    Some(Err(_)) => Err(Status::bad_request(format!("{key}: must be a whole number from 0 on"))),
                };
                let limit = number("limit")?.map_or(MOST, |limit| usize::try_from(limit).unwrap_or(MOST).min(MOST));
                let events = self.0.events(&request.namespace, number("from")?.unwrap_or_default(), limit).await;
                answer(StatusCode::OK, &events.map_err(|error| Status::internal(error.to_string()))?)
            }
            _ => Err(Status { code: 405, ..Status::bad_request("cloudevents can be read (GET) and published (POST)") }),
        }
    }
}

fn answer(code: StatusCode, body: &Value) -> Result<Response<Body>, Status> {
    let response = Response::builder().status(code).header("content-type", "application/json");
    response.body(Body::from(body.to_string())).map_err(|error| Status::internal(error.to_string()))
}

fn no_events(error: &IngestError) -> Status {
    match error.status() {
        413 => Status::too_large(error.to_string()),
        415 => Status { message: error.to_string(), ..Status::unsupported_media_type(&[]) },
        _ => Status::bad_request(error.to_string()),
    }
}

fn unsent(error: &SignalError) -> Status {
    match error {
        SignalError::Ingest(error) => no_events(error),
        SignalError::NoRun { .. } => {
            Status { code: 404, reason: "NotFound".to_owned(), ..Status::bad_request(error.to_string()) }
        }
        SignalError::Ended { .. } | SignalError::TooMany => {
            Status { code: 409, reason: "Conflict".to_owned(), ..Status::bad_request(error.to_string()) }
        }
        SignalError::Contended => Status::too_many_requests(error.to_string(), 1),
        SignalError::Api(cause) => match cause.as_ref() {
            kube::Error::Api(status) => Status {
                code: status.code,
                reason: status.reason.clone(),
                ..Status::bad_request(status.message.clone())
            },
            _ => Status::internal(error.to_string()),
        },
    }
}

fn refusal(error: &EventsError) -> Status {
    match error {
        EventsError::Ingest(error) => no_events(error),
        EventsError::Publish(error @ (PublishError::Full { .. } | PublishError::Busy(_))) => {
            Status::too_many_requests(error.to_string(), 1)
        }
        EventsError::Publish(error) => {
            tracing::error!(error = error as &dyn std::error::Error, "events cannot be published");
            Status::internal(error.to_string())
        }
    }
}
