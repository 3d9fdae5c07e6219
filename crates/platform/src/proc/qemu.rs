//! What a QEMU command line says about the VM: name, UUID and network cards.
//!
//! Both syntaxes are read, `key=value,...` and JSON; libvirt mixes them in one command line.

use std::collections::HashMap;

use inventory::facts::Uuid;
use serde_json::Value;
use wire::Mac;

/// A VM by the command line of its process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct CommandLine {
    pub(super) name: Option<String>,
    pub(super) uuid: Option<Uuid>,
    pub(super) is_incoming: bool,
    pub(super) nics: Vec<Nic>,
}

/// A network card of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Nic {
    pub(super) id: Option<String>,
    pub(super) mac: Option<Mac>,
    pub(super) backend: Backend,
}

/// What a network card is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Backend {
    /// `tap`, `vhost-user`, `user` ...; empty if the card has none.
    pub(super) kind: String,
    /// `ifname=`.
    pub(super) ifname: Option<String>,
    /// `fd=`, or the first of `fds=`; all queues of a card are of one tap.
    pub(super) fd: Option<u32>,
}

impl CommandLine {
    /// Reads the arguments of a process; `None` if it is no QEMU that runs a machine.
    pub(super) fn parse(arguments: &[String]) -> Option<Self> {
        let (program, arguments) = arguments.split_first()?;
        if !is_qemu(program) {
            return None;
        }
        let mut command_line = Self::default();
        let mut devices = Vec::new();
        let mut backends: HashMap<String, Backend> = HashMap::new();
        let mut simple_nics = Vec::new();
        // The old `-net nic -net tap`: every card is on one hub, with every back end.
        let mut hub_nics = Vec::new();
        let mut hub_backend = None;
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let Some(option) = argument.strip_prefix('-') else { continue };
            // One dash or two mean the same to QEMU.
            let option = option.strip_prefix('-').unwrap_or(option);
            if !OPTIONS.contains(&option) {
                continue;
            }
            let value = rest.next().map_or("", String::as_str);
            match option {
                "name" => command_line.name = Options::parse(value, "guest").take("guest"),
                "uuid" => command_line.uuid = value.parse().ok(),
                "incoming" => command_line.is_incoming = true,
                "device" => devices.push(Options::parse(value, "driver")),
                "netdev" => {
                    let mut options = Options::parse(value, "type");
                    if let Some(id) = options.take("id") {
                        backends.insert(id, Backend::new(options));
                    }
                }
                "nic" => simple_nics.push(Options::parse(value, "type")),
                "net" => {
                    let options = Options::parse(value, "type");
                    match options.value("type") {
                        Some("nic") => hub_nics.push(options),
                        Some("none") | None => {}
                        Some(_) => hub_backend = Some(Backend::new(options)),
                    }
                }
                _ => {}
            }
        }
        let devices = devices.into_iter().filter_map(|mut device| {
            let backend = backends.get(&device.take("netdev")?).cloned().unwrap_or_default();
            Some(Nic::new(device, "mac", backend))
        });
        let simple = simple_nics.into_iter().filter(|nic| nic.value("type") != Some("none"));
        let simple = simple.map(|mut nic| {
            let id = nic.take("id");
            let mac = nic.take("mac").or(nic.take("macaddr"));
            let mac = mac.and_then(|mac| mac.parse().ok());
            Nic { id, mac, backend: Backend::new(nic) }
        });
        let hub = hub_nics.into_iter().map(|mut nic| {
            let backend = match nic.take("netdev") {
                Some(netdev) => backends.get(&netdev).cloned(),
                None => hub_backend.clone(),
            };
            Nic::new(nic, "macaddr", backend.unwrap_or_default())
        });
        command_line.nics = devices.chain(simple).chain(hub).collect();
        Some(command_line)
    }
}

impl Nic {
    fn new(mut options: Options, mac_key: &str, backend: Backend) -> Self {
        let mac = options.take(mac_key).and_then(|mac| mac.parse().ok());
        Self { id: options.take("id"), mac, backend }
    }
}

impl Backend {
    fn new(mut options: Options) -> Self {
        let fds = options.take("fd").or(options.take("fds"));
        let fd = fds.and_then(|fds| fds.split(':').next()?.parse().ok());
        Self { kind: options.take("type").unwrap_or_default(), ifname: options.take("ifname"), fd }
    }
}

/// The keys and values of one argument.
#[derive(Debug, Default)]
struct Options(Vec<(String, String)>);

impl Options {
    /// Reads JSON or `key=value,...`; the first value may stand without its key, `first_key`.
    fn parse(text: &str, first_key: &str) -> Self {
        if text.starts_with('{') {
            return Self::from_json(text);
        }
        let mut options = Vec::new();
        for (number, part) in split_commas(text).into_iter().enumerate() {
            match part.split_once('=') {
                Some((key, value)) => options.push((key.to_owned(), value.to_owned())),
                None if number == 0 => options.push((first_key.to_owned(), part)),
                None => options.push((part, "on".to_owned())),
            }
        }
        Self(options)
    }

    fn from_json(text: &str) -> Self {
        let Ok(Value::Object(object)) = serde_json::from_str(text) else { return Self::default() };
        let pairs = object.into_iter().map(|(key, value)| match value {
            Value::String(text) => (key, text),
            other => (key, other.to_string()),
        });
        Self(pairs.collect())
    }

    fn value(&self, key: &str) -> Option<&str> {
        // QEMU takes the last of several.
        self.0.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.0.iter().rposition(|(k, _)| k == key)?;
        Some(self.0.swap_remove(at).1)
    }
}

/// Splits at single commas; two stand for one in a value.
fn split_commas(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == ',' && characters.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(character);
        }
    }
    parts
}

/// Whether a program is a QEMU system emulator, by the names distributions give it.
pub(super) fn is_qemu(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    name.starts_with("qemu-system-") || matches!(name, "qemu-kvm" | "kvm" | "qemu" | "qemu-dm")
}

/// The options whose argument is read.
const OPTIONS: [&str; 7] = ["name", "uuid", "incoming", "device", "netdev", "nic", "net"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(arguments: &[&str]) -> Option<CommandLine> {
        CommandLine::parse(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    fn mac(text: &str) -> Option<Mac> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn libvirts_json_is_read_and_the_tap_is_a_descriptor() {
        let line = parse(&[
            "/usr/bin/qemu-system-x86_64",
            "-name",
            "guest=web01,debug-threads=on",
            "-S",
            "-uuid",
            "8f2e8e0c-52cf-4a4f-9b45-0a7f2d1c0b01",
            "-netdev",
            r#"{"type":"tap","fd":"35","vhost":true,"vhostfd":"37","id":"hostnet0"}"#,
            "-device",
            concat!(
                r#"{"driver":"virtio-net-pci","netdev":"hostnet0","id":"net0","#,
                r#""mac":"52:54:00:77:00:01","bus":"pci.1","addr":"0x0"}"#
            ),
            "-incoming",
            "defer",
        ])
        .unwrap();
        let expected = CommandLine {
            name: Some("web01".into()),
            uuid: "8f2e8e0c-52cf-4a4f-9b45-0a7f2d1c0b01".parse().ok(),
            is_incoming: true,
            nics: vec![Nic {
                id: Some("net0".into()),
                mac: mac("52:54:00:77:00:01"),
                backend: Backend { kind: "tap".into(), ifname: None, fd: Some(35) },
            }],
        };
        assert_eq!(line, expected);
        assert!(line.uuid.is_some());
    }

    #[test]
    fn key_and_value_syntax_is_read_in_device_order() {
        let line = parse(&[
            "/usr/bin/kvm",
            "-name",
            "db,process=x",
            "-netdev",
            "type=tap,id=net0,ifname=tap100i0,script=/var/lib/x,vhost=on",
            "-netdev",
            "tap,id=net1,fds=21:22:23",
            "-device",
            "virtio-net-pci,mac=BC:24:11:00:00:01,netdev=net1,id=second",
            "-device",
            "virtio-net-pci,mac=BC:24:11:00:00:02,netdev=net0,bus=pci.0,id=first",
            "-device",
            "virtio-rng-pci",
        ])
        .unwrap();
        assert_eq!(line.name.as_deref(), Some("db"));
        assert!(!line.is_incoming);
        let ids: Vec<_> = line.nics.iter().map(|nic| nic.id.as_deref().unwrap()).collect();
        assert_eq!(ids, ["second", "first"]);
        assert_eq!(line.nics[0].backend.fd, Some(21));
        assert_eq!(line.nics[1].backend.ifname.as_deref(), Some("tap100i0"));
        assert_eq!(line.nics[1].mac, mac("bc:24:11:00:00:02"));
    }

    #[test]
    fn nic_and_the_old_net_options_are_cards_too() {
        let line = parse(&["qemu-system-x86_64", "-nic", "tap,ifname=t0,mac=52:54:00:00:00:07"]);
        let nics = line.unwrap().nics;
        assert_eq!(nics[0].backend.ifname.as_deref(), Some("t0"));
        assert_eq!(nics[0].mac, mac("52:54:00:00:00:07"));
        let line =
            parse(&["qemu-kvm", "-net", "nic,macaddr=52:54:00:00:00:08", "-net", "tap,ifname=t1"]);
        let nics = line.unwrap().nics;
        assert_eq!(nics[0].backend.ifname.as_deref(), Some("t1"));
        assert_eq!(nics[0].mac, mac("52:54:00:00:00:08"));
        assert_eq!(parse(&["qemu-kvm", "-nic", "none"]).unwrap().nics, []);
    }

    #[test]
    fn a_name_keeps_its_doubled_comma_as_one() {
        let line = parse(&["qemu-system-arm", "-name", "guest=a,,b=c,debug-threads=on"]).unwrap();
        assert_eq!(line.name.as_deref(), Some("a,b=c"));
    }

    #[test]
    fn a_vhost_user_card_names_its_back_end() {
        let line = parse(&[
            "qemu-system-x86_64",
            "-netdev",
            "vhost-user,id=n,chardev=c",
            "--device",
            "virtio-net-pci,netdev=n,mac=52:54:00:00:00:09",
        ]);
        assert_eq!(line.unwrap().nics[0].backend.kind, "vhost-user");
    }

    #[test]
    fn tools_of_qemu_and_shells_are_no_vm() {
        assert_eq!(parse(&["/usr/bin/qemu-img", "convert"]), None);
        assert_eq!(parse(&["/bin/bash", "-name", "guest=x"]), None);
        assert_eq!(parse(&[]), None);
    }

    proptest! {
        #[test]
        fn no_argument_panics(arguments in proptest::collection::vec(any::<String>(), 0..8)) {
            let mut line = vec!["qemu-kvm".to_owned()];
            for argument in arguments {
                line.extend(OPTIONS.map(|option| format!("-{option}")).into_iter()
                    .flat_map(|option| [option, argument.clone()]));
            }
            prop_assert!(CommandLine::parse(&line).is_some());
        }

        #[test]
        fn any_name_comes_back(name in "[^\0]{1,30}") {
            let escaped = name.replace(',', ",,");
            let line = ["qemu-kvm".to_owned(), "-name".to_owned(), format!("guest={escaped}")];
            prop_assert_eq!(CommandLine::parse(&line).unwrap().name, Some(name));
        }
    }
}
