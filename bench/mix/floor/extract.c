/* extract IN OUT CARRIER NUMBER VLAN MAC: packets of one VM, by inner MAC and network, to pcapng.
 * Frames to a group of its network are the VM's too. VLAN is the network's on a vSwitch. */
#include "frame.h"

int main(int argc, char **argv) {
    static struct reader r;
    static struct writer w;
    struct record record;
    if (argc != 7) return 2;
    const char *names[] = {"", "vxlan", "geneve", "gre", "vlan", "nvgre"};
    uint32_t wanted = 0, number = (uint32_t)atoi(argv[4]), vlan = (uint32_t)atoi(argv[5]);
    while (strcmp(names[wanted], argv[3])) wanted++;
    uint32_t shift = wanted == 5 ? 8 : 0;
    if (wanted == 5) wanted = GRE;
    unsigned octets[6];
    sscanf(argv[6], "%x:%x:%x:%x:%x:%x", octets, octets + 1, octets + 2, octets + 3, octets + 4, octets + 5);
    uint64_t mac = 0;
    for (int i = 5; i >= 0; i--) mac = mac << 8 | octets[i];
    begin(&r, argv[1], &w, argv[2]);
    while (next(&r, &record)) {
        struct frame f = decode(record.bytes, record.len);
        if (!((f.carrier == wanted && f.number >> shift == number) ||
              (f.carrier == VLAN && f.number == vlan)))
            continue;
        uint64_t to, from;
        memcpy(&to, f.macs, 8);
        memcpy(&from, f.macs + 6, 8);
        if ((to & 1) || to << 16 == mac << 16 || from << 16 == mac << 16) put(&w, &r, &record);
    }
    flush(&w);
    return 0;
}
