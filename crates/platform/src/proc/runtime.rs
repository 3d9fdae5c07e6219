//! Container runtimes: which container a process is in, and what its runtime calls it.
//!
//! By control group and the state files the runtimes keep; no daemon is asked.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

/// A container by the control group of its processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    /// `docker`, `podman`, `containerd`, `cri-o`, `kubernetes`, `lxc`, `nspawn`.
    pub(super) runtime: &'static str,
    /// 64 hexadecimal digits, or the name where the runtime has no other id.
    pub(super) id: String,
}

/// A name and the file it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateName {
    pub(super) name: String,
    pub(super) file: PathBuf,
    /// When the file was last written: a container may be renamed.
    pub(super) modified: Option<SystemTime>,
}

impl StateName {
    /// Whether the file is as it was when the name was read.
    pub(super) fn is_current(&self) -> bool {
        fs::metadata(&self.file).and_then(|metadata| metadata.modified()).ok() == self.modified
    }
}

impl Container {
    /// The innermost container named in a `/proc/PID/cgroup`.
    pub(super) fn from_cgroups(cgroups: &str) -> Option<Self> {
        cgroups.lines().find_map(|line| Self::from_path(line.splitn(3, ':').nth(2)?))
    }

    /// The container that the process with these arguments has started and attends: conmon(8), or
    /// a shim of containerd. For processes whose control group tells nothing, as with podman's
    /// `--cgroups=disabled`.
    pub(super) fn from_monitor(arguments: &[String]) -> Option<Self> {
        let program = Path::new(arguments.first()?).file_name()?.to_str()?;
        let value = |option: &str| {
            let at = arguments.iter().position(|argument| argument == option)?;
            arguments.get(at + 1).map(String::as_str)
        };
        let (id, runtime) = match program {
            "conmon" => (value("-c").or_else(|| value("--cid"))?, "podman"),
            shim if shim.starts_with("containerd-shim") => {
                let runtime = match value("-namespace") {
                    Some("moby") => "docker",
                    Some("k8s.io") => "kubernetes",
                    _ => "containerd",
                };
                (value("-id")?, runtime)
            }
            _ => return None,
        };
        is_id(id).then(|| Self { runtime, id: id.to_owned() })
    }

    fn from_path(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.split('/').collect();
        (0..segments.len()).rev().find_map(|at| {
            let segment = *segments.get(at)?;
            let parent = at.checked_sub(1).and_then(|at| segments.get(at)).copied().unwrap_or("");
            Self::from_segment(path, parent, segment)
        })
    }

    fn from_segment(path: &str, parent: &str, segment: &str) -> Option<Self> {
        let unit = segment.strip_suffix(".scope").unwrap_or(segment);
        for (prefix, runtime) in UNIT_PREFIXES {
            if let Some(id) = unit.strip_prefix(prefix).filter(|id| is_id(id)) {
                return Some(Self { runtime, id: id.to_owned() });
            }
        }
        if is_id(unit) {
            let runtime = match parent {
                "docker" => "docker",
                "libpod_parent" => "podman",
                _ if path.contains("kubepods") => "kubernetes",
                _ => "containerd",
            };
            return Some(Self { runtime, id: unit.to_owned() });
        }
        if let Some(name) = segment.strip_prefix("lxc.payload.") {
            return Some(Self { runtime: "lxc", id: name.to_owned() });
        }
        if matches!(parent, "lxc" | "lxc.payload") && !segment.is_empty() {
            return Some(Self { runtime: "lxc", id: segment.to_owned() });
        }
        // libvirt registers VMs here too; those are QEMU processes, not containers.
        let machine = unit.strip_prefix("machine-").filter(|_| segment != unit)?;
        let name = unescape_unit(machine);
        (!name.starts_with("qemu-"))
            .then(|| Self { runtime: "nspawn", id: name.trim_start_matches("lxc-").to_owned() })
    }

    /// What its runtime calls it, by the runtime's state files below `root`.
    pub(super) fn name(&self, root: &Path) -> Option<StateName> {
        if matches!(self.runtime, "lxc" | "nspawn") {
            return None;
        }
        docker_name(root, &self.id)
            .or_else(|| containerd_name(root, &self.id))
            .or_else(|| storage_name(root, &self.id))
    }
}

/// `Name` of Docker's own configuration, which it writes with a slash in front.
fn docker_name(root: &Path, id: &str) -> Option<StateName> {
    let file = root.join("var/lib/docker/containers").join(id).join("config.v2.json");
    let (json, modified) = read_json(&file)?;
    let name = json.get("Name")?.as_str()?.trim_start_matches('/').to_owned();
    (!name.is_empty()).then_some(StateName { name, file, modified })
}

/// The annotations of containerd's bundle: a pod's name, or `nerdctl`'s.
fn containerd_name(root: &Path, id: &str) -> Option<StateName> {
    let tasks = root.join("run/containerd/io.containerd.runtime.v2.task");
    for namespace in fs::read_dir(tasks).ok()?.flatten() {
        let file = namespace.path().join(id).join("config.json");
        let Some((json, modified)) = read_json(&file) else { continue };
        let name = annotated_name(&json)?;
        return Some(StateName { name, file, modified });
    }
    None
}

/// The storage library of podman and CRI-O: a pod's annotations, or the name in its index.
fn storage_name(root: &Path, id: &str) -> Option<StateName> {
    let bundle = root.join("run/containers/storage/overlay-containers").join(id);
    let file = bundle.join("userdata/config.json");
    if let Some((json, modified)) = read_json(&file)
        && let Some(name) = annotated_name(&json)
    {
        return Some(StateName { name, file, modified });
    }
    let indexes = [
        "var/lib/containers/storage/overlay-containers/containers.json",
        "run/containers/storage/overlay-containers/volatile-containers.json",
        "var/lib/containers/storage/overlay-containers/volatile-containers.json",
    ];
    indexes.iter().find_map(|index| {
        let file = root.join(index);
        let (json, modified) = read_json(&file)?;
        let entry =
            json.as_array()?.iter().find(|e| e.get("id").and_then(Value::as_str) == Some(id))?;
        let name = entry.get("names")?.get(0)?.as_str()?.to_owned();
        Some(StateName { name, file, modified })
    })
}

/// `namespace/pod` for a pod, else the container's own name.
fn annotated_name(json: &Value) -> Option<String> {
    let annotations = json.get("annotations")?;
    let text = |key: &str| annotations.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
    for (pod, namespace) in POD_ANNOTATIONS {
        if let (Some(pod), Some(namespace)) = (text(pod), text(namespace)) {
            return Some(format!("{namespace}/{pod}"));
        }
    }
    text("nerdctl/name").map(str::to_owned)
}

/// The file's content and age; `None` if it cannot be read, is too long or is no JSON.
fn read_json(file: &Path) -> Option<(Value, Option<SystemTime>)> {
    let opened = fs::File::open(file).ok()?;
    let modified = opened.metadata().and_then(|metadata| metadata.modified()).ok();
    let mut text = String::new();
    opened.take(JSON_MAX).read_to_string(&mut text).ok()?;
    Some((serde_json::from_str(&text).ok()?, modified))
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Undoes `\x2d` in the name of a systemd unit.
fn unescape_unit(text: &str) -> String {
    text.replace("\\x2d", "-")
}

const UNIT_PREFIXES: [(&str, &str); 6] = [
    ("docker-", "docker"),
    ("libpod-payload-", "podman"),
    ("libpod-", "podman"),
    ("cri-containerd-", "kubernetes"),
    ("crio-", "cri-o"),
    ("nerdctl-", "containerd"),
];
const POD_ANNOTATIONS: [(&str, &str); 2] = [
    ("io.kubernetes.cri.sandbox-name", "io.kubernetes.cri.sandbox-namespace"),
    ("io.kubernetes.pod.name", "io.kubernetes.pod.namespace"),
];
const JSON_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn container(path: &str) -> Option<(&'static str, String)> {
        Container::from_cgroups(&format!("0::{path}\n")).map(|c| (c.runtime, c.id))
    }

    #[test]
    fn each_runtime_is_known_by_its_control_group() {
        let id = || ID.to_owned();
        for (path, expected) in [
            (format!("/system.slice/docker-{ID}.scope"), Some(("docker", id()))),
            (format!("/docker/{ID}"), Some(("docker", id()))),
            (format!("/machine.slice/libpod-{ID}.scope/container"), Some(("podman", id()))),
            (format!("/libpod_parent/libpod-{ID}"), Some(("podman", id()))),
            (format!("/machine.slice/libpod-conmon-{ID}.scope"), None),
            (
                format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope"),
                Some(("kubernetes", id())),
            ),
            (format!("/kubepods/burstable/pod1/{ID}"), Some(("kubernetes", id()))),
            (format!("/kubepods.slice/x.slice/crio-{ID}.scope"), Some(("cri-o", id()))),
            (format!("/default/{ID}"), Some(("containerd", id()))),
            ("/lxc.payload.web/init.scope".into(), Some(("lxc", "web".into()))),
            ("/lxc/web".into(), Some(("lxc", "web".into()))),
            (
                r"/machine.slice/machine-my\x2dbox.scope/payload".into(),
                Some(("nspawn", "my-box".into())),
            ),
            (r"/machine.slice/machine-qemu\x2d1\x2dweb.scope".into(), None),
            ("/user.slice/user-0.slice/session-1.scope".into(), None),
            ("/".into(), None),
        ] {
            assert_eq!(container(&path), expected, "{path}");
        }
    }

    #[test]
    fn a_monitor_bears_the_id_of_its_container() {
        let monitor = |words: &str| {
            let arguments: Vec<String> = words.split(' ').map(str::to_owned).collect();
            Container::from_monitor(&arguments).map(|c| (c.runtime, c.id))
        };
        let id = || ID.to_owned();
        let conmon = format!("/usr/bin/conmon --api-version 1 -c {ID} -u {ID} -r /usr/bin/crun");
        assert_eq!(monitor(&conmon), Some(("podman", id())));
        let shim = format!("/usr/bin/containerd-shim-runc-v2 -namespace moby -id {ID} -address x");
        assert_eq!(monitor(&shim), Some(("docker", id())));
        assert_eq!(monitor(&format!("sleep -c {ID}")), None);
        assert_eq!(monitor("conmon -c shop"), None);
        assert_eq!(monitor("conmon -c"), None);
    }

    #[test]
    fn names_are_read_from_the_runtimes_files() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let name = |id: &str| {
            let container = Container { runtime: "containerd", id: id.into() };
            container.name(root.path()).map(|state| state.name)
        };
        write("var/lib/docker/containers/d1/config.v2.json", r#"{"Name":"/web"}"#);
        write(
            "run/containerd/io.containerd.runtime.v2.task/k8s.io/k1/config.json",
            r#"{"annotations":{"io.kubernetes.cri.sandbox-name":"db-0",
                "io.kubernetes.cri.sandbox-namespace":"prod"}}"#,
        );
        write(
            "var/lib/containers/storage/overlay-containers/containers.json",
            r#"[{"id":"p0"},{"id":"p1","names":["cache"]}]"#,
        );
        assert_eq!(name("d1").as_deref(), Some("web"));
        assert_eq!(name("k1").as_deref(), Some("prod/db-0"));
        assert_eq!(name("p1").as_deref(), Some("cache"));
        assert_eq!(name("none"), None);
        write("var/lib/docker/containers/d2/config.v2.json", "not json");
        assert_eq!(name("d2"), None);
    }
}
