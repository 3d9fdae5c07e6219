//! `overtap tools`: where packets may be sent, how, and whose.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use broker::{Grant, Mask, Mtu, Outlet, Oversized, Policy, SessionId, Slice, Tls, Tool, ToolName};
use clap::ArgGroup;
use wire::{Strip, VlanId, Vni};

use super::capture::{AnyName, parse_filter};
use crate::Output;
use crate::exit::{Exit, WrongUsage};
use crate::table::table;
use crate::tools;

/// Names the tools that packets can be sent to: an IDS, a recorder, a colleague's Wireshark.
///
/// Each has its encapsulation, its grant (whose packets it may have) and its policy (which of
/// them, in what shape). overtap capture VM --to NAME sends them.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  overtap tools add ids-1 --vxlan 10.0.0.9 --vni 42 --tenant acme --slice 128
  overtap tools add rec --erspan2 10.0.0.8 --session 7 --strip all --oversized segment
  overtap tools add ann --pcap-over-ip-listen 127.0.0.1:57012 --select 'tcp port 443'
  overtap tools show ids-1
  overtap capture web --to ids-1,rec")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,

    /// How to print.
    #[arg(long, value_enum, global = true, default_value_t = Output::Text)]
    output: Output,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Lists them.
    List,
    /// Shows one, with all it is told.
    Show {
        /// The tool.
        name: String,
    },
    /// Names one.
    Add(Box<Add>),
    /// Forgets one. A capture that sends to it goes on.
    Remove {
        /// The tool.
        name: String,
    },
}

#[derive(clap::Args)]
#[command(group = ArgGroup::new("encapsulation").required(true))]
struct Add {
    /// What it is called from now on.
    #[arg(value_parser = parsed::<ToolName>)]
    name: ToolName,

    /// VXLAN (RFC 7348) to this address.
    #[arg(long, value_name = "ADDRESS", group = "encapsulation")]
    vxlan: Option<IpAddr>,
    /// GENEVE (RFC 8926) to this address.
    #[arg(long, value_name = "ADDRESS", group = "encapsulation")]
    geneve: Option<IpAddr>,
    /// Ethernet in GRE, with sequence numbers, to this address.
    #[arg(long, value_name = "ADDRESS", group = "encapsulation")]
    gre: Option<IpAddr>,
    /// ERSPAN type II to this address.
    #[arg(long, value_name = "ADDRESS", group = "encapsulation")]
    erspan2: Option<IpAddr>,
    /// ERSPAN type III, with times and directions, to this address.
    #[arg(long, value_name = "ADDRESS", group = "encapsulation")]
    erspan3: Option<IpAddr>,
    /// TZSP to this address.
    #[arg(long, value_name = "ADDRESS", group = "encapsulation")]
    tzsp: Option<IpAddr>,
    /// A VLAN (--vlan) of this interface, which a switch carries to the tool.
    #[arg(long, value_name = "INTERFACE", group = "encapsulation", requires = "vlan")]
    rspan: Option<String>,
    /// pcapng over TCP, to a tool that listens here.
    #[arg(long, value_name = "ADDRESS:PORT", group = "encapsulation")]
    pcap_over_ip: Option<SocketAddr>,
    /// pcapng over TCP, to tools that connect here; without --tls-ca whoever can reach it gets the
    /// packets.
    #[arg(long, value_name = "ADDRESS:PORT", group = "encapsulation")]
    pcap_over_ip_listen: Option<SocketAddr>,
    /// With pcap-over-IP: speak TLS, with a peer whose certificate one of these authorities has
    /// signed. File in PEM.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Our certificate; needed to be called, shown to whoever asks where we call.
    #[arg(long, value_name = "FILE", requires = "tls_ca", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The private key of our certificate.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// The name in the certificate of the tool that is called. Default: its address.
    #[arg(long, value_name = "NAME", requires = "tls_ca", requires = "pcap_over_ip")]
    tls_name: Option<String>,
    /// A pcapng file, which must not exist when a capture begins.
    #[arg(long, value_name = "FILE", group = "encapsulation")]
    file: Option<PathBuf>,
    /// pcapng into a unix stream socket that the tool listens on.
    #[arg(long, value_name = "SOCKET", group = "encapsulation")]
    unix: Option<PathBuf>,
    /// pcapng on standard output.
    #[arg(long, group = "encapsulation")]
    stdout: bool,

    /// Network number of VXLAN or GENEVE.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(0..1 << 24))]
    vni: u32,
    /// UDP port of VXLAN, GENEVE or TZSP, where it is not the standard's.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Key of GRE.
    #[arg(long, value_name = "N", requires = "gre")]
    key: Option<u32>,
    /// Session of ERSPAN.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(0..1024))]
    session: u16,
    /// VLAN of RSPAN.
    #[arg(long, value_name = "N", requires = "rspan",
          value_parser = clap::value_parser!(u16).range(1..4095))]
    vlan: Option<u16>,
    /// Largest IP packet the way to the tool takes. Default: what the kernel says.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(576..))]
    mtu: Option<u16>,

    /// It may have packets of this tenant's VMs; several with commas between them. Without it,
    /// only those of VMs that have no tenant.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    tenant: Vec<String>,
    /// It may have packets of every VM, whosever it is.
    #[arg(long, conflicts_with = "tenant")]
    all_tenants: bool,

    /// Only these packets, in the words of tcpdump and overtap filter.
    #[arg(long, value_name = "EXPR")]
    select: Option<String>,
    /// Only the first of several copies of a packet.
    #[arg(long)]
    dedup: bool,
    /// One packet of so many.
    #[arg(long, value_name = "N")]
    sample: Option<NonZeroU32>,
    /// Take these headers off: `all`, `outer`, `vxlan`, `vlan`, `vntag`, ... with commas between.
    #[arg(long, value_name = "HEADERS", value_parser = parsed::<Strip>)]
    strip: Option<Strip>,
    /// Zero these fields: `payload`, `macs`, `ips`, `ports`, `source-ip`, ... with commas between.
    #[arg(long, value_name = "FIELDS", value_parser = parsed::<Mask>)]
    mask: Option<Mask>,
    /// Keep this much of each packet: bytes, `headers`, or `headers+32`.
    #[arg(long, value_name = "BYTES", value_parser = parsed::<Slice>)]
    slice: Option<Slice>,
    /// What becomes of a copy that is too large for the way: `slice` it, `segment` it if it is a
    /// TCP super-frame, or `refuse` it.
    #[arg(long, value_name = "HOW", default_value = "slice", value_parser = oversized)]
    oversized: Oversized,
    /// Most it is sent in a second, in bits: 100M, 1G.
    #[arg(long, value_name = "BITS", value_parser = bits)]
    rate: Option<NonZeroU64>,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let is_json = args.output == Output::Json;
    let text = match args.command {
        Command::List if is_json => serde_json::to_string_pretty(tools::read()?.tools())? + "\n",
        Command::List => list(tools::read()?.tools()),
        Command::Show { name } => {
            let registry = tools::read()?;
            let tool = registry.one(&name)?;
            if is_json { serde_json::to_string_pretty(tool)? + "\n" } else { shown(tool) }
        }
        Command::Add(add) => {
            let tool = add.tool()?;
            tools::change(|registry| Ok(registry.add(tool.clone())?))?;
            if is_json { serde_json::to_string_pretty(&tool)? + "\n" } else { String::new() }
        }
        Command::Remove { name } => {
            tools::change(|registry| Ok(registry.remove(&name)?))?;
            String::new()
        }
    };
    super::print_out(text.as_bytes())?;
    Ok(Exit::Done)
}

impl Add {
    fn tool(self) -> anyhow::Result<Tool> {
        let outlet = self.outlet()?;
        if let Some(expression) = &self.select {
            parse_filter(expression, &AnyName)?;
        }
        let mtu = self.mtu.map(Mtu::try_from).transpose().map_err(WrongUsage)?;
        Ok(Tool {
            name: self.name,
            grant: Grant {
                tenants: self.tenant.into_iter().collect(),
                everyone: self.all_tenants,
                until_ns: None,
            },
            mtu,
            outlet,
            policy: Policy {
                select: self.select,
                dedup: self.dedup,
                sample: self.sample,
                strip: self.strip,
                mask: self.mask,
                slice: self.slice,
                oversized: self.oversized,
                rate_bps: self.rate,
            },
        })
    }

    /// How TLS is spoken, if it is.
    fn tls(&self) -> anyhow::Result<Option<Tls>> {
        let Some(ca) = &self.tls_ca else { return Ok(None) };
        let absolute = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
        Ok(Some(Tls {
            ca: std::path::absolute(ca)?,
            certificate: absolute(&self.tls_certificate)?,
            key: absolute(&self.tls_key)?,
            name: self.tls_name.clone(),
        }))
    }

    fn outlet(&self) -> anyhow::Result<Outlet> {
        let wrong = |text: &str| WrongUsage(text.to_owned());
        let vni = Vni::new(self.vni).ok_or_else(|| wrong("the VNI has more than 24 bits"))?;
        let session = SessionId::try_from(self.session).map_err(WrongUsage)?;
        let port = |own| self.port.unwrap_or(own);
        let is_stream = self.pcap_over_ip.is_some() || self.pcap_over_ip_listen.is_some();
        if self.tls_ca.is_some() && !is_stream {
            return Err(wrong("--tls-ca is for --pcap-over-ip and --pcap-over-ip-listen").into());
        }
        // Relative to where a capture is started later nothing is meant.
        let absolute = |path: &PathBuf| std::path::absolute(path);
        let outlet = if let Some(target) = self.vxlan {
            Outlet::Vxlan { target, port: port(4789), vni }
        } else if let Some(target) = self.geneve {
            Outlet::Geneve { target, port: port(6081), vni }
        } else if let Some(target) = self.gre {
            Outlet::Gre { target, key: self.key }
        } else if let Some(target) = self.erspan2 {
            Outlet::Erspan2 { target, session }
        } else if let Some(target) = self.erspan3 {
            Outlet::Erspan3 { target, session }
        } else if let Some(target) = self.tzsp {
            Outlet::Tzsp { target, port: port(37008) }
        } else if let Some(interface) = self.rspan.clone() {
            let vlan = self.vlan.and_then(VlanId::new);
            let vlan = vlan.ok_or_else(|| wrong("--rspan needs its --vlan"))?;
            Outlet::Rspan { interface, vlan }
        } else if let Some(target) = self.pcap_over_ip {
            Outlet::PcapOverIp { target, tls: self.tls()? }
        } else if let Some(listen) = self.pcap_over_ip_listen {
            let tls = self.tls()?;
            if tls.as_ref().is_some_and(|tls| tls.certificate.is_none()) {
                return Err(wrong("who is called needs --tls-certificate and --tls-key").into());
            }
            Outlet::PcapOverIpListen { listen, tls }
        } else if let Some(path) = &self.file {
            Outlet::File { path: absolute(path)? }
        } else if let Some(path) = &self.unix {
            Outlet::Unix { path: absolute(path)? }
        } else {
            Outlet::Stdout
        };
        Ok(outlet)
    }
}

fn list(tools: &[Tool]) -> String {
    let row = |tool: &Tool| {
        [tool.name.to_string(), tool.outlet.to_string(), tool.grant.to_string(), told(&tool.policy)]
    };
    let rows: Vec<_> = tools.iter().map(row).collect();
    table(["TOOL", "OUTLET", "MAY SEE", "POLICY"], &rows)
}

fn shown(tool: &Tool) -> String {
    let mtu = tool.mtu.map_or_else(|| "as the kernel says".into(), |mtu| mtu.bytes().to_string());
    let mut text = format!("{}\n  outlet   {}\n", tool.name, tool.outlet);
    if tool.outlet.is_datagrams() {
        text += &format!("  MTU      {mtu}, larger copies: {}\n", tool.policy.oversized);
    }
    text += &format!("  may see  {}\n  policy   {}\n", tool.grant, told(&tool.policy));
    text
}

/// A policy in a line.
fn told(policy: &Policy) -> String {
    let Policy { select, dedup, sample, strip, mask, slice, oversized: _, rate_bps } = policy;
    let words = [
        select.as_ref().map(|select| format!("select '{select}'")),
        dedup.then(|| "dedup".to_owned()),
        sample.map(|n| format!("sample 1:{n}")),
        strip.map(|strip| format!("strip {strip}")),
        mask.map(|mask| format!("mask {mask}")),
        slice.map(|slice| format!("slice {slice}")),
        rate_bps.map(|rate| format!("rate {rate} bit/s")),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    if words.is_empty() { "everything, whole".to_owned() } else { words.join(", ") }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

fn oversized(text: &str) -> Result<Oversized, String> {
    [Oversized::Slice, Oversized::Segment, Oversized::Refuse]
        .into_iter()
        .find(|oversized| oversized.to_string() == text)
        .ok_or_else(|| "expected slice, segment or refuse".to_owned())
}

/// Reads bits per second: digits, then `k`, `M` or `G` if need be.
fn bits(text: &str) -> Result<NonZeroU64, String> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k') => (text.get(..text.len() - 1), 1_000),
        Some(b'M') => (text.get(..text.len() - 1), 1_000_000),
        Some(b'G') => (text.get(..text.len() - 1), 1_000_000_000),
        _ => (Some(text), 1),
    };
    let number = digits.and_then(|digits| digits.parse::<u64>().ok());
    let bits = number.and_then(|number| number.checked_mul(factor)).and_then(NonZeroU64::new);
    bits.ok_or_else(|| "expected bits in a second, as 100M".to_owned())
}
