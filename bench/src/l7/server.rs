//! The servers: nginx with one worker for HTTP, and Ambit's own test server for gRPC.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::Tools;
use super::peer::{GRPC_PORT, HTTP_PORT, nginx};
use super::scenario::Body;

/// Writes what the server of that name needs under `dir`; returns the command that runs it.
///
/// # Errors
/// A file cannot be written.
pub(super) fn command(
    dir: &Path,
    name: &str,
    (tools, echo): (&Tools, &Path),
) -> anyhow::Result<Vec<String>> {
    let own = dir.join(name);
    fs::create_dir_all(&own).with_context(|| format!("cannot create {}", own.display()))?;
    let write = |file: &str, content: &[u8]| {
        let file = own.join(file);
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))
    };
    let mut locations = String::new();
    for body in Body::ALL {
        write(body.name(), &vec![b'x'; body.bytes()])?;
        locations.push_str(&format!("location ~ /{0}$ {{ rewrite ^ /{0} break; }}\n", body.name()));
    }
    let shown = own.display();
    let config = format!(
        "{}http {{\n{}open_file_cache max=8; default_type text/plain;\n\
         server {{ listen {HTTP_PORT}; root {shown};\n{locations}}}\n}}\n",
        nginx::main(&own, 1),
        nginx::lasting(&own),
    );
    write("nginx.conf", config.as_bytes())?;
    let run = format!(
        "{echo} serve --grpc {GRPC_PORT} & exec {nginx} -e {shown}/errors -p {shown} -c {shown}/nginx.conf",
        echo = echo.display(),
        nginx = tools.nginx.display(),
    );
    Ok(["sh", "-c", &run].map(str::to_owned).to_vec())
}
