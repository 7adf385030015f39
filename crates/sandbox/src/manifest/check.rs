//! What an object has to fulfil before the sandbox acts on it. Each refusal names the field.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Probe, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Object, ObjectRef};

type Check = Result<(), String>;

/// Judges one object alone.
pub(super) fn object(key: &ObjectRef, object: &Object) -> Check {
    match object {
        Object::Pod(pod) => self::pod(key, pod),
        Object::Deployment(deployment) => {
            let spec = &deployment.spec;
            if !(0..=200).contains(&spec.replicas.unwrap_or(1)) {
                return Err("spec.replicas: must be 0 to 200".to_owned());
            }
            let pod = spec.template.spec.as_ref().ok_or("spec.template.spec: is missing")?;
            // The names of its pods are 13 characters longer.
            label("metadata.name", &key.name, 50)?;
            pod_spec(pod).map_err(|problem| format!("spec.template.{problem}"))
        }
        Object::Service(service) => self::service(key, service),
        Object::Namespace(_) => label("metadata.name", &key.name, 63),
        Object::Node(_) => label("metadata.name", &key.name, 63),
        _ => Ok(()),
    }
}

fn pod(key: &ObjectRef, pod: &Pod) -> Check {
    label("metadata.name", &key.name, 63)?;
    pod_spec(pod.spec.as_ref().ok_or("spec: is missing")?)
}

fn pod_spec(spec: &PodSpec) -> Check {
    if spec.host_network == Some(true) {
        return Err(
            "spec.hostNetwork: every pod of the sandbox has a network of its own; remove it"
                .to_owned(),
        );
    }
    if !matches!(spec.restart_policy.as_deref(), None | Some("Always" | "OnFailure" | "Never")) {
        return Err("spec.restartPolicy: must be Always, OnFailure or Never".to_owned());
    }
    if spec.containers.is_empty() {
        return Err("spec.containers: at least one is needed".to_owned());
    }
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let lists = [("spec.initContainers", init), ("spec.containers", spec.containers.as_slice())];
    let mut names = Vec::new();
    for (list, containers) in lists {
        for (index, container) in containers.iter().enumerate() {
            let field = format!("{list}[{index}]");
            self::container(container).map_err(|problem| format!("{field}.{problem}"))?;
            if names.contains(&&container.name) {
                return Err(format!("{field}.name: {:?} is used twice", container.name));
            }
            names.push(&container.name);
            for (mount, volume) in container.volume_mounts.iter().flatten().enumerate() {
                let known = spec.volumes.iter().flatten().any(|known| known.name == volume.name);
                if !known {
                    return Err(format!(
                        "{field}.volumeMounts[{mount}].name: there is no volume {:?} in spec.volumes",
                        volume.name
                    ));
                }
            }
        }
    }
    volumes(spec)
}

fn container(container: &Container) -> Check {
    label("name", &container.name, 63)?;
    for (index, port) in container.ports.iter().flatten().enumerate() {
        self::port(&format!("ports[{index}].containerPort"), port.container_port)?;
    }
    for (field, probe) in [
        ("readinessProbe", &container.readiness_probe),
        ("livenessProbe", &container.liveness_probe),
    ] {
        if let Some(probe) = probe {
            self::probe(probe).map_err(|problem| format!("{field}{problem}"))?;
        }
    }
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        if !mount.mount_path.starts_with('/')
            || mount.mount_path.split('/').any(|part| part == "..")
        {
            return Err(format!("volumeMounts[{index}].mountPath: must be an absolute path"));
        }
        let sub_path = mount.sub_path.as_deref().unwrap_or_default();
        if sub_path.starts_with('/') || sub_path.split('/').any(|part| part == "..") {
            return Err(format!("volumeMounts[{index}].subPath: must stay inside the volume"));
        }
    }
    Ok(())
}

fn probe(probe: &Probe) -> Check {
    let kinds = [
        probe.http_get.is_some(),
        probe.tcp_socket.is_some(),
        probe.exec.is_some(),
        probe.grpc.is_some(),
    ];
    if kinds.iter().filter(|set| **set).count() != 1 {
        return Err(": exactly one of httpGet, tcpSocket and exec is needed".to_owned());
    }
    if probe.grpc.is_some() {
        return Err(".grpc: the sandbox knows httpGet, tcpSocket and exec".to_owned());
    }
    let http = probe.http_get.as_ref();
    if http.is_some_and(|http| http.scheme.as_deref().unwrap_or("HTTP") != "HTTP") {
        return Err(".httpGet.scheme: the sandbox knows HTTP only; use tcpSocket".to_owned());
    }
    let ports = [http.map(|http| &http.port), probe.tcp_socket.as_ref().map(|tcp| &tcp.port)];
    for number in ports.into_iter().flatten() {
        if let IntOrString::Int(number) = number {
            port(".port", *number)?;
        }
    }
    Ok(())
}

fn volumes(spec: &PodSpec) -> Check {
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        label(&format!("spec.volumes[{index}].name"), &volume.name, 63)?;
        let known = volume.empty_dir.is_some()
            || volume.host_path.is_some()
            || volume.config_map.is_some()
            || volume.secret.is_some();
        if !known {
            return Err(format!(
                "spec.volumes[{index}]: the sandbox knows emptyDir, hostPath, configMap and secret"
            ));
        }
    }
    Ok(())
}

fn service(key: &ObjectRef, service: &Service) -> Check {
    label("metadata.name", &key.name, 63)?;
    let spec = service.spec.as_ref().ok_or("spec: is missing")?;
    let ports = spec.ports.as_deref().unwrap_or_default();
    let external = spec.type_.as_deref() == Some("ExternalName");
    if external && spec.external_name.as_deref().is_none_or(|name| !is_dns_name(name)) {
        return Err("spec.externalName: a host name is needed".to_owned());
    }
    if ports.is_empty() && !external && spec.cluster_ip.as_deref() != Some("None") {
        return Err("spec.ports: at least one is needed".to_owned());
    }
    for (index, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        self::port(&format!("{field}.port"), port.port)?;
        if let Some(IntOrString::Int(number)) = port.target_port {
            self::port(&format!("{field}.targetPort"), number)?;
        }
        if !matches!(port.protocol.as_deref(), None | Some("TCP" | "UDP")) {
            return Err(format!("{field}.protocol: must be TCP or UDP"));
        }
        if ports.len() > 1 && port.name.is_none() {
            return Err(format!("{field}.name: is needed where there are several ports"));
        }
    }
    Ok(())
}

fn port(field: &str, number: i32) -> Check {
    if u16::try_from(number).is_ok_and(|number| number > 0) {
        Ok(())
    } else {
        Err(format!("{field}: {number} is no port: 1 to 65535"))
    }
}

/// A name of at most `limit` lower-case letters, digits and `-`.
fn label(field: &str, name: &str, limit: usize) -> Check {
    let valid = (1..=limit).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if valid {
        return Ok(());
    }
    Err(format!("{field}: {name:?} must be 1 to {limit} lower-case letters, digits or '-'"))
}

/// Whether `name` can be a part of a path and of a host name.
pub(super) fn is_dns_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
        && !name.starts_with(['-', '.'])
        && !name.ends_with(['-', '.'])
        && !name.contains("..")
}
