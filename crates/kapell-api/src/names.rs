//! What things may be called. Each check returns what is wrong, in the API's words; empty means right. (Bodies follow.)
pub fn dns1123_label(_v: &str) -> Vec<String> {
    unimplemented!()
}
pub fn dns1123_subdomain(_v: &str) -> Vec<String> {
    unimplemented!()
}
pub fn dns1035_label(_v: &str) -> Vec<String> {
    unimplemented!()
}
/// Keys of labels and annotations: `[prefix/]name`.
pub fn qualified_name(_v: &str) -> Vec<String> {
    unimplemented!()
}
pub fn label_value(_v: &str) -> Vec<String> {
    unimplemented!()
}
pub fn env_var_name(_v: &str) -> Vec<String> {
    unimplemented!()
}
pub fn port_name(_v: &str) -> Vec<String> {
    unimplemented!()
}
pub fn port_number(_v: i64) -> Vec<String> {
    unimplemented!()
}
/// Keys of ConfigMaps and Secrets.
pub fn config_key(_v: &str) -> Vec<String> {
    unimplemented!()
}
/// `base` and five characters of Kubernetes' name alphabet chosen by `random`.
pub fn generate_name(_base: &str, _random: u64) -> String {
    unimplemented!()
}
/// A string of decimal digits (a hash) in the alphabet of generated names, as `pod-template-hash` is written.
pub fn safe_encode(_digits: &str) -> String {
    unimplemented!()
}
