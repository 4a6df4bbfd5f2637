//! Reviews: who somebody is, and what he may do, asked by those who have to know.

use axum::body::Body;
use http::{Response, StatusCode};
use jiff::Timestamp;
use kapell_api::problem::{Problem, Reason};
use kapell_api::status::Status;
use serde_json::{Value, json};

use super::{Call, Engine, name_of};
use crate::auth::Identity;
use crate::auth::token::AUDIENCE;
use crate::authorize::attributes::OnResource;
use crate::authorize::{Action, Decision};
use crate::body::{self, FieldValidation};
use crate::negotiate::{self, Shape};
use crate::reply;
use crate::resources::Resource;

impl Engine {
    pub(super) async fn review(&self, call: &Call, resource: &Resource) -> Result<Response<Body>, Status> {
        let validation = FieldValidation::from_query(&call.query)?;
        body::dry_run(&call.query)?;
        // An answer to a question is no row of a table.
        if negotiate::shape(&call.headers, true) != Some(Shape::Object) {
            return Err(Status::not_acceptable(&["application/json"]));
        }
        let (mut review, warnings) = body::object(resource, &call.headers, &call.body, validation)?;
        let complain = |problem: Problem| Status::invalid(resource.kind, name_of(&review), &[problem]);
        let status = match resource.kind.kind {
            "SelfSubjectReview" => json!({"userInfo": call.identity.user_info()}),
            "TokenReview" => self.review_token(&review["spec"]).await.map_err(complain)?,
            "SelfSubjectAccessReview" => self.review_access(&call.identity, &review["spec"]).map_err(complain)?,
            "SelfSubjectRulesReview" => self.review_rules(&call.identity, &review["spec"]).map_err(complain)?,
            "SubjectAccessReview" => {
                let subject = subject(&review["spec"]).map_err(complain)?;
                self.review_access(&subject, &review["spec"]).map_err(complain)?
            }
            "LocalSubjectAccessReview" => {
                let subject = subject(&review["spec"]).map_err(complain)?;
                local(&review["spec"], call.path.namespace.as_deref()).map_err(complain)?;
                self.review_access(&subject, &review["spec"]).map_err(complain)?
            }
            _ => return Err(Status::no_such_resource()),
        };
        review["status"] = status;
        Ok(reply::value(StatusCode::CREATED, &review, &warnings))
    }

    async fn review_token(&self, spec: &Value) -> Result<Value, Problem> {
        let token = spec["token"].as_str().unwrap_or_default();
        if token.is_empty() {
            return Err(Problem::required("spec.token", ""));
        }
        let texts = spec["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let asked: Vec<String> = texts.map(str::to_owned).collect();
        let own = vec![AUDIENCE.to_owned()];
        let audiences = if asked.is_empty() { &own } else { &asked };
        Ok(match self.authenticator.bearer(token, audiences, Timestamp::now()).await {
            Ok((identity, accepted)) => {
                json!({"authenticated": true, "user": identity.user_info(), "audiences": accepted})
            }
            Err(refusal) => json!({"user": {}, "error": refusal.to_string()}),
        })
    }

    fn review_access(&self, identity: &Identity, spec: &Value) -> Result<Value, Problem> {
        let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
        let decision = match (resource.is_object(), path.is_object()) {
            (true, false) => {
                let on = on_resource(resource)?;
                // `*` as a subresource or group asks for all of them: only a rule for all of them allows that.
                self.authorizer.decide(identity, &Action::Resource(on))
            }
            (false, true) => {
                let (verb, path) = (text(path, "verb"), text(path, "path"));
                self.authorizer.decide(identity, &Action::Path { verb, path })
            }
            _ => {
                let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
                return Err(Problem::invalid("spec.resourceAttributes", "", detail));
            }
        };
        Ok(match decision {
            Decision::Allowed(why) if why.is_empty() => json!({"allowed": true}),
            Decision::Allowed(why) => json!({"allowed": true, "reason": &*why}),
            Decision::NoOpinion(why) if why.is_empty() => json!({"allowed": false}),
            Decision::NoOpinion(why) => json!({"allowed": false, "reason": why}),
        })
    }

    fn review_rules(&self, identity: &Identity, spec: &Value) -> Result<Value, Problem> {
        let namespace = text(spec, "namespace");
        if namespace.is_empty() {
            return Err(Problem::required("spec.namespace", "no namespace on request"));
        }
        let (mut resources, mut paths) = (Vec::new(), Vec::new());
        for rule in self.authorizer.rules(identity, Some(namespace)) {
            let of_paths = !rule.non_resource_urls.is_empty();
            let list = if of_paths { &mut paths } else { &mut resources };
            let rule = json!(rule);
            if !list.contains(&rule) {
                list.push(rule);
            }
        }
        Ok(json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false}))
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn on_resource(attributes: &Value) -> Result<OnResource<'_>, Problem> {
    for selector in ["fieldSelector", "labelSelector"] {
        if attributes[selector].is_object() {
            // Our rules do not look at selectors: the answer is that for the whole collection.
            let valid =
                attributes[selector]["rawSelector"].is_string() || attributes[selector]["requirements"].is_array();
            if !valid {
                let field = format!("spec.resourceAttributes.{selector}.requirements");
                return Err(Problem::required(field, "when rawSelector is unset, requirements must be set"));
            }
        }
    }
    Ok(OnResource {
        verb: text(attributes, "verb"),
        group: text(attributes, "group"),
        version: text(attributes, "version"),
        resource: text(attributes, "resource"),
        subresource: text(attributes, "subresource"),
        namespace: text(attributes, "namespace"),
        name: text(attributes, "name"),
    })
}

/// Whom a review is about. It is asked about as described: no groups are added.
fn subject(spec: &Value) -> Result<Identity, Problem> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let groups = texts(&spec["groups"]);
    let user = text(spec, "user").to_owned();
    if user.is_empty() && groups.is_empty() {
        let detail = "at least one of user or group must be specified";
        return Err(Problem::new("spec.user", Reason::Invalid, format!("Invalid value: \"\": {detail}")));
    }
    let extra = spec["extra"].as_object().into_iter().flatten().map(|(key, values)| (key.clone(), texts(values)));
    Ok(Identity { user, uid: text(spec, "uid").to_owned(), groups, extra: extra.collect(), internal: false })
}

/// A local review is about a resource in its own namespace.
fn local(spec: &Value, namespace: Option<&str>) -> Result<(), Problem> {
    if spec["nonResourceAttributes"].is_object() {
        let detail = "disallowed on this kind of request";
        return Err(Problem::invalid("spec.nonResourceAttributes", "", detail));
    }
    let named = text(&spec["resourceAttributes"], "namespace");
    if Some(named) != namespace {
        let detail = format!("must match metadata.namespace: {}", namespace.unwrap_or_default());
        return Err(Problem::invalid("spec.resourceAttributes.namespace", named, &detail));
    }
    Ok(())
}
