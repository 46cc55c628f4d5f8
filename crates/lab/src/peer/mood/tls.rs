//! Who a TLS server of a testbed says it is. Any thread.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, Result};

/// A certificate and its key, which are no secret: see the words in the file.
const TEST_ONLY: &[u8] = include_bytes!("test-only.pem");

/// The certificate and what follows from it, made once.
pub(super) fn identity() -> Result<Arc<ServerConfig>> {
    static MADE: OnceLock<Result<Arc<ServerConfig>, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| make().map(Arc::new).map_err(|error| error.to_string()));
    made.clone().map_err(|text| Error::System {
        doing: "reading the certificate of TLS servers".into(),
        source: io::Error::other(text),
    })
}

fn make() -> std::result::Result<ServerConfig, Box<dyn std::error::Error>> {
    let certificate = CertificateDer::from_pem_slice(TEST_ONLY)?;
    let key = PrivateKeyDer::from_pem_slice(TEST_ONLY)?;
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    Ok(builder.with_single_cert(vec![certificate], key)?)
}
