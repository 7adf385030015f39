//! What the fuzz targets call; nothing else does.

mod http1;
mod pieces;
mod resources;

pub use http1::http1_request;
pub use pieces::{
    client_hello, detection, grpc_messages, header_edit, path_edit, request_head, sticky_cookie,
    trace_context,
};
pub use resources::{listener, request_policy, route, traffic_policy};
