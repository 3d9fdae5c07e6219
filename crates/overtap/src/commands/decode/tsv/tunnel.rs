//! What tunnel headers and tags call the network, session or circuit they stand for.

use wire::Layer;
use wire::header::{
    CiscoMetadata, ETag, Erspan2, Erspan3, FabricPath, Geneve, Gre, Gtpc, Gtpu, L2tp, Mpls, Nsh,
    Pbb, Pppoe, VnTag, Vxlan, VxlanGpe, ethertype,
};

use super::{View, cursor_at};

/// The ids of header number `index` as `name=value,...`; `None` where it has none.
pub(super) fn ids(view: &View<'_>, index: usize) -> Option<String> {
    let header = view.layers.headers().get(index)?;
    let cursor = &mut cursor_at(view, *header);
    Some(match header.layer {
        Layer::Vxlan => vxlan(&Vxlan::decode(cursor).ok()?),
        Layer::VxlanGpe => {
            let gpe = VxlanGpe::decode(cursor).ok()?;
            let vni = gpe.vni.map(wire::Vni::value).unwrap_or_default();
            format!("vxlan.vni={vni},flags=0x{:04x}", gpe.flags)
        }
        Layer::Geneve => {
            let geneve = Geneve::decode(cursor).ok()?;
            let options = geneve.options().count();
            format!("geneve.vni={},nopt={options},ptype=0x{:04x}", geneve.vni, geneve.protocol)
        }
        Layer::Gre => gre(&Gre::decode(cursor).ok()?),
        Layer::Erspan2 => {
            let erspan = Erspan2::decode(cursor).ok()?;
            format!("erspan.id={},ver=1,vlan={}", erspan.session, erspan.vlan)
        }
        Layer::Erspan3 => {
            let erspan = Erspan3::decode(cursor).ok()?;
            format!("erspan.id={},ver=2,vlan={}", erspan.session, erspan.vlan)
        }
        Layer::Mpls => {
            let mpls = Mpls::decode(cursor).ok()?;
            format!("mpls.label={},s={}", mpls.label, u8::from(mpls.is_bottom))
        }
        Layer::Gtpc => format!("gtp.teid={}", Gtpc::decode(cursor).ok()?.teid),
        Layer::Gtpu => format!("gtp.teid={}", Gtpu::decode(cursor).ok()?.teid),
        Layer::L2tp => {
            let before = index.checked_sub(1).and_then(|before| view.layers.headers().get(before));
            let is_in_udp = before.is_some_and(|before| before.layer == Layer::Udp);
            let decode = if is_in_udp { L2tp::decode } else { L2tp::decode_in_ip };
            let l2tp = decode(cursor).ok()?;
            format!("l2tp.tunnel={},session={}", l2tp.tunnel, l2tp.session)
        }
        Layer::Pppoe => format!("pppoe.session={}", Pppoe::decode(cursor).ok()?.session),
        Layer::VnTag => vn_tag(&VnTag::decode(cursor).ok()?),
        Layer::ETag => {
            let tag = ETag::decode(cursor).ok()?;
            let (id, ingress) = (tag.id & 0xfff, tag.ingress & 0xfff);
            format!("etag.group={},ecid_base=0x{id:04x},iecid_base=0x{ingress:04x}", tag.group)
        }
        Layer::Pbb => format!("pbb.isid={}", Pbb::decode(cursor).ok()?.isid),
        Layer::FabricPath => format!("cfp.ftag={}", FabricPath::decode(cursor).ok()?.ftag),
        Layer::Nsh => {
            let nsh = Nsh::decode(cursor).ok()?;
            format!("nsh.spi={},si={}", nsh.path, nsh.index)
        }
        Layer::CiscoMetadata => {
            let before = index.checked_sub(1).and_then(|before| view.layers.headers().get(before));
            let is_in_gre = before.is_some_and(|before| before.layer == Layer::Gre);
            let decode =
                if is_in_gre { CiscoMetadata::decode_in_gre } else { CiscoMetadata::decode };
            format!("cmd.sgt={}", decode(cursor).ok()?.sgt)
        }
        _ => return None,
    })
}

fn vxlan(vxlan: &Vxlan) -> String {
    let group = vxlan.gbp.map(|group| format!(",gbp={group}")).unwrap_or_default();
    format!("vxlan.vni={}{group},flags=0x{:04x}", vxlan.vni, vxlan.flags)
}

fn gre(gre: &Gre) -> String {
    let mut text = format!("gre.proto=0x{:04x}", gre.protocol);
    if let Some(key) = gre.key {
        text += &format!(",key={key}");
    }
    if let Some(nvgre) = gre.as_nvgre() {
        text += &format!(",nvgre.vsid={},nvgre.flowid={}", nvgre.vsid, nvgre.flow);
    }
    match gre.sequence {
        Some(sequence) => text += &format!(",seq={sequence}"),
        // Type I has no header of its own.
        None if gre.protocol == ethertype::ERSPAN => text += ";erspan.id=,ver=,vlan=",
        None => {}
    }
    text
}

fn vn_tag(tag: &VnTag) -> String {
    format!(
        "vntag.dir={},ptr={},dst={},src={},looped={}",
        u8::from(tag.is_from_bridge),
        u8::from(tag.is_list),
        tag.destination,
        tag.source,
        u8::from(tag.is_looped),
    )
}
