//! The one cryptographic provider: which ciphers and key exchanges this mesh speaks.

use std::sync::{Arc, LazyLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};

/// TLS 1.3 alone, as every ambient proxy speaks it.
pub(crate) const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// HTTP/2 in ALPN, the only protocol inside the mesh's TLS.
pub(crate) const ALPN_H2: &[u8] = b"h2";

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_AES_128_GCM_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1],
        ..default_provider()
    })
});

/// AES-GCM only (256 before 128), X25519MLKEM768 before X25519 before P-256; aws-lc underneath.
///
/// Upstream's proxies accept the same two ciphers and no ChaCha20.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}
