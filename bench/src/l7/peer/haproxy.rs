//! HAProxy: a map from prefix to back end, weights, `retry-on` and `http-request deny`.

use std::path::Path;

use super::{GRPC_PORT, GRPC_PREFIX, HTTP_PORT, RETRIES, THREADS, Task, WEIGHTS, prefix, write};

pub(super) fn configure(dir: &Path, task: &Task) -> anyhow::Result<Vec<String>> {
    let (file, map) = (dir.join("haproxy.cfg"), dir.join("routes"));
    let routes = (0..task.routes).map(|route| format!("{} http\n", prefix(route)));
    write(&map, routes.collect::<String>())?;
    write(
        &file,
        format!(
            "global\n nbthread {THREADS}\n maxconn 4096\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n\
             \x20http-reuse always\n retries {RETRIES}\n retry-on conn-failure empty-response 503\n\
             frontend http\n bind :{HTTP_PORT}\n http-request deny unless {{ method GET POST }}\n\
             \x20use_backend %[path,map_beg({map})]\n\
             frontend grpc\n bind :{GRPC_PORT} proto h2\n http-request deny unless {{ method GET POST }}\n\
             \x20use_backend grpc if {{ path_beg {GRPC_PREFIX} }}\n\
             {}{}",
            back_end("http", task, HTTP_PORT, ""),
            back_end("grpc", task, GRPC_PORT, "proto h2"),
            map = map.display(),
        ),
    )?;
    Ok(vec!["-db".to_owned(), "-q".to_owned(), "-f".to_owned(), file.display().to_string()])
}

fn back_end(name: &str, task: &Task, port: u16, options: &str) -> String {
    let mut text = format!("backend {name}\n balance roundrobin\n");
    for (number, (address, weight)) in task.servers.iter().zip(WEIGHTS).enumerate() {
        text.push_str(&format!(" server s{number} {address}:{port} weight {weight} {options}\n"));
    }
    text
}
