//! How pods of a service account reach the API: agreements between admission, validation and the agent.

/// Where containers expect the files of their account (`token`, `ca.crt`, `namespace`), as upstream's clients know it.
pub const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The files of an account below [`MOUNT_PATH`].
pub const TOKEN: &str = "token";
pub const ROOT_CERTIFICATE: &str = "ca.crt";
pub const NAMESPACE: &str = "namespace";

/// The ConfigMap of each namespace that holds the certificate, under the key [`ROOT_CERTIFICATE`].
pub const ROOT_CERTIFICATE_MAP: &str = "kube-root-ca.crt";

/// Bounds of a token's life, in seconds, as upstream.
pub const LEAST_TOKEN_SECONDS: i64 = 600;
pub const MOST_TOKEN_SECONDS: i64 = 1 << 32;
