//! The one cryptographic library: which ciphers and key exchanges are spoken in the mesh, and outside it.

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

static OUTSIDE: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let kx_groups =
        vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
    Arc::new(CryptoProvider { kx_groups, ..default_provider() })
});

/// Every cipher of TLS 1.3, and those of TLS 1.2 that keep what was said secret for ever (ECDHE with AES-GCM or ChaCha20):
/// for clients and servers that are no part of the mesh.
pub(crate) fn outside() -> Arc<CryptoProvider> {
    Arc::clone(&OUTSIDE)
}

/// AES-GCM only (256 before 128), X25519MLKEM768 before X25519 before P-256; aws-lc underneath.
///
/// Upstream's proxies accept the same two ciphers and no ChaCha20.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}
