//! A certificate for `localhost`, and who trusts it.

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::sync::Arc;

/// Both sides of a TLS connection.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate, which has signed itself.
    pub certificate: CertificateDer<'static>,
    /// Has its key.
    pub server: Arc<ServerConfig>,
    /// Trusts it, and nobody else.
    pub client: Arc<ClientConfig>,
}

impl Tls {
    /// With a new key.
    pub fn new() -> Tls {
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let certificate = signed.cert.der().clone();
        let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).expect("a key");
        let server = ServerConfig::builder().with_no_client_auth();
        let server = server
            .with_single_cert(vec![certificate.clone()], key)
            .expect("they belong together");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("a certificate");
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Tls {
            certificate,
            server: Arc::new(server),
            client: Arc::new(client),
        }
    }
}

impl Default for Tls {
    fn default() -> Tls {
        Tls::new()
    }
}
