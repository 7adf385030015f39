//! The mesh's programs, to be looked at, stopped and started.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Sandbox;
use crate::error::Error;
use crate::http::Response;
use crate::mesh::{Component, Mesh, Order};

impl Sandbox {
    /// The process of a program of the mesh, while it runs.
    ///
    /// # Errors
    /// There is no such program.
    pub fn component_pid(&self, component: &Component) -> Result<Option<u32>, Error> {
        let pid = self.mesh()?.get(component)?.pid();
        Ok(pid.and_then(|pid| u32::try_from(pid.as_raw()).ok()))
    }

    /// The end of what a program of the mesh wrote.
    ///
    /// # Errors
    /// There is no such program.
    pub fn component_log(&self, component: &Component) -> Result<String, Error> {
        Ok(self.mesh()?.get(component)?.log().text())
    }

    /// What a program of the mesh answers on a port of its loopback: status and body.
    ///
    /// # Errors
    /// There is no such program, or it does not answer.
    pub async fn get(
        &self,
        component: &Component,
        port: u16,
        path: &str,
    ) -> Result<(u16, String), Error> {
        let node = match component {
            Component::Controller => None,
            Component::Agent(node) | Component::Ztunnel(node) => Some(self.node(node)?.clone()),
        };
        let (fabric, path) = (self.fabric.clone(), path.to_owned());
        let ask = async move {
            let room = node.as_ref().map_or(&*fabric, |node| node.room());
            crate::http::get(room, port, &path).await
        };
        self.answer(ask, &component.to_string()).await
    }

    /// What a pod (see [`Sandbox::pod`]) answers on a port of its loopback, e.g. a waypoint with its metrics: status
    /// and body.
    ///
    /// # Errors
    /// There is no such pod, or it does not answer.
    pub async fn get_from_pod(
        &self,
        pod: &str,
        port: u16,
        path: &str,
    ) -> Result<(u16, String), Error> {
        let (handle, path) = (self.pod(pod)?, path.to_owned());
        let ask = async move { crate::http::get(handle.room(), port, &path).await };
        self.answer(ask, pod).await
    }

    async fn answer(
        &self,
        ask: impl Future<Output = io::Result<Response>> + Send + 'static,
        who: &str,
    ) -> Result<(u16, String), Error> {
        let answer = self.runtime.spawn(ask).await.map_err(|_| Error::Stopping)?;
        let failed = |source| Error::Start { program: format!("a request to {who}"), source };
        let response = answer.map_err(failed)?;
        Ok((response.status, String::from_utf8_lossy(&response.body).into_owned()))
    }

    /// Ends a program of the mesh by SIGTERM, within `grace`, and leaves it so until [`Sandbox::start_component`].
    ///
    /// # Errors
    /// There is no such program.
    pub async fn stop_component(
        &self,
        component: &Component,
        grace: Duration,
    ) -> Result<(), Error> {
        self.mesh()?.get(component)?.order(Order::Stop(grace)).await;
        Ok(())
    }

    /// Starts a program of the mesh that was stopped.
    ///
    /// # Errors
    /// There is no such program.
    pub async fn start_component(&self, component: &Component) -> Result<(), Error> {
        self.mesh()?.get(component)?.order(Order::Start).await;
        Ok(())
    }

    /// Kills a program of the mesh by SIGKILL; it is started again at once.
    ///
    /// # Errors
    /// There is no such program.
    pub async fn kill_component(&self, component: &Component) -> Result<(), Error> {
        self.mesh()?.get(component)?.order(Order::Kill).await;
        Ok(())
    }

    /// Starts a second instance of a program beside the first, and ends the first, by SIGTERM and within `grace`, when
    /// the second has had `overlap` to take over: an upgrade.
    ///
    /// # Errors
    /// There is no such program.
    pub async fn replace_component(
        &self,
        component: &Component,
        overlap: Duration,
        grace: Duration,
    ) -> Result<(), Error> {
        self.mesh()?.get(component)?.order(Order::Replace { overlap, grace }).await;
        Ok(())
    }

    fn mesh(&self) -> Result<&Arc<Mesh>, Error> {
        let unknown = || Error::Unknown { kind: "program", name: "of the mesh".to_owned() };
        self.mesh.as_ref().ok_or_else(unknown)
    }
}
