/* dedup IN OUT NETWORKS WINDOW_US: packets without the copies seen at other points, to pcapng.
 *
 * A copy has the tenant and the innermost packet of one that stays, but for hops, class and
 * checksum of the IP header; it is seen at another point and not later than the window. NETWORKS
 * has a line for each network: carrier, number, tenant. A point is an interface and how the frame
 * looks there: for a pcap the look is all there is. */
#include "frame.h"

enum { SLOTS = 1 << 16, POINTS = 7 };

/* A packet that stays. In a chain of its slot, oldest first. */
struct instance {
    uint64_t hash, time_ns;
    uint32_t next, points;
    uint32_t seen[POINTS];
};

static uint32_t heads[SLOTS], tails[SLOTS];
static struct instance ring[SLOTS]; /* in the order of time; index 0 is nobody's */

static inline uint64_t mix(uint64_t a, uint64_t b) {
    __uint128_t product = (__uint128_t)(a ^ 0x9e3779b97f4a7c15) * (b ^ 0xd1290ddb53c43e49);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t hash_bytes(const uint8_t *p, uint32_t len, uint64_t hash) {
    uint64_t a, b;
    for (; len >= 16; p += 16, len -= 16) {
        memcpy(&a, p, 8);
        memcpy(&b, p + 8, 8);
        hash = mix(a ^ hash, b);
    }
    a = b = 0;
    if (len >= 8) {
        memcpy(&a, p, 8);
        memcpy(&b, p + len - 8, 8);
    } else if (len) {
        for (uint32_t i = 0; i < len; i++) a = a << 8 | p[i];
        b = len;
    }
    return mix(a ^ hash, b + 1);
}

/* The innermost packet as no router or switch changes it. */
static inline uint64_t hash_packet(const uint8_t *type, const uint8_t *end, uint64_t tenant, uint8_t *hops) {
    uint8_t head[40];
    const uint8_t *p = type + 2;
    *hops = 0;
    if (be16(type) == 0x0800 && p + 20 <= end) {
        memcpy(head, p, 20);
        *hops = head[8];
        head[1] = head[8] = head[10] = head[11] = 0;
        uint32_t len = be16(p + 2);
        if (p + len < end) end = p + len;
        return hash_bytes(p + 20, (uint32_t)(end - p - 20), hash_bytes(head, 20, tenant));
    }
    if (be16(type) == 0x86dd && p + 40 <= end) {
        memcpy(head, p, 40);
        *hops = head[7];
        head[0] = head[1] = head[7] = 0;
        return hash_bytes(p + 40, (uint32_t)(end - p - 40), hash_bytes(head, 40, tenant));
    }
    return hash_bytes(type, (uint32_t)(end - type), tenant);
}

static uint8_t tenants[CARRIERS][1 << 14], subnets[1 << 14];

static void read_networks(const char *path) {
    FILE *file = fopen(path, "r");
    char carrier[16];
    unsigned number, tenant;
    if (!file) die(path);
    while (fscanf(file, "%15s %u %u", carrier, &number, &tenant) == 3) {
        uint8_t *table = !strcmp(carrier, "vxlan") ? tenants[VXLAN] : !strcmp(carrier, "geneve") ? tenants[GENEVE]
            : !strcmp(carrier, "gre") ? tenants[GRE] : !strcmp(carrier, "vlan") ? tenants[VLAN] : subnets;
        table[number & 0x3fff] = (uint8_t)(tenant + 1);
    }
    fclose(file);
}

static inline uint64_t tenant_of(const struct frame *f) {
    if (f->carrier == GRE && f->number > 0xffff) return subnets[f->number >> 8 & 0x3fff];
    return tenants[f->carrier][f->number & 0x3fff];
}

int main(int argc, char **argv) {
    static struct reader r;
    static struct writer w;
    struct record record;
    if (argc != 5) return 2;
    uint64_t window_ns = strtoull(argv[4], NULL, 10) * 1000;
    uint32_t oldest = 1, newest = 0, held = 0;
    read_networks(argv[3]);
    begin(&r, argv[1], &w, argv[2]);
    while (next(&r, &record)) {
        struct frame f = decode(record.bytes, record.len);
        uint8_t hops;
        uint64_t hash = hash_packet(f.rest, record.bytes + record.len, tenant_of(&f), &hops);
        /* What is too old to have a copy goes. */
        while (held && (ring[oldest].time_ns + window_ns < record.time_ns || held == SLOTS - 1)) {
            uint32_t slot = ring[oldest].hash % SLOTS;
            heads[slot] = ring[oldest].next;
            oldest = oldest == SLOTS - 1 ? 1 : oldest + 1;
            held--;
        }
        uint64_t macs;
        memcpy(&macs, f.macs + 4, 8);
        uint32_t point = (uint32_t)mix(macs, record.interface << 16 | f.shape << 8 | hops);
        uint32_t slot = hash % SLOTS, at = heads[slot];
        for (; at; at = ring[at].next) {
            struct instance *i = &ring[at];
            if (i->hash != hash || i->points == POINTS) continue;
            uint32_t n = 0;
            while (n < i->points && i->seen[n] != point) n++;
            if (n == i->points) {
                i->seen[i->points++] = point;
                break;
            }
        }
        if (at) continue;
        newest = newest == SLOTS - 1 ? 1 : newest + 1;
        ring[newest] = (struct instance){hash, record.time_ns, 0, 1, {point}};
        if (heads[slot]) ring[tails[slot]].next = newest; else heads[slot] = newest;
        tails[slot] = newest;
        held++;
        put(&w, &r, &record);
    }
    flush(&w);
    return 0;
}
