//! Addresses, and names that stand for some.

use super::look_up::look_up;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Instant;

/// What counts as an address, or as several: as in the standard library.
///
/// Sealed: a name has to be handed over to a thread that looks it up, which the trait of the standard library does not provide for.
/// Text is `"host:port"`.
pub trait ToSocketAddrs: sealed::Target {}

impl<T: sealed::Target + ?Sized> ToSocketAddrs for T {}

/// Addresses, or a name of some.
#[derive(Debug, PartialEq)]
pub enum Named {
    Addresses(Vec<SocketAddr>),
    Host(String, u16),
}

mod sealed {
    use super::{Named, io};

    pub trait Target {
        fn named(&self) -> io::Result<Named>;
    }
}
use sealed::Target;

macro_rules! addresses {
    ($($Type:ty),*) => {$(
        impl Target for $Type {
            fn named(&self) -> io::Result<Named> {
                Ok(Named::Addresses(vec![(*self).into()]))
            }
        }
    )*};
}
addresses!(
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16)
);

impl Target for [SocketAddr] {
    fn named(&self) -> io::Result<Named> {
        Ok(Named::Addresses(self.to_vec()))
    }
}

impl<const N: usize> Target for [SocketAddr; N] {
    fn named(&self) -> io::Result<Named> {
        self[..].named()
    }
}

impl Target for Vec<SocketAddr> {
    fn named(&self) -> io::Result<Named> {
        self[..].named()
    }
}

impl Target for (&str, u16) {
    fn named(&self) -> io::Result<Named> {
        Ok(match self.0.parse::<IpAddr>() {
            Ok(ip) => Named::Addresses(vec![(ip, self.1).into()]),
            Err(_) => Named::Host(self.0.into(), self.1),
        })
    }
}

impl Target for (String, u16) {
    fn named(&self) -> io::Result<Named> {
        (self.0.as_str(), self.1).named()
    }
}

impl Target for str {
    fn named(&self) -> io::Result<Named> {
        if let Ok(address) = self.parse::<SocketAddr>() {
            return address.named();
        }
        let parts = self
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)));
        parts
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{self:?} is no address: write host:port"),
                )
            })?
            .named()
    }
}

impl Target for String {
    fn named(&self) -> io::Result<Named> {
        self.as_str().named()
    }
}

impl<T: Target + ?Sized> Target for &T {
    fn named(&self) -> io::Result<Named> {
        (**self).named()
    }
}

/// The addresses, at least one.
pub(super) fn resolve(of: impl ToSocketAddrs, deadline: Option<Instant>) -> io::Result<Vec<SocketAddr>> {
    let found = match of.named()? {
        Named::Addresses(addresses) => addresses,
        Named::Host(host, port) => look_up(host, port, deadline)?,
    };
    match found.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no address to use")),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_an_address_or_a_name_with_a_port() {
        let one = |text: &str| Named::Addresses(vec![text.parse().unwrap()]);
        assert_eq!("127.0.0.1:80".named().unwrap(), one("127.0.0.1:80"));
        assert_eq!("[::1]:80".named().unwrap(), one("[::1]:80"));
        assert_eq!(("::1", 80).named().unwrap(), one("[::1]:80"));
        assert_eq!("localhost:80".named().unwrap(), Named::Host("localhost".into(), 80));
        for wrong in ["localhost", "localhost:", "localhost:99999", ""] {
            assert_eq!(wrong.named().unwrap_err().kind(), io::ErrorKind::InvalidInput, "{wrong}");
        }
        assert!(resolve(&[][..], None).is_err());
    }
}
