//! A session with the cluster, and its TLS.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::statement::Consistency;
use secrecy::ExposeSecret;

use super::config::{ScyllaConfig, TlsConfig};
use super::failure::Failure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects, and makes sure that the datacenter is there.
pub(super) async fn connect(config: &ScyllaConfig) -> Result<Session, Failure> {
    let policy = DefaultPolicy::builder()
        .prefer_datacenter(config.datacenter.clone())
        .token_aware(true)
        .permit_dc_failover(false)
        .build();
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .request_timeout(Some(config.request_timeout()))
        .load_balancing_policy(policy)
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.nodes)
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(CONNECT_TIMEOUT)
        .keepalive_interval(KEEPALIVE_INTERVAL)
        .keepalive_timeout(KEEPALIVE_TIMEOUT)
        .fetch_schema_metadata(true);
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        builder = builder.user(user, password.expose_secret());
    }
    if let Some(tls) = &config.tls {
        let client = encrypted(tls).map_err(Failure::Refused)?;
        builder = builder.tls_context(Some(Arc::new(client)));
    }
    let session = builder.build().await?;
    let state = session.get_cluster_state();
    let mut known: Vec<&str> =
        state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()).collect();
    known.sort_unstable();
    known.dedup();
    if !known.contains(&config.datacenter.as_str()) {
        return Err(Failure::Refused(format!(
            "it has no datacenter \"{}\": set `datacenter` to one of {}",
            config.datacenter,
            known.join(", ")
        )));
    }
    Ok(session)
}

/// How many nodes the datacenter has.
pub(super) fn nodes(session: &Session, datacenter: &str) -> usize {
    let state = session.get_cluster_state();
    let is_there = |name: &Option<String>| name.as_deref() == Some(datacenter);
    state.get_nodes_info().iter().filter(|node| is_there(&node.datacenter)).count()
}

fn encrypted(tls: &TlsConfig) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.certificate)? {
        roots
            .add(certificate)
            .map_err(|error| format!("`tls.certificate` {}: {error}", tls.certificate.display()))?;
    }
    let roots = Arc::new(roots);
    let builder = ClientConfig::builder().with_root_certificates(roots.clone());
    let mut client = match (&tls.client_certificate, &tls.client_key) {
        (Some(certificate), Some(key)) => {
            let ours = certificates(certificate)?;
            let wrong = |error: &dyn std::fmt::Display| {
                format!("`tls.client_key` {}: {error}", key.display())
            };
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(&error))?;
            builder.with_client_auth_cert(ours, key).map_err(|error| wrong(&error))?
        }
        _ => builder.with_no_client_auth(),
    };
    if let Some(name) = &tls.server_name {
        let name = ServerName::try_from(name.clone())
            .map_err(|error| format!("`tls.server_name` \"{name}\": {error}"))?;
        let inner =
            WebPkiServerVerifier::builder(roots).build().map_err(|error| error.to_string())?;
        client.dangerous().set_certificate_verifier(Arc::new(Named { inner, name }));
    }
    Ok(client)
}

fn certificates(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("`tls`: {}: {error}", path.display());
    let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
    let found: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| wrong(&error))?;
    if found.is_empty() { Err(wrong(&"there is no certificate in it")) } else { Ok(found) }
}

/// Compares certificates with a name of the configuration: the driver knows nodes by their IP
/// addresses, which are in few certificates.
#[derive(Debug)]
struct Named {
    inner: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
