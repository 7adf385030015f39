//! nginx: weighted upstreams, `proxy_next_upstream` and `limit_except`.

use std::net::IpAddr;
use std::path::Path;

use super::{GRPC_PORT, GRPC_PREFIX, HTTP_PORT, RETRIES, THREADS, Task, WEIGHTS, prefix, write};

pub(super) fn configure(dir: &Path, task: &Task) -> anyhow::Result<Vec<String>> {
    let file = dir.join("nginx.conf");
    let mut http = String::new();
    for route in 0..task.routes {
        http.push_str(&format!(
            "location {} {{ {ACCESS} proxy_pass http://http; }}\n",
            prefix(route)
        ));
    }
    let retries = format!(
        "proxy_next_upstream error http_503; proxy_next_upstream_tries {tries};\n\
         grpc_next_upstream error http_503; grpc_next_upstream_tries {tries};\n",
        tries = RETRIES + 1
    );
    let main = main(dir, THREADS);
    let (to_http, to_grpc) = (upstream("http", task, HTTP_PORT), upstream("grpc", task, GRPC_PORT));
    write(
        &file,
        format!(
            "{main}\
             http {{\n\
             {}{retries}{to_http}{to_grpc}\
             proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_buffering on;\n\
             server {{ listen {HTTP_PORT};\n{http}}}\n\
             server {{ listen {GRPC_PORT} http2;\n\
             location {GRPC_PREFIX} {{ {ACCESS} grpc_pass grpc://grpc; }} }}\n\
             }}\n",
            lasting(dir)
        ),
    )?;
    let dir = dir.display();
    Ok(vec![
        "-e".to_owned(),
        format!("{dir}/errors"),
        "-p".to_owned(),
        dir.to_string(),
        "-c".to_owned(),
        file.display().to_string(),
    ])
}

const ACCESS: &str = "limit_except GET POST { deny all; }";

/// What comes before the part about HTTP.
pub(in crate::l7) fn main(dir: &Path, workers: usize) -> String {
    format!(
        "daemon off; user root; worker_processes {workers}; pid {}/pid;\n\
         events {{ worker_connections 4096; }}\n",
        dir.display()
    )
}

/// No log, directories of its own, connections that are kept.
pub(in crate::l7) fn lasting(dir: &Path) -> String {
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {}/{name};\n", dir.display()));
    format!(
        "access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;\n\
         http2_max_concurrent_streams 1024;\n{}",
        paths.concat()
    )
}

fn upstream(name: &str, task: &Task, port: u16) -> String {
    let server =
        |(address, weight): (&IpAddr, u32)| format!("server {address}:{port} weight={weight};");
    let servers: Vec<_> = task.servers.iter().zip(WEIGHTS).map(server).collect();
    format!(
        "upstream {name} {{ {} keepalive 256; keepalive_requests 1000000000; }}\n",
        servers.join(" ")
    )
}
