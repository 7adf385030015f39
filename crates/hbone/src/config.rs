//! HTTP/2 parameters of both sides.

use std::time::Duration;

use crate::Pressure;
use crate::client::UNTOLD;

/// HTTP/2 parameters. The defaults are those of Istio's ztunnel except where a field says why not.
#[derive(Clone, Debug)]
pub struct Config {
    /// Receive window of one stream, bytes (`HTTP2_STREAM_WINDOW_SIZE`).
    pub stream_window: u32,
    /// Receive window of a connection, bytes (`HTTP2_CONNECTION_WINDOW_SIZE`).
    ///
    /// Upstream's 16 MiB let four stalled streams freeze all others of their connection. Ours is more than twice what
    /// streams that wait may hold, whose windows [shrink](crate::Pressure), so that a stream can only stall itself; and
    /// it bounds what a peer can make us hold that does not heed smaller windows.
    pub connection_window: u32,
    /// Largest DATA frame accepted and sent, bytes (`HTTP2_FRAME_SIZE`).
    pub frame_size: u32,
    /// Streams that a client opens on one connection (`POOL_MAX_STREAMS_PER_CONNECTION`).
    pub client_max_streams: usize,
    /// Streams that a server lets its peer open.
    pub server_max_streams: u32,
    /// Bytes buffered for sending on one stream.
    pub send_buffer: usize,
    /// How long a peer may take for the answer to a CONNECT; longer than its own dial to the application may take.
    pub answer_timeout: Duration,
    /// Time between PINGs.
    pub ping_interval: Duration,
    /// Time to wait for a PING's answer before the connection counts as dead.
    pub ping_timeout: Duration,
    /// How long a pooled connection without streams is kept (`POOL_UNUSED_RELEASE_TIMEOUT`).
    pub idle_timeout: Duration,
    /// What connections share whose streams' windows shrink together.
    pub pressure: Pressure,
}

impl Default for Config {
    fn default() -> Self {
        const MIB: u32 = 1 << 20;
        Self {
            stream_window: 4 * MIB,
            connection_window: 256 * MIB,
            frame_size: MIB,
            client_max_streams: 100,
            server_max_streams: 200,
            send_buffer: 400 << 10,
            answer_timeout: Duration::from_secs(20),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(300),
            pressure: Pressure::default(),
        }
    }
}

impl Config {
    pub(crate) fn server(&self) -> h2::server::Builder {
        let mut builder = h2::server::Builder::new();
        builder
            .initial_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window)
            .max_frame_size(self.frame_size)
            .max_header_list_size(64 << 10)
            .max_concurrent_streams(self.server_max_streams)
            .max_send_buffer_size(self.send_buffer);
        builder
    }

    pub(crate) fn client(&self) -> h2::client::Builder {
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window)
            .max_frame_size(self.frame_size)
            .max_header_list_size(16 << 10)
            .initial_max_send_streams(UNTOLD)
            .max_send_buffer_size(self.send_buffer)
            .enable_push(false);
        builder
    }
}
