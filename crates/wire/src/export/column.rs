//! The columns of a flow record: one place for every number a collector asks for again and again.
//!
//! A template is compiled once into "these bytes go into that column"; filling a row is then a few
//! loads. A row is never cleared: a set of bits says which columns the record at hand has.

/// A column of numbers. What it means is the element that fills it; see
/// [`Element`](super::Element) and the IANA registry of IPFIX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is called as the element it holds, which its table names")]
pub enum Column {
    OctetDeltaCount,
    PacketDeltaCount,
    OctetTotalCount,
    PacketTotalCount,
    PostOctetDeltaCount,
    PostPacketDeltaCount,
    InitiatorOctets,
    InitiatorPackets,
    ResponderOctets,
    ResponderPackets,
    ReverseOctetDeltaCount,
    ReversePacketDeltaCount,
    ReverseOctetTotalCount,
    ReversePacketTotalCount,
    ReverseTcpControlBits,
    ProtocolIdentifier,
    IpClassOfService,
    TcpControlBits,
    SourcePort,
    DestinationPort,
    IcmpTypeCode4,
    IcmpTypeCode6,
    IcmpType4,
    IcmpCode4,
    IcmpType6,
    IcmpCode6,
    SourceAddress4,
    DestinationAddress4,
    NextHopAddress4,
    IngressInterface,
    EgressInterface,
    SourceAs,
    DestinationAs,
    SourcePrefixLength4,
    DestinationPrefixLength4,
    SourcePrefixLength6,
    DestinationPrefixLength6,
    FlowDirection,
    VlanId,
    PostVlanId,
    Dot1qVlanId,
    SourceMac,
    DestinationMac,
    PostSourceMac,
    PostDestinationMac,
    FlowEndReason,
    FlowId,
    ApplicationId,
    FirewallEvent,
    FlowStartUptime,
    FlowEndUptime,
    FlowStartSeconds,
    FlowEndSeconds,
    FlowStartMilliseconds,
    FlowEndMilliseconds,
    FlowStartMicroseconds,
    FlowEndMicroseconds,
    FlowStartNanoseconds,
    FlowEndNanoseconds,
    FlowStartDeltaMicroseconds,
    FlowEndDeltaMicroseconds,
    FlowDurationMilliseconds,
    SystemInitMilliseconds,
    SamplingInterval,
    SamplingAlgorithm,
    SamplerRandomInterval,
    SamplerId,
    SelectorId,
    SamplingPacketInterval,
    SamplingPacketSpace,
    SamplingSize,
    SamplingPopulation,
    FlowActiveTimeout,
    FlowIdleTimeout,
    ObservationDomainId,
    ObservationPointId,
    ExporterAddress4,
    Layer2SegmentId,
    SectionOffset,
    DataLinkFrameSize,
    DroppedOctetDeltaCount,
    DroppedPacketDeltaCount,
    ObservedFlowTotalCount,
    IgnoredPacketTotalCount,
    IgnoredOctetTotalCount,
    NotSentFlowTotalCount,
    NotSentPacketTotalCount,
    NotSentOctetTotalCount,
    ExportedOctetTotalCount,
    ExportedMessageTotalCount,
    ExportedFlowTotalCount,
    TemplateId,
    ScopeInterface,
    ScopeTemplate,
    TenantProtocol,
    TenantSourceAddress4,
    TenantDestinationAddress4,
    TenantSourcePort,
    TenantDestinationPort,
    EgressInterfaceAttr,
    VxlanExportRole,
    IngressInterfaceAttr,
    TunnelType,
    TunnelKey,
    TunnelSourceAddress4,
    TunnelDestinationAddress4,
    TunnelProtocol,
    TunnelSourcePort,
    TunnelDestinationPort,
    RuleId,
    VnicIndex,
}

impl Column {
    /// How many there are.
    pub const COUNT: usize = Self::VnicIndex as usize + 1;
}

/// A column of 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is called as the element it holds, which its table names")]
pub enum WideColumn {
    SourceAddress6,
    DestinationAddress6,
    NextHopAddress6,
    ExporterAddress6,
    TenantSourceAddress6,
    TenantDestinationAddress6,
    VmUuid,
    VifUuid,
}

impl WideColumn {
    /// How many there are.
    pub const COUNT: usize = Self::VifUuid as usize + 1;
}

/// The numbers of one record.
#[derive(Debug, Clone)]
pub struct Columns {
    has: u128,
    has_wide: u8,
    numbers: [u64; Column::COUNT],
    wide: [[u8; 16]; WideColumn::COUNT],
}

impl Columns {
    /// None.
    pub const fn new() -> Self {
        Self {
            has: 0,
            has_wide: 0,
            numbers: [0; Column::COUNT],
            wide: [[0; 16]; WideColumn::COUNT],
        }
    }

    /// Forgets the record before.
    #[inline]
    pub(super) const fn clear(&mut self) {
        self.has = 0;
        self.has_wide = 0;
    }

    #[inline]
    pub(super) fn set(&mut self, column: Column, number: u64) {
        if let Some(slot) = self.numbers.get_mut(column as usize) {
            *slot = number;
            self.has |= 1 << column as u8;
        }
    }

    #[inline]
    pub(super) fn set_wide(&mut self, column: WideColumn, bytes: [u8; 16]) {
        if let Some(slot) = self.wide.get_mut(column as usize) {
            *slot = bytes;
            self.has_wide |= 1 << column as u8;
        }
    }

    /// Stores a number whose presence is said once for the whole record by
    /// [`mark`](Self::mark).
    #[inline]
    pub(super) fn store(&mut self, column: Column, number: u64) {
        if let Some(slot) = self.numbers.get_mut(column as usize) {
            *slot = number;
        }
    }

    #[inline]
    pub(super) const fn mark(&mut self, has: u128) {
        self.has |= has;
    }

    /// The number in a column, if the record has it.
    #[inline]
    pub fn get(&self, column: Column) -> Option<u64> {
        if self.has >> column as u8 & 1 == 0 {
            return None;
        }
        self.numbers.get(column as usize).copied()
    }

    /// The bytes in a column, if the record has it.
    #[inline]
    pub fn get_wide(&self, column: WideColumn) -> Option<[u8; 16]> {
        if self.has_wide >> column as u8 & 1 == 0 {
            return None;
        }
        self.wide.get(column as usize).copied()
    }
}

impl Default for Columns {
    fn default() -> Self {
        Self::new()
    }
}

const _: () = assert!(Column::COUNT <= 128 && WideColumn::COUNT <= 8);
