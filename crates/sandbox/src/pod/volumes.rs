//! A pod's volumes and files: made in its own directory, to be mounted over the machine's.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, KeyToPath, PodSpec, Volume};

use super::furnish::{Bind, Furniture};
use super::launch::contents;
use crate::cluster::Objects;
use crate::error::{Error, IoContext};

/// Where a pod's files are made.
#[derive(Clone, Debug)]
pub(crate) struct PodDir(pub(crate) PathBuf);

// === impl PodDir ===

impl PodDir {
    /// The pod's `resolv.conf`.
    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.0.join("etc/resolv.conf")
    }

    /// Writes the files that every container of the pod sees in `/etc`.
    pub(crate) fn prepare(
        &self,
        spec: &PodSpec,
        hostname: &str,
        ips: &[IpAddr],
        resolv_conf: &str,
    ) -> Result<(), Error> {
        let etc = self.0.join("etc");
        fs::create_dir_all(&etc).doing("create", &etc)?;
        let mut hosts = String::from("127.0.0.1 localhost\n::1 localhost\n");
        for ip in ips {
            hosts.push_str(&format!("{ip} {hostname}\n"));
        }
        for alias in spec.host_aliases.iter().flatten() {
            let names = alias.hostnames.clone().unwrap_or_default().join(" ");
            hosts.push_str(&format!("{} {names}\n", alias.ip));
        }
        for (name, text) in
            [("hosts", hosts.as_str()), ("resolv.conf", resolv_conf), ("hostname", hostname)]
        {
            let path = etc.join(name);
            fs::write(&path, text).doing("write", &path)?;
        }
        Ok(())
    }

    /// The view of one container. ConfigMaps and Secrets are written out as they are now.
    ///
    /// # Errors
    /// A volume cannot be made; the text names it.
    pub(crate) fn furniture(
        &self,
        spec: &PodSpec,
        container: &Container,
        hostname: &str,
        (namespace, objects): (&str, &Objects),
    ) -> Result<Furniture, String> {
        let file = |name: &str| Bind {
            source: self.0.join("etc").join(name),
            target: Path::new("/etc").join(name),
            read_only: false,
        };
        let mut binds = ["hosts", "resolv.conf"].map(file).to_vec();
        binds.extend(Some(file("hostname")).filter(|file| file.target.exists()));
        for mount in container.volume_mounts.iter().flatten() {
            let named = |volume: &&Volume| volume.name == mount.name;
            let Some(volume) = spec.volumes.iter().flatten().find(named) else { continue };
            let mut source = self
                .volume(volume, namespace, objects)
                .map_err(|problem| format!("volume {:?}: {problem}", volume.name))?;
            if let Some(sub_path) = mount.sub_path.as_deref().filter(|path| !path.is_empty()) {
                source.push(sub_path);
                if !source.exists() {
                    fs::create_dir_all(&source).map_err(|error| error.to_string())?;
                }
            }
            binds.push(Bind {
                source,
                target: PathBuf::from(&mount.mount_path),
                read_only: mount.read_only == Some(true),
            });
        }
        let scratch = self.0.join("scratch").join(&container.name);
        fs::create_dir_all(&scratch).map_err(|error| error.to_string())?;
        Ok(Furniture { hostname: hostname.to_owned(), scratch, binds })
    }

    fn volume(
        &self,
        volume: &Volume,
        namespace: &str,
        objects: &Objects,
    ) -> Result<PathBuf, String> {
        if let Some(host) = &volume.host_path {
            let path = PathBuf::from(&host.path);
            let create = host.type_.as_deref() == Some("DirectoryOrCreate");
            return match path.exists() {
                true => Ok(path),
                false if create => fs::create_dir_all(&path)
                    .map(|()| path)
                    .map_err(|error| format!("cannot create {}: {error}", host.path)),
                false => Err(format!("{} does not exist on this machine", host.path)),
            };
        }
        let dir = self.0.join("volumes").join(&volume.name);
        fs::create_dir_all(&dir)
            .map_err(|error| format!("cannot create its directory: {error}"))?;
        let shared = fs::Permissions::from_mode(0o777);
        fs::set_permissions(&dir, shared).map_err(|error| error.to_string())?;
        let of = match (&volume.config_map, &volume.secret) {
            (Some(map), _) => Some(("ConfigMap", &map.name, &map.items, map.optional)),
            (None, Some(secret)) => {
                let name = secret.secret_name.as_ref().ok_or("secretName is missing")?;
                Some(("Secret", name, &secret.items, secret.optional))
            }
            (None, None) => None,
        };
        if let Some((kind, name, items, optional)) = of {
            match contents(objects, kind, namespace, name) {
                Some(contents) => write_all(&dir, contents, items.as_deref())?,
                None if optional == Some(true) => {}
                None => return Err(format!("there is no {kind} {name:?}")),
            }
        }
        Ok(dir)
    }
}

/// Writes keys as files; those that `items` names, under its paths, or all.
fn write_all(
    dir: &Path,
    mut contents: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
) -> Result<(), String> {
    let files: Vec<(PathBuf, Vec<u8>)> = match items {
        None => contents.into_iter().map(|(key, value)| (PathBuf::from(key), value)).collect(),
        Some(items) => {
            let file = |item: &KeyToPath| {
                let value = contents.remove(&item.key);
                let value = value.ok_or_else(|| format!("there is no key {:?}", item.key))?;
                Ok((PathBuf::from(&item.path), value))
            };
            items.iter().map(file).collect::<Result<_, String>>()?
        }
    };
    for (name, value) in files {
        let stays_inside =
            name.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !stays_inside {
            return Err(format!("{} is no path inside a volume", name.display()));
        }
        let path = dir.join(name);
        let failed = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
        path.parent().map(fs::create_dir_all).transpose().map_err(failed)?;
        fs::write(&path, value).map_err(failed)?;
    }
    Ok(())
}
