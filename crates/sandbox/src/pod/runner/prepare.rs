//! A pod's containers, made ready to be started.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as k8s;
use tokio::time::sleep;

use super::{Report, Runner};
use crate::log::Log;
use crate::pod::container::{Container, RestartPolicy, pause};
use crate::pod::launch::launch;
use crate::pod::named_ports;
use crate::pod::process::Program;
use crate::pod::status::PodStatus;
use crate::room::Room;

impl Runner {
    /// Makes the containers, after the init containers have run; tries again while something is missing.
    pub(super) async fn furnished(&self, status: &mut PodStatus) -> Vec<Container> {
        let mut failures = 0;
        loop {
            let problem = match self.furnish().await {
                Ok(containers) => {
                    status.obstacle = None;
                    return containers;
                }
                Err(problem) => problem,
            };
            if status.obstacle.as_ref() != Some(&problem) {
                self.report(Report::Problem(problem.clone())).await;
                status.obstacle = Some(problem);
                self.report(Report::Status(status.clone())).await;
            }
            sleep(pause(failures)).await;
            failures += 1;
        }
    }

    async fn furnish(&self) -> Result<Vec<Container>, String> {
        let spec = &self.plan.spec;
        for (index, container) in spec.init_containers.iter().flatten().enumerate() {
            let program = self.program(container, &format!("spec.initContainers[{index}]"))?;
            let log = Log::default();
            let mut child = program.start(&log)?;
            let status = child.wait().await.map_err(|error| error.to_string())?;
            if !status.success() {
                let (name, words) = (&container.name, log.last_words());
                return Err(format!("init container {name} failed with {status}: {words}"));
            }
        }
        let mut containers = Vec::new();
        let mut inside = Vec::new();
        for (index, container) in spec.containers.iter().enumerate() {
            let program = self.program(container, &format!("spec.containers[{index}]"))?;
            let log = Log::default();
            inside.push((container.name.clone(), program.clone(), log.clone()));
            containers.push(Container {
                program,
                policy: RestartPolicy::parse(spec.restart_policy.as_deref()),
                readiness: container.readiness_probe.clone(),
                liveness: container.liveness_probe.clone(),
                ports: named_ports(container),
                node: self.node.clone(),
                ip: self.net.ip(),
                log,
            });
        }
        *self.inside.0.lock() = inside;
        Ok(containers)
    }

    /// What to start for a container, and the room to start it in.
    fn program(&self, container: &k8s::Container, field: &str) -> Result<Program, String> {
        let objects = self.objects.borrow().clone();
        let spec = &self.plan.spec;
        let launch = launch(container, spec, &self.facts, (&self.images, &objects))
            .map_err(|problem| format!("{field}.{problem}"))?;
        let furniture = self
            .dir
            .furniture(spec, container, &self.facts.hostname, (&self.facts.namespace, &objects))
            .map_err(|problem| format!("{field}: {problem}"))?;
        let room = Room::inside(&self.instance, self.net.room().netns(), || furniture.arrange())
            .map_err(|error| format!("{field}: {}", error.line()))?;
        Ok(Program { launch: Arc::new(launch), room: Arc::new(room) })
    }
}
