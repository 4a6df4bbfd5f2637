//! Which hosts workflows may call, and where calls really go.
//!
//! A workflow's author says whom to call, with data that may come from strangers; the server's operator says whom a
//! workflow may reach at all. Without a word from the operator these are the cluster's Services and every public
//! address: the machine itself, private and link-local networks (among them the metadata services of clouds) are
//! refused, and the server's own API always is. Names are checked before a call, addresses when the name has been
//! resolved, at the connection itself, so that a name which changes its address gains nothing.
//!
//! A **rewrite** sends the calls for a host somewhere else: to a stand-in for tests, to a proxy, to a Service. Its target
//! is the operator's word and is not checked again.
//!
//! Pure: who resolves names and connects is [`ServiceCaller`](crate::ServiceCaller).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::Uri;
use http::uri::{Authority, PathAndQuery};

/// Marks a request whose destination the operator has chosen, in its extensions: it is not held against the rules.
#[derive(Clone, Copy, Debug)]
pub struct Chosen;

/// The operator's rules.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    /// Calls for a host that go elsewhere.
    pub rewrites: Vec<Rewrite>,
    /// What may be called besides Services and public addresses.
    pub allow: Vec<Target>,
    /// What may not be called, whatever `allow` says.
    pub deny: Vec<Target>,
    /// Where the server's own API listens: never to be called.
    pub own: Vec<SocketAddr>,
}

/// `HOST[:PORT]=URL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    host: String,
    port: Option<u16>,
    scheme: http::uri::Scheme,
    authority: Authority,
    /// Comes before the path of each call.
    prefix: String,
}

/// A host name, `*.` and the end of one, an address, or a network (`10.0.0.0/8`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Host(String),
    Below(String),
    Network { base: IpAddr, bits: u8 },
}

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} may not be called: {why}")]
pub struct Refused {
    what: String,
    why: &'static str,
}

/// Why a setting cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    #[error("{0:?} is not of the form HOST[:PORT]=URL")]
    Rewrite(String),
    #[error("{0:?} is not an http or https URL without query")]
    Url(String),
    #[error("{0:?} is neither a host name, nor an address, nor a network such as 10.0.0.0/8")]
    Target(String),
}

impl Egress {
    /// Where the operator sends calls for this URI; `None` when nobody has said anything about its host.
    pub fn rewritten(&self, uri: &Uri) -> Option<Uri> {
        let host = uri.host()?;
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let fits = |rewrite: &&Rewrite| {
            rewrite.host.eq_ignore_ascii_case(host) && rewrite.port.is_none_or(|wanted| wanted == port)
        };
        let rewrite = self.rewrites.iter().find(fits)?;
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let path = format!("{}{path}", rewrite.prefix);
        Uri::builder()
            .scheme(rewrite.scheme.clone())
            .authority(rewrite.authority.clone())
            .path_and_query(path)
            .build()
            .ok()
    }

    /// Whether a host that is not a Service may be asked for its address, or called if it is an address.
    ///
    /// # Errors
    /// When it may not.
    pub fn check_host(&self, host: &str, port: u16) -> Result<(), Refused> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return self.check_address(host, SocketAddr::new(address, port));
        }
        if self.deny.iter().any(|target| target.names(bare)) {
            return Err(Refused { what: host.to_owned(), why: "the server's egress rules deny it" });
        }
        Ok(())
    }

    /// Whether a call for `host` may connect to this address.
    ///
    /// # Errors
    /// When it may not.
    pub fn check_address(&self, host: &str, address: SocketAddr) -> Result<(), Refused> {
        let ip = canonical(address.ip());
        let refused = |why| {
            let what = if host.contains(&ip.to_string()) { host.to_owned() } else { format!("{host} ({ip})") };
            Err(Refused { what, why })
        };
        let is_own = |own: &SocketAddr| {
            let all_mine = ip.is_loopback() || ip.is_unspecified();
            own.port() == address.port() && (canonical(own.ip()) == ip || (all_mine && own.ip().is_loopback()))
        };
        if self.own.iter().any(is_own) {
            return refused("it is this server's own API");
        }
        if self.deny.iter().any(|target| target.names(host) || target.holds(ip)) {
            return refused("the server's egress rules deny it");
        }
        match special(ip) {
            None => Ok(()),
            Some(_) if self.allow.iter().any(|target| target.names(host) || target.holds(ip)) => Ok(()),
            Some(why) => refused(why),
        }
    }
}

/// An IPv4 address in the clothes of an IPv6 one is what it is.
fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().or_else(|| embedded(v6)).map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

/// The address behind a NAT64 (RFC 6052), 6to4 or IPv4-compatible one.
fn embedded(v6: Ipv6Addr) -> Option<std::net::Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| std::net::Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match [a, b, c, d, e, f] {
        [0x64, 0xff9b, 0, 0, 0, 0] => Some(v4(g, h)),
        [0, 0, 0, 0, 0, 0] if g != 0 => Some(v4(g, h)),
        [0x2002, ..] => Some(v4(b, c)),
        _ => None,
    }
}

/// Why an address is not a public one.
fn special(ip: IpAddr) -> Option<&'static str> {
    const LINK_LOCAL: &str =
        "it is a link-local address, where clouds keep their metadata; the operator can allow it with --egress-allow";
    const LOOPBACK: &str = "it is this machine; the operator can allow it with --egress-allow";
    const PRIVATE: &str = "it is a private address; the operator can allow it with --egress-allow";
    const RESERVED: &str = "it is not an address to call";
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            match (a, b) {
                (127, _) => Some(LOOPBACK),
                (169, 254) => Some(LINK_LOCAL),
                (10, _) | (172, 16..=31) | (192, 168) | (100, 64..=127) => Some(PRIVATE),
                (0, _) | (224..=255, _) | (198, 18..=19) | (192, 0) => Some(RESERVED),
                _ => None,
            }
        }
        IpAddr::V6(v6) => match v6.segments()[0] {
            _ if v6.is_loopback() => Some(LOOPBACK),
            _ if v6.is_unspecified() => Some(RESERVED),
            0xfe80..=0xfebf => Some(LINK_LOCAL),
            0xfc00..=0xfdff | 0xfec0..=0xfeff => Some(PRIVATE),
            0xff00..=0xffff => Some(RESERVED),
            _ => None,
        },
    }
}

impl Target {
    fn names(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        match self {
            Target::Host(name) => *name == host,
            Target::Below(end) => host.strip_suffix(end.as_str()).is_some_and(|rest| rest.ends_with('.')),
            Target::Network { .. } => false,
        }
    }

    fn holds(&self, ip: IpAddr) -> bool {
        let Target::Network { base, bits } = self else { return false };
        let same = |a: u128, b: u128, width: u32| {
            let shift = width - u32::from(*bits);
            shift >= width || a >> shift == b >> shift
        };
        match (base, ip) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => same(u32::from(*base).into(), u32::from(ip).into(), 32),
            (IpAddr::V6(base), IpAddr::V6(ip)) => same((*base).into(), ip.into(), 128),
            _ => false,
        }
    }
}

impl FromStr for Target {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let wrong = || SettingError::Target(text.to_owned());
        if let Ok(base) = text.parse::<IpAddr>() {
            return Ok(Target::Network { base, bits: if base.is_ipv4() { 32 } else { 128 } });
        }
        if let Some((base, bits)) = text.split_once('/') {
            let base: IpAddr = base.parse().map_err(|_| wrong())?;
            let bits: u8 = bits.parse().map_err(|_| wrong())?;
            let most = if base.is_ipv4() { 32 } else { 128 };
            return if bits <= most { Ok(Target::Network { base, bits }) } else { Err(wrong()) };
        }
        let (name, below) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        let label =
            |label: &str| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !name.split('.').all(label) {
            return Err(wrong());
        }
        let name = name.to_ascii_lowercase();
        Ok(if below { Target::Below(name) } else { Target::Host(name) })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Host(name) => f.write_str(name),
            Target::Below(end) => write!(f, "*.{end}"),
            Target::Network { base, bits } => write!(f, "{base}/{bits}"),
        }
    }
}

impl FromStr for Rewrite {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let wrong = || SettingError::Rewrite(text.to_owned());
        let (host, url) = text.split_once('=').ok_or_else(wrong)?;
        let from: Authority = host.parse().map_err(|_| wrong())?;
        let uri: Uri = url.parse().map_err(|_| SettingError::Url(url.to_owned()))?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(SettingError::Url(url.to_owned()));
        };
        let path = parts.path_and_query.as_ref();
        if !matches!(scheme.as_str(), "http" | "https") || path.is_some_and(|path| path.query().is_some()) {
            return Err(SettingError::Url(url.to_owned()));
        }
        let prefix = path.map_or("", PathAndQuery::path).trim_end_matches('/').to_owned();
        Ok(Self { host: from.host().to_owned(), port: from.port_u16(), scheme, authority, prefix })
    }
}

impl fmt::Display for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port.map_or(String::new(), |port| format!(":{port}"));
        write!(f, "{}{port}={}://{}{}", self.host, self.scheme, self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests;
