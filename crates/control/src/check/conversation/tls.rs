//! TLS around a conversation, or its handshake alone (RFC 5246, RFC 8446).
//!
//! Certificates are not judged: neither who issued them nor whom they name nor until when, and no signature is
//! verified. The question is whether the server serves, not whether it may be trusted; nothing that is secret is ever
//! said. No session is resumed, so that each check is a whole handshake.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use config::{HttpRequest, TlsRequest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection, Resumption};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ALL_VERSIONS, DigitallySignedStruct, Error, SignatureScheme};

use super::http::{Exchange, name_of};
use crate::check::{Outcome, Reason};

static SETTINGS: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(ALL_VERSIONS)
        .expect("ring has cipher suites for TLS 1.2 and 1.3");
    let mut settings =
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate)).with_no_client_auth();
    settings.resumption = Resumption::disabled();
    Arc::new(settings)
});

/// One TLS session as a client.
pub(super) struct Session {
    /// `Err`: the library refuses to begin.
    connection: Result<ClientConnection, Error>,
    inside: Option<Exchange>,
    handshaken: bool,
}

impl Session {
    /// The handshake alone.
    pub(super) fn handshake(request: &TlsRequest, server: SocketAddr) -> Self {
        Self::new(request.server_name.as_deref(), server, None)
    }

    /// HTTP in TLS.
    pub(super) fn https(request: &HttpRequest, server: SocketAddr) -> Self {
        let name = request.host.as_deref().map(name_of);
        Self::new(name, server, Some(Exchange::new(request, server)))
    }

    fn new(name: Option<&str>, server: SocketAddr, inside: Option<Exchange>) -> Self {
        // An address is never sent as a name (RFC 6066, 3).
        let name = name.and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let name = name.unwrap_or_else(|| ServerName::from(server.ip()));
        let connection = ClientConnection::new(SETTINGS.clone(), name);
        Self { connection, inside, handshaken: false }
    }

    pub(super) fn awaited(&self) -> &'static str {
        match &self.inside {
            Some(exchange) if self.handshaken => exchange.awaited(),
            _ => "TLS handshake",
        }
    }

    pub(super) fn opened(&mut self, unsent: &mut Vec<u8>) -> Option<Outcome> {
        match &mut self.connection {
            Ok(connection) => {
                write_out(connection, unsent);
                None
            }
            Err(error) => Some(Outcome::Failure(Reason::Tls(error.to_string()))),
        }
    }

    pub(super) fn received(&mut self, mut bytes: &[u8], unsent: &mut Vec<u8>) -> Option<Outcome> {
        let Ok(connection) = &mut self.connection else { return None };
        let mut outcome = None;
        while outcome.is_none() && !bytes.is_empty() {
            // It takes as much as it has room for, and all of its room is read out below.
            if connection.read_tls(&mut bytes).is_err() {
                break;
            }
            outcome = match connection.process_new_packets() {
                Ok(_) => go_on(connection, self.inside.as_mut(), &mut self.handshaken),
                Err(error) => Some(Outcome::Failure(reason(&error, self.handshaken))),
            };
        }
        if outcome.is_some() {
            connection.send_close_notify();
        }
        write_out(connection, unsent);
        outcome
    }

    pub(super) fn closed(&mut self) -> Outcome {
        match &mut self.inside {
            Some(exchange) if self.handshaken => exchange.closed(),
            _ => Outcome::Failure(Reason::ClosedInHandshake),
        }
    }
}

/// What follows from the records that have come.
fn go_on(
    connection: &mut ClientConnection,
    inside: Option<&mut Exchange>,
    handshaken: &mut bool,
) -> Option<Outcome> {
    if connection.is_handshaking() {
        return None;
    }
    let Some(exchange) = inside else { return Some(Outcome::Success) };
    if !std::mem::replace(handshaken, true) {
        // It goes into a buffer without bound here, and is far shorter than any.
        let written = connection.writer().write_all(exchange.request());
        debug_assert!(written.is_ok());
    }
    let mut buffer = [0; 4_096];
    loop {
        match connection.reader().read(&mut buffer) {
            Ok(0) => return Some(exchange.closed()),
            Ok(length) => {
                if let Some(outcome) = exchange.received(&buffer[..length]) {
                    return Some(outcome);
                }
            }
            // No more for now; or the connection has ended without the end of TLS, which `closed` will say.
            Err(error) => {
                debug_assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::UnexpectedEof));
                return None;
            }
        }
    }
}

fn write_out(connection: &mut ClientConnection, unsent: &mut Vec<u8>) {
    while connection.wants_write() {
        // A vector takes everything.
        if connection.write_tls(unsent).is_err() {
            break;
        }
    }
}

fn reason(error: &Error, handshaken: bool) -> Reason {
    match error {
        Error::InvalidMessage(_) if !handshaken => Reason::NotTls,
        other => Reason::Tls(other.to_string()),
    }
}

/// Takes every certificate. See the module.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
