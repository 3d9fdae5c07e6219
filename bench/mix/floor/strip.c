/* strip IN OUT: every packet without tunnel and tags, full length, to pcapng. */
#include "frame.h"

int main(int argc, char **argv) {
    static struct reader r;
    static struct writer w;
    struct record record;
    if (argc != 3) return 2;
    begin(&r, argv[1], &w, argv[2]);
    while (next(&r, &record)) {
        struct frame f = decode(record.bytes, record.len);
        uint32_t rest = (uint32_t)(record.bytes + record.len - f.rest);
        put_pieces(&w, &r, &record, f.macs, 12, f.rest, rest, record.wire_len - record.len + 12 + rest);
    }
    flush(&w);
    return 0;
}
