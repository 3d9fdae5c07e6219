/* The innermost frame of what is in a mix, and the network it is in. One tunnel deep. */
#ifndef FLOOR_FRAME_H
#define FLOOR_FRAME_H

#include "file.h"

enum carrier { NONE, VXLAN, GENEVE, GRE, VLAN, CARRIERS };

struct frame {
    const uint8_t *macs;  /* the innermost Ethernet header */
    const uint8_t *rest;  /* its own EtherType, behind the tags */
    enum carrier carrier; /* ERSPAN counts as the VLAN it shows */
    uint32_t number;      /* VNI, whole GRE key or VLAN */
    uint8_t shape;        /* differs where frames of one network look different */
};

/* Tags of the frame at `p`; returns its own EtherType. */
static inline const uint8_t *tags(const uint8_t *p, uint32_t *vlan, uint8_t *shape) {
    for (p += 12;; p += 4) {
        uint16_t type = be16(p);
        if (type == 0x8100) {
            *vlan = be16(p + 2) & 0xfff;
        } else if (type == 0x8926) {
            *shape = 1;
            p += 2;
        } else {
            return p;
        }
    }
}

static inline struct frame decode(const uint8_t *p, uint32_t len) {
    uint32_t vlan = 0;
    struct frame f = {p, NULL, NONE, 0, 0};
    const uint8_t *end = p + len, *type = tags(p, &vlan, &f.shape), *t;
    uint8_t protocol;
    f.rest = type;
    if (vlan) f.carrier = VLAN, f.number = vlan;
    if (be16(type) == 0x0800) {
        protocol = type[11];
        t = type + 2 + (type[2] & 15) * 4;
    } else if (be16(type) == 0x86dd) {
        protocol = type[8];
        t = type + 42;
    } else {
        return f;
    }
    if (t + 30 > end) return f;
    if (protocol == 17) {
        uint16_t port = be16(t + 2);
        if (port == 4789) {
            f.carrier = VXLAN, f.number = be32(t + 12) >> 8, f.macs = t + 16;
        } else if (port == 6081) {
            f.carrier = GENEVE, f.number = be32(t + 12) >> 8, f.macs = t + 16 + (t[8] & 63) * 4;
        } else {
            return f;
        }
        f.shape = 2, vlan = 0;
        f.rest = tags(f.macs, &vlan, &f.shape);
    } else if (protocol == 47) {
        uint16_t flags = be16(t), inner = be16(t + 2);
        const uint8_t *after = t + 4 + (flags & 0x8000 ? 4 : 0) + (flags & 0x2000 ? 4 : 0) +
            (flags & 0x1000 ? 4 : 0);
        f.shape = 3, vlan = 0;
        if (inner == 0x6558) {
            f.carrier = GRE, f.number = be32(after - 4), f.macs = after;
            f.rest = tags(f.macs, &vlan, &f.shape);
        } else if (inner == 0x88be || inner == 0x22eb) {
            f.shape = 4 + (inner == 0x22eb);
            f.carrier = VLAN, f.number = be16(after) & 0xfff;
            f.macs = after + (inner == 0x88be ? 8 : after[11] & 1 ? 20 : 12);
            f.rest = tags(f.macs, &vlan, &f.shape);
            if (vlan) f.number = vlan;
        }
    }
    return f;
}

#endif
