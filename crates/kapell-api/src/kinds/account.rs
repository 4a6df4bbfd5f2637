//! ServiceAccounts.

use super::cells::{AGE, NAME};
use super::field::{Field, items};
use super::meta::{self, Names};
use super::{PLAIN, schema_of};
use crate::kind::{Column, Kind, Subresource};

pub(super) const SERVICE_ACCOUNT: Kind = Kind {
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    subresources: &[Subresource::Token],
    columns: &[
        NAME,
        Column::new("Secrets", "string", "Number of secrets that its pods may use.", |account, _| {
            items(account, "/secrets").len().into()
        }),
        AGE,
    ],
    schema: || schema_of("io.k8s.api.core.v1.ServiceAccount"),
    validate: |account| meta::validate(&Field::root(account), Names::Subdomain),
    ..PLAIN
};
