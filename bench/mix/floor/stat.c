/* stat IN: packets and bytes of every network, first and last time; decoded, in one walk. */
#include "frame.h"

int main(int argc, char **argv) {
    static struct reader r;
    static struct { uint64_t packets, bytes; } networks[CARRIERS][1 << 14];
    struct record record;
    uint64_t packets = 0, bytes = 0, first = 0, last = 0;
    if (argc != 2) return 2;
    begin(&r, argv[1], NULL, NULL);
    while (next(&r, &record)) {
        struct frame f = decode(record.bytes, record.len);
        /* A GRE key that is an NVGRE subnet has the flow in its last byte. */
        uint32_t number = f.carrier == GRE && f.number > 0xffff ? f.number >> 8 : f.number;
        networks[f.carrier][number & 0x3fff].packets++;
        networks[f.carrier][number & 0x3fff].bytes += record.wire_len;
        if (!packets++) first = record.time_ns;
        bytes += record.wire_len;
        last = record.time_ns;
    }
    const char *names[] = {"none", "vxlan", "geneve", "gre", "vlan"};
    for (int c = 0; c < CARRIERS; c++)
        for (int n = 0; n < 1 << 14; n++)
            if (networks[c][n].packets)
                printf("%s %d %lu %lu\n", names[c], n, networks[c][n].packets, networks[c][n].bytes);
    printf("all %lu %lu %lu %lu\n", packets, bytes, first, last);
    return 0;
}
