//! Information elements: what a field of a template is called, and which column it fills.
//!
//! Numbers and names are those of the IANA registry of IPFIX and of what VMware and Open vSwitch
//! document of theirs (both use enterprise number 6876). An element that is not here keeps its
//! number for a name and never costs the record.

use std::fmt;

use super::column::{Column, WideColumn};

/// An information element: whose registry it is in, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// Private enterprise number; 0 is the registry of IANA, 29305 the same for the way back
    /// (RFC 5103), [`V9_SCOPE`](Self::V9_SCOPE) the scopes of NetFlow version 9.
    pub enterprise: u32,
    /// The number there.
    pub number: u16,
}

impl Element {
    /// Whose numbers are those of scopes in options templates of NetFlow version 9 (RFC 3954,
    /// section 6.1). No enterprise has this number.
    pub const V9_SCOPE: u32 = u32::MAX;
    /// Enterprise number of elements of the way back (RFC 5103, section 6.1).
    pub const REVERSE: u32 = 29305;
    /// Enterprise number of VMware, which Open vSwitch uses as well.
    pub const VMWARE: u32 = 6876;

    /// An element of IANA's registry.
    pub const fn iana(number: u16) -> Self {
        Self { enterprise: 0, number }
    }

    /// What it is called, if it is known here.
    pub fn name(self) -> Option<&'static str> {
        if self.enterprise == Self::REVERSE {
            return Self::iana(self.number).name();
        }
        Some(entry(self)?.2)
    }

    /// Whether its value is text.
    pub fn is_text(self) -> bool {
        entry(self).is_some_and(|entry| matches!(entry.3, Target::Text))
    }

    /// Where its value goes.
    pub(super) fn target(self) -> Target {
        entry(self).map_or(Target::Nowhere, |entry| entry.3)
    }
}

impl fmt::Display for Element {
    /// Its name, or its numbers as `3054/110`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) if self.enterprise == Self::REVERSE => write!(f, "reverse:{name}"),
            Some(name) => f.write_str(name),
            None if self.enterprise == 0 => write!(f, "{}", self.number),
            None => write!(f, "{}/{}", self.enterprise, self.number),
        }
    }
}

/// Where the value of an element goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Into a column.
    Number(Column),
    /// Into a column of 16 bytes.
    Wide(WideColumn),
    /// Nowhere; it is text and stays in the bytes.
    Text,
    /// Nowhere; it stays in the bytes.
    Nowhere,
}

type Entry = (u32, u16, &'static str, Target);

fn entry(element: Element) -> Option<&'static Entry> {
    let key = (element.enterprise, element.number);
    let found = ELEMENTS.binary_search_by_key(&key, |entry| (entry.0, entry.1)).ok()?;
    ELEMENTS.get(found)
}

/// By enterprise and number, ascending.
const ELEMENTS: &[Entry] = {
    use Column as C;
    use Target::{Nowhere, Number as N, Text, Wide};
    use WideColumn as W;
    &[
        (0, 1, "octetDeltaCount", N(C::OctetDeltaCount)),
        (0, 2, "packetDeltaCount", N(C::PacketDeltaCount)),
        (0, 3, "deltaFlowCount", Nowhere),
        (0, 4, "protocolIdentifier", N(C::ProtocolIdentifier)),
        (0, 5, "ipClassOfService", N(C::IpClassOfService)),
        (0, 6, "tcpControlBits", N(C::TcpControlBits)),
        (0, 7, "sourceTransportPort", N(C::SourcePort)),
        (0, 8, "sourceIPv4Address", N(C::SourceAddress4)),
        (0, 9, "sourceIPv4PrefixLength", N(C::SourcePrefixLength4)),
        (0, 10, "ingressInterface", N(C::IngressInterface)),
        (0, 11, "destinationTransportPort", N(C::DestinationPort)),
        (0, 12, "destinationIPv4Address", N(C::DestinationAddress4)),
        (0, 13, "destinationIPv4PrefixLength", N(C::DestinationPrefixLength4)),
        (0, 14, "egressInterface", N(C::EgressInterface)),
        (0, 15, "ipNextHopIPv4Address", N(C::NextHopAddress4)),
        (0, 16, "bgpSourceAsNumber", N(C::SourceAs)),
        (0, 17, "bgpDestinationAsNumber", N(C::DestinationAs)),
        (0, 18, "bgpNextHopIPv4Address", Nowhere),
        (0, 21, "flowEndSysUpTime", N(C::FlowEndUptime)),
        (0, 22, "flowStartSysUpTime", N(C::FlowStartUptime)),
        (0, 23, "postOctetDeltaCount", N(C::PostOctetDeltaCount)),
        (0, 24, "postPacketDeltaCount", N(C::PostPacketDeltaCount)),
        (0, 25, "minimumIpTotalLength", Nowhere),
        (0, 26, "maximumIpTotalLength", Nowhere),
        (0, 27, "sourceIPv6Address", Wide(W::SourceAddress6)),
        (0, 28, "destinationIPv6Address", Wide(W::DestinationAddress6)),
        (0, 29, "sourceIPv6PrefixLength", N(C::SourcePrefixLength6)),
        (0, 30, "destinationIPv6PrefixLength", N(C::DestinationPrefixLength6)),
        (0, 31, "flowLabelIPv6", Nowhere),
        (0, 32, "icmpTypeCodeIPv4", N(C::IcmpTypeCode4)),
        (0, 33, "igmpType", Nowhere),
        (0, 34, "samplingInterval", N(C::SamplingInterval)),
        (0, 35, "samplingAlgorithm", N(C::SamplingAlgorithm)),
        (0, 36, "flowActiveTimeout", N(C::FlowActiveTimeout)),
        (0, 37, "flowIdleTimeout", N(C::FlowIdleTimeout)),
        (0, 38, "engineType", Nowhere),
        (0, 39, "engineId", Nowhere),
        (0, 40, "exportedOctetTotalCount", N(C::ExportedOctetTotalCount)),
        (0, 41, "exportedMessageTotalCount", N(C::ExportedMessageTotalCount)),
        (0, 42, "exportedFlowRecordTotalCount", N(C::ExportedFlowTotalCount)),
        (0, 44, "sourceIPv4Prefix", Nowhere),
        (0, 45, "destinationIPv4Prefix", Nowhere),
        (0, 46, "mplsTopLabelType", Nowhere),
        (0, 47, "mplsTopLabelIPv4Address", Nowhere),
        (0, 48, "samplerId", N(C::SamplerId)),
        (0, 49, "samplerMode", Nowhere),
        (0, 50, "samplerRandomInterval", N(C::SamplerRandomInterval)),
        (0, 52, "minimumTTL", Nowhere),
        (0, 53, "maximumTTL", Nowhere),
        (0, 54, "fragmentIdentification", Nowhere),
        (0, 55, "postIpClassOfService", Nowhere),
        (0, 56, "sourceMacAddress", N(C::SourceMac)),
        (0, 57, "postDestinationMacAddress", N(C::PostDestinationMac)),
        (0, 58, "vlanId", N(C::VlanId)),
        (0, 59, "postVlanId", N(C::PostVlanId)),
        (0, 60, "ipVersion", Nowhere),
        (0, 61, "flowDirection", N(C::FlowDirection)),
        (0, 62, "ipNextHopIPv6Address", Wide(W::NextHopAddress6)),
        (0, 63, "bgpNextHopIPv6Address", Nowhere),
        (0, 64, "ipv6ExtensionHeaders", Nowhere),
        (0, 70, "mplsTopLabelStackSection", Nowhere),
        (0, 71, "mplsLabelStackSection2", Nowhere),
        (0, 72, "mplsLabelStackSection3", Nowhere),
        (0, 80, "destinationMacAddress", N(C::DestinationMac)),
        (0, 81, "postSourceMacAddress", N(C::PostSourceMac)),
        (0, 82, "interfaceName", Text),
        (0, 83, "interfaceDescription", Text),
        (0, 84, "samplerName", Text),
        (0, 85, "octetTotalCount", N(C::OctetTotalCount)),
        (0, 86, "packetTotalCount", N(C::PacketTotalCount)),
        (0, 88, "fragmentOffset", Nowhere),
        (0, 89, "forwardingStatus", Nowhere),
        (0, 94, "applicationDescription", Text),
        (0, 95, "applicationId", N(C::ApplicationId)),
        (0, 96, "applicationName", Text),
        (0, 102, "layer2packetSectionOffset", Nowhere),
        (0, 103, "layer2packetSectionSize", Nowhere),
        (0, 104, "layer2packetSectionData", Nowhere),
        (0, 128, "bgpNextAdjacentAsNumber", Nowhere),
        (0, 129, "bgpPrevAdjacentAsNumber", Nowhere),
        (0, 130, "exporterIPv4Address", N(C::ExporterAddress4)),
        (0, 131, "exporterIPv6Address", Wide(W::ExporterAddress6)),
        (0, 132, "droppedOctetDeltaCount", N(C::DroppedOctetDeltaCount)),
        (0, 133, "droppedPacketDeltaCount", N(C::DroppedPacketDeltaCount)),
        (0, 134, "droppedOctetTotalCount", Nowhere),
        (0, 135, "droppedPacketTotalCount", Nowhere),
        (0, 136, "flowEndReason", N(C::FlowEndReason)),
        (0, 137, "commonPropertiesId", Nowhere),
        (0, 138, "observationPointId", N(C::ObservationPointId)),
        (0, 139, "icmpTypeCodeIPv6", N(C::IcmpTypeCode6)),
        (0, 143, "meteringProcessId", Nowhere),
        (0, 144, "exportingProcessId", Nowhere),
        (0, 145, "templateId", N(C::TemplateId)),
        (0, 148, "flowId", N(C::FlowId)),
        (0, 149, "observationDomainId", N(C::ObservationDomainId)),
        (0, 150, "flowStartSeconds", N(C::FlowStartSeconds)),
        (0, 151, "flowEndSeconds", N(C::FlowEndSeconds)),
        (0, 152, "flowStartMilliseconds", N(C::FlowStartMilliseconds)),
        (0, 153, "flowEndMilliseconds", N(C::FlowEndMilliseconds)),
        (0, 154, "flowStartMicroseconds", N(C::FlowStartMicroseconds)),
        (0, 155, "flowEndMicroseconds", N(C::FlowEndMicroseconds)),
        (0, 156, "flowStartNanoseconds", N(C::FlowStartNanoseconds)),
        (0, 157, "flowEndNanoseconds", N(C::FlowEndNanoseconds)),
        (0, 158, "flowStartDeltaMicroseconds", N(C::FlowStartDeltaMicroseconds)),
        (0, 159, "flowEndDeltaMicroseconds", N(C::FlowEndDeltaMicroseconds)),
        (0, 160, "systemInitTimeMilliseconds", N(C::SystemInitMilliseconds)),
        (0, 161, "flowDurationMilliseconds", N(C::FlowDurationMilliseconds)),
        (0, 162, "flowDurationMicroseconds", Nowhere),
        (0, 163, "observedFlowTotalCount", N(C::ObservedFlowTotalCount)),
        (0, 164, "ignoredPacketTotalCount", N(C::IgnoredPacketTotalCount)),
        (0, 165, "ignoredOctetTotalCount", N(C::IgnoredOctetTotalCount)),
        (0, 166, "notSentFlowTotalCount", N(C::NotSentFlowTotalCount)),
        (0, 167, "notSentPacketTotalCount", N(C::NotSentPacketTotalCount)),
        (0, 168, "notSentOctetTotalCount", N(C::NotSentOctetTotalCount)),
        (0, 176, "icmpTypeIPv4", N(C::IcmpType4)),
        (0, 177, "icmpCodeIPv4", N(C::IcmpCode4)),
        (0, 178, "icmpTypeIPv6", N(C::IcmpType6)),
        (0, 179, "icmpCodeIPv6", N(C::IcmpCode6)),
        (0, 180, "udpSourcePort", N(C::SourcePort)),
        (0, 181, "udpDestinationPort", N(C::DestinationPort)),
        (0, 182, "tcpSourcePort", N(C::SourcePort)),
        (0, 183, "tcpDestinationPort", N(C::DestinationPort)),
        (0, 184, "tcpSequenceNumber", Nowhere),
        (0, 189, "ipHeaderLength", Nowhere),
        (0, 192, "ipTTL", Nowhere),
        (0, 195, "ipDiffServCodePoint", Nowhere),
        (0, 210, "paddingOctets", Nowhere),
        (0, 224, "ipTotalLength", Nowhere),
        (0, 225, "postNATSourceIPv4Address", Nowhere),
        (0, 226, "postNATDestinationIPv4Address", Nowhere),
        (0, 227, "postNAPTSourceTransportPort", Nowhere),
        (0, 228, "postNAPTDestinationTransportPort", Nowhere),
        (0, 229, "natOriginatingAddressRealm", Nowhere),
        (0, 230, "natEvent", Nowhere),
        (0, 231, "initiatorOctets", N(C::InitiatorOctets)),
        (0, 232, "responderOctets", N(C::ResponderOctets)),
        (0, 233, "firewallEvent", N(C::FirewallEvent)),
        (0, 234, "ingressVRFID", Nowhere),
        (0, 235, "egressVRFID", Nowhere),
        (0, 236, "VRFname", Text),
        (0, 239, "biflowDirection", Nowhere),
        (0, 240, "ethernetHeaderLength", Nowhere),
        (0, 241, "ethernetPayloadLength", Nowhere),
        (0, 242, "ethernetTotalLength", Nowhere),
        (0, 243, "dot1qVlanId", N(C::Dot1qVlanId)),
        (0, 244, "dot1qPriority", Nowhere),
        (0, 245, "dot1qCustomerVlanId", Nowhere),
        (0, 246, "dot1qCustomerPriority", Nowhere),
        (0, 252, "ingressPhysicalInterface", Nowhere),
        (0, 253, "egressPhysicalInterface", Nowhere),
        (0, 254, "postDot1qVlanId", Nowhere),
        (0, 256, "ethernetType", Nowhere),
        (0, 258, "collectionTimeMilliseconds", Nowhere),
        (0, 291, "basicList", Nowhere),
        (0, 292, "subTemplateList", Nowhere),
        (0, 293, "subTemplateMultiList", Nowhere),
        (0, 298, "initiatorPackets", N(C::InitiatorPackets)),
        (0, 299, "responderPackets", N(C::ResponderPackets)),
        (0, 300, "observationDomainName", Text),
        (0, 302, "selectorId", N(C::SelectorId)),
        (0, 304, "selectorAlgorithm", Nowhere),
        (0, 305, "samplingPacketInterval", N(C::SamplingPacketInterval)),
        (0, 306, "samplingPacketSpace", N(C::SamplingPacketSpace)),
        (0, 309, "samplingSize", N(C::SamplingSize)),
        (0, 310, "samplingPopulation", N(C::SamplingPopulation)),
        (0, 312, "dataLinkFrameSize", N(C::DataLinkFrameSize)),
        (0, 313, "ipHeaderPacketSection", Nowhere),
        (0, 314, "ipPayloadPacketSection", Nowhere),
        (0, 315, "dataLinkFrameSection", Nowhere),
        (0, 322, "observationTimeSeconds", Nowhere),
        (0, 323, "observationTimeMilliseconds", Nowhere),
        (0, 324, "observationTimeMicroseconds", Nowhere),
        (0, 325, "observationTimeNanoseconds", Nowhere),
        (0, 335, "selectorName", Text),
        (0, 346, "privateEnterpriseNumber", Nowhere),
        (0, 351, "layer2SegmentId", N(C::Layer2SegmentId)),
        (0, 352, "layer2OctetDeltaCount", Nowhere),
        (0, 353, "layer2OctetTotalCount", Nowhere),
        (0, 354, "ingressUnicastPacketTotalCount", Nowhere),
        (0, 355, "ingressMulticastPacketTotalCount", Nowhere),
        (0, 356, "ingressBroadcastPacketTotalCount", Nowhere),
        (0, 357, "egressUnicastPacketTotalCount", Nowhere),
        (0, 358, "egressBroadcastPacketTotalCount", Nowhere),
        (0, 368, "ingressInterfaceType", Nowhere),
        (0, 369, "egressInterfaceType", Nowhere),
        (0, 371, "userName", Text),
        (0, 408, "dataLinkFrameType", Nowhere),
        (0, 409, "sectionOffset", N(C::SectionOffset)),
        (0, 410, "sectionExportedOctets", Nowhere),
        (0, 460, "httpRequestHost", Text),
        (0, 461, "httpRequestTarget", Text),
        (6876, 880, "tenantProtocol", N(C::TenantProtocol)),
        (6876, 881, "tenantSourceIPv4", N(C::TenantSourceAddress4)),
        (6876, 882, "tenantDestIPv4", N(C::TenantDestinationAddress4)),
        (6876, 883, "tenantSourceIPv6", Wide(W::TenantSourceAddress6)),
        (6876, 884, "tenantDestIPv6", Wide(W::TenantDestinationAddress6)),
        (6876, 886, "tenantSourcePort", N(C::TenantSourcePort)),
        (6876, 887, "tenantDestPort", N(C::TenantDestinationPort)),
        (6876, 888, "egressInterfaceAttr", N(C::EgressInterfaceAttr)),
        (6876, 889, "vxlanExportRole", N(C::VxlanExportRole)),
        (6876, 890, "ingressInterfaceAttr", N(C::IngressInterfaceAttr)),
        (6876, 891, "tunnelType", N(C::TunnelType)),
        (6876, 892, "tunnelKey", N(C::TunnelKey)),
        (6876, 893, "tunnelSourceIPv4Address", N(C::TunnelSourceAddress4)),
        (6876, 894, "tunnelDestinationIPv4Address", N(C::TunnelDestinationAddress4)),
        (6876, 895, "tunnelProtocolIdentifier", N(C::TunnelProtocol)),
        (6876, 896, "tunnelSourceTransportPort", N(C::TunnelSourcePort)),
        (6876, 897, "tunnelDestinationTransportPort", N(C::TunnelDestinationPort)),
        (6876, 898, "virtualObsID", Text),
        (6876, 950, "ruleId", N(C::RuleId)),
        (6876, 951, "vmUuid", Wide(W::VmUuid)),
        (6876, 952, "vnicIndex", N(C::VnicIndex)),
        (6876, 953, "sessionFlags", Nowhere),
        (6876, 954, "flowDirection", Nowhere),
        (6876, 955, "algControlFlowId", Nowhere),
        (6876, 956, "algType", Nowhere),
        (6876, 957, "algFlowType", Nowhere),
        (6876, 958, "averageLatency", Nowhere),
        (6876, 959, "retransmissionCount", Nowhere),
        (6876, 960, "vifUuid", Wide(W::VifUuid)),
        (6876, 961, "vifId", Text),
        (29305, 1, "octetDeltaCount", N(C::ReverseOctetDeltaCount)),
        (29305, 2, "packetDeltaCount", N(C::ReversePacketDeltaCount)),
        (29305, 6, "tcpControlBits", N(C::ReverseTcpControlBits)),
        (29305, 85, "octetTotalCount", N(C::ReverseOctetTotalCount)),
        (29305, 86, "packetTotalCount", N(C::ReversePacketTotalCount)),
        (56505, 101, "sourcePodName", Text),
        (56505, 103, "destinationPodName", Text),
        (56505, 104, "sourceNodeName", Text),
        (56505, 105, "destinationNodeName", Text),
        (56505, 137, "flowType", Nowhere),
        (Element::V9_SCOPE, 1, "System", Nowhere),
        (Element::V9_SCOPE, 2, "Interface", N(C::ScopeInterface)),
        (Element::V9_SCOPE, 3, "LineCard", Nowhere),
        (Element::V9_SCOPE, 4, "Cache", Nowhere),
        (Element::V9_SCOPE, 5, "Template", N(C::ScopeTemplate)),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_so_that_it_can_be_searched() {
        let keys: Vec<_> = ELEMENTS.iter().map(|entry| (entry.0, entry.1)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn elements_have_names_or_numbers() {
        let element = |enterprise, number| Element { enterprise, number }.to_string();
        assert_eq!(element(0, 8), "sourceIPv4Address");
        assert_eq!(element(6876, 892), "tunnelKey");
        assert_eq!(element(29305, 1), "reverse:octetDeltaCount");
        assert_eq!(element(0, 40001), "40001");
        assert_eq!(element(3054, 110), "3054/110");
    }
}
