//! The API as its clients see it: in process through a `kube::Client` and through raw requests, over the model store,
//! and over TLS.

mod access;
mod admission;
mod applying;
mod certificates;
mod deletion;
mod discovery;
mod evicting;
mod hostile;
mod listing;
mod objects;
mod observing;
mod subresources;
mod support;
mod tls;
mod validation;
mod versions;
mod watching;
