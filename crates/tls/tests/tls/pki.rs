//! Certificate authorities, leaves and links for the tests.

use std::time::{Duration, SystemTime};

use ambit_model::Identity;
use ambit_tls::pem::encode;
use ambit_tls::{
    ClientStream, Credential, CredentialPem, Revocations, ServerStream, TlsError, accept, connect,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A certificate authority with a name of its own choice.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    /// Intermediates from here to the root.
    chain: String,
    roots: String,
    serial: u8,
}

/// A leaf to be.
pub(crate) struct Leaf {
    pub(crate) uris: Vec<String>,
    pub(crate) usages: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) from: SystemTime,
    pub(crate) until: SystemTime,
    pub(crate) serial: u8,
}

pub(crate) fn identity(namespace: &str, account: &str) -> Identity {
    Identity::new("cluster.local", namespace, account)
}

impl Leaf {
    pub(crate) fn of(identity: &Identity) -> Self {
        let now = SystemTime::now();
        Self {
            uris: vec![identity.to_string()],
            usages: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            from: now - HOUR,
            until: now + HOUR,
            serial: 77,
        }
    }
}

impl Authority {
    pub(crate) fn root(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = ca_params(name, 1);
        let pem = encode("CERTIFICATE", params.self_signed(&key).unwrap().der());
        let roots = pem.clone();
        Self { issuer: Issuer::new(params, key), pem, chain: String::new(), roots, serial: 1 }
    }

    pub(crate) fn intermediate(&self, name: &str, serial: u8) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = ca_params(name, serial);
        let pem = encode("CERTIFICATE", params.signed_by(&key, &self.issuer).unwrap().der());
        let chain = format!("{pem}{}", self.chain);
        let roots = self.roots.clone();
        Self { issuer: Issuer::new(params, key), pem, chain, roots, serial }
    }

    /// The serial number of its own certificate.
    pub(crate) fn serial(&self) -> u8 {
        self.serial
    }

    pub(crate) fn issue(&self, leaf: &Leaf) -> CredentialPem {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let uri = |uri: &String| SanType::URI(uri.as_str().try_into().unwrap());
        params.subject_alt_names = leaf.uris.iter().map(uri).collect();
        params.extended_key_usages = leaf.usages.clone();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.not_before = leaf.from.into();
        params.not_after = leaf.until.into();
        params.serial_number = Some(SerialNumber::from_slice(&[leaf.serial]));
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        CredentialPem {
            chain: format!("{}{}", encode("CERTIFICATE", certificate.der()), self.chain),
            key: key.serialize_pem(),
            roots: self.roots.clone(),
        }
    }

    pub(crate) fn credential(&self, identity: &Identity) -> Credential {
        build(self.issue(&Leaf::of(identity)))
    }

    pub(crate) fn crl(&self, serials: &[u8]) -> String {
        let now = SystemTime::now();
        let params = CertificateRevocationListParams {
            this_update: (now - HOUR).into(),
            next_update: (now + HOUR).into(),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: serials
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(&[*serial]),
                    revocation_time: (now - HOUR).into(),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        encode("X509 CRL", params.signed_by(&self.issuer).unwrap().der())
    }

    /// `leaf`, as it would look to somebody who trusts the roots of `roots` too.
    pub(crate) fn issue_trusting(&self, leaf: &Leaf, roots: &[&Authority]) -> CredentialPem {
        let roots = roots.iter().map(|root| root.roots.as_str()).collect();
        CredentialPem { roots, ..self.issue(leaf) }
    }
}

fn ca_params(name: &str, serial: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(SerialNumber::from_slice(&[serial]));
    params.not_before = (SystemTime::now() - 10 * HOUR).into();
    params.not_after = (SystemTime::now() + 10 * HOUR).into();
    params.use_authority_key_identifier_extension = true;
    params
}

pub(crate) fn build(pem: CredentialPem) -> Credential {
    Credential::from_pem(pem, &Revocations::none()).unwrap()
}

pub(crate) fn build_with(pem: CredentialPem, revocations: &Revocations) -> Credential {
    Credential::from_pem(pem, revocations).unwrap()
}

pub(crate) async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, server) = tokio::join!(client, listener.accept());
    (client.unwrap(), server.unwrap().0)
}

/// What each side thinks of a handshake. A client learns of the server's refusal with its first read only.
pub(crate) struct Outcome {
    pub(crate) server: Result<(), TlsError>,
    pub(crate) client: Result<(), TlsError>,
}

/// Runs a handshake and sends a byte in both directions.
pub(crate) async fn meet<S>(
    server: &Credential,
    client: &Credential,
    expected: &[Identity],
    (near, far): (S, S),
) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let serving = async {
        let mut stream: ServerStream<S> = accept(server, far).await?;
        let byte = stream.read_u8().await?;
        stream.write_u8(byte + 1).await?;
        stream.flush().await?;
        // Until the client has read its answer, or a reset could overtake it.
        let _ = stream.read_u8().await;
        Ok(())
    };
    let dialling = async {
        let mut stream: ClientStream<S> = connect(client, expected, near).await?;
        stream.write_u8(41).await?;
        stream.flush().await?;
        assert_eq!(stream.read_u8().await?, 42);
        Ok(())
    };
    let (server, client) = tokio::join!(serving, dialling);
    Outcome { server, client }
}

/// `meet` over TCP and over memory, which must agree.
pub(crate) async fn meet_twice(
    server: &Credential,
    client: &Credential,
    expected: &[Identity],
) -> Outcome {
    let over_memory = meet(server, client, expected, tokio::io::duplex(64 * 1024)).await;
    let over_tcp = meet(server, client, expected, tcp().await).await;
    let reason = |result: &Result<(), TlsError>| result.as_ref().err().map(TlsError::reason);
    assert_eq!(reason(&over_memory.server), reason(&over_tcp.server));
    assert_eq!(over_memory.client.is_ok(), over_tcp.client.is_ok());
    over_tcp
}

pub(crate) fn reason(result: &Result<(), TlsError>) -> &'static str {
    result.as_ref().err().map_or("ok", TlsError::reason)
}
