//! The local API of the agent: pods come and go by one JSON object a line over a Unix socket.
//!
//! `{"add":{…}}` and `{"remove":{"uid":"…"}}` are answered by `{"ok":true}` or `{"error":"…"}`, in order, once the pod
//! is captured and served, or let go.

mod client;
mod server;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use client::{ControlClient, ControlError};
pub(crate) use server::{ControlServer, Refusal, Requests, bind_private};

use crate::pod::PodSpec;

/// The longest line, in bytes.
const MAX_LINE: usize = 64 * 1024;

/// What a pod source asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Request {
    /// Capture and serve a pod. Asked again, it is verified that it is; asked with changes, they take effect.
    Add(PodSpec),
    /// Let a pod go. One that is not known is gone already.
    #[serde(rename_all = "camelCase")]
    Remove {
        /// The pod's UID.
        uid: String,
        /// Whether it lives on without the mesh, so that its rules have to be taken out.
        #[serde(default = "yes")]
        alive: bool,
    },
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Reply {
    /// It is done.
    Ok(bool),
    /// It is not.
    Error(String),
}

fn yes() -> bool {
    true
}

/// Where the socket is.
pub(crate) fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join("control.sock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_documented() {
        let add = r#"{"add":{"uid":"u","name":"cart","namespace":"shop","serviceAccount":"sa","netns":"/run/netns/c"}}"#;
        let Request::Add(spec) = serde_json::from_str(add).unwrap() else { unreachable!() };
        assert_eq!((spec.uid.as_str(), spec.dns_capture), ("u", None));
        assert_eq!(
            serde_json::from_str::<Request>(r#"{"remove":{"uid":"u"}}"#).unwrap(),
            Request::Remove { uid: "u".into(), alive: true }
        );
        assert_eq!(serde_json::to_string(&Reply::Ok(true)).unwrap(), r#"{"ok":true}"#);
        let error = Reply::Error("no".into());
        assert_eq!(serde_json::to_string(&error).unwrap(), r#"{"error":"no"}"#);
        for wrong in [
            "",
            "{}",
            "null",
            r#"{"add":{}}"#,
            r#"{"remove":{}}"#,
            r#"{"remove":{"uid":"u","force":true}}"#,
            r#"{"purge":{"uid":"u"}}"#,
            r#"{"remove":{"uid":"u"},"add":{}}"#,
        ] {
            assert!(serde_json::from_str::<Request>(wrong).is_err(), "{wrong}");
        }
    }
}
