//! Any packets as those of mirrors: the mirrored frame lies within each, sessions take no more room
//! than they are given, and no more is lost than numbers were skipped.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run mirror -- -max_len=2048`
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::mirror::{MirrorForm, MirrorSessions, Mirrored};
use wire::{Layers, LinkType, Packet, Timestamp, TunnelPorts, VlanId};

fuzz_target!(|packets: Vec<(u64, Vec<u8>)>| {
    let ports = TunnelPorts::default();
    let forms = MirrorForm::WORDS.map(|(_, form)| form);
    let vlan = VlanId::new(100).map(MirrorForm::Rspan);
    let mut sessions = MirrorSessions::with_most(8);
    let mut scratch = Vec::new();
    let mut found_all = 0;
    for (time, data) in &packets {
        let layers = Layers::decode(LinkType::ETHERNET, data, &ports);
        let time = Timestamp::from_nanos(*time);
        let packet = Packet::new(time, LinkType::ETHERNET, data, data.len() as u32);
        for form in forms.into_iter().chain(vlan) {
            let Ok(found) = Mirrored::find(&packet, &layers, form) else { continue };
            assert!(found.start <= found.end && found.end <= data.len());
            let opened = found.open(packet, &mut scratch);
            assert!(opened.data.len() <= found.end - found.start);
            sessions.admit(&found, &packet);
            found_all += 1;
        }
    }
    assert!(sessions.len() <= 8);
    let counted: u64 = sessions.iter().map(|session| session.packets).sum();
    assert_eq!(counted + sessions.refused(), found_all);
    assert!(sessions.lost() <= found_all << 21);
});
