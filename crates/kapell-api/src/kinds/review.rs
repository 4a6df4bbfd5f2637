//! Reviews: questions about who somebody is and what they may do. They are sent like objects and answered at once;
//! nothing of them is kept, so their rows are in a table of their own.

use super::{PLAIN, schema_of};
use crate::kind::Kind;

const REVIEW: Kind = Kind { namespaced: false, verbs: &["create"], columns: &[], ..PLAIN };

const AUTHENTICATION: Kind = Kind { group: "authentication.k8s.io", ..REVIEW };
const AUTHORIZATION: Kind = Kind { group: "authorization.k8s.io", ..REVIEW };

/// All reviews, in the order in which discovery lists them.
pub static REVIEWS: &[Kind] = &[
    Kind {
        kind: "SelfSubjectReview",
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        schema: || schema_of("io.k8s.api.authentication.v1.SelfSubjectReview"),
        ..AUTHENTICATION
    },
    Kind {
        kind: "TokenReview",
        plural: "tokenreviews",
        singular: "tokenreview",
        schema: || schema_of("io.k8s.api.authentication.v1.TokenReview"),
        ..AUTHENTICATION
    },
    Kind {
        kind: "LocalSubjectAccessReview",
        plural: "localsubjectaccessreviews",
        singular: "localsubjectaccessreview",
        namespaced: true,
        schema: || schema_of("io.k8s.api.authorization.v1.LocalSubjectAccessReview"),
        ..AUTHORIZATION
    },
    Kind {
        kind: "SelfSubjectAccessReview",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        schema: || schema_of("io.k8s.api.authorization.v1.SelfSubjectAccessReview"),
        ..AUTHORIZATION
    },
    Kind {
        kind: "SelfSubjectRulesReview",
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        schema: || schema_of("io.k8s.api.authorization.v1.SelfSubjectRulesReview"),
        ..AUTHORIZATION
    },
    Kind {
        kind: "SubjectAccessReview",
        plural: "subjectaccessreviews",
        singular: "subjectaccessreview",
        schema: || schema_of("io.k8s.api.authorization.v1.SubjectAccessReview"),
        ..AUTHORIZATION
    },
];
