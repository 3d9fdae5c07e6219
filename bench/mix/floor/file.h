/* Capture files for the floors: read in chunks, written through one buffer. Little-endian only,
 * no compression, no checks beyond not reading past the end: a floor is the least there is to do. */
#ifndef FLOOR_FILE_H
#define FLOOR_FILE_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 1 << 20, MAX_INTERFACES = 64 };

struct reader {
    int fd, is_pcapng, interfaces;
    uint32_t at, end;
    uint64_t unit_ns[MAX_INTERFACES]; /* of pcap: the first */
    uint8_t buffer[CHUNK];
};

struct record {
    const uint8_t *bytes;
    const uint8_t *block; /* of pcapng: the whole block */
    uint64_t time_ns;
    uint32_t len, wire_len, block_len, interface;
};

struct writer {
    int fd;
    uint32_t used;
    uint8_t buffer[CHUNK];
};

static void die(const char *what) {
    perror(what);
    exit(1);
}

static inline uint32_t u32(const uint8_t *p) {
    uint32_t value;
    memcpy(&value, p, 4);
    return value;
}

static inline uint16_t be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

static inline uint32_t be32(const uint8_t *p) { return __builtin_bswap32(u32(p)); }

static void flush(struct writer *w) {
    for (uint32_t done = 0; done < w->used;) {
        ssize_t n = write(w->fd, w->buffer + done, w->used - done);
        if (n < 0) die("write");
        done += (uint32_t)n;
    }
    w->used = 0;
}

/* Room for `len` bytes, at most a chunk. */
static inline uint8_t *room(struct writer *w, uint32_t len) {
    if (w->used + len > CHUNK) flush(w);
    uint8_t *p = w->buffer + w->used;
    w->used += len;
    return p;
}

/* At least `len` bytes at the returned place, or NULL at the end of the file. */
static inline const uint8_t *have(struct reader *r, uint32_t len) {
    while (r->end - r->at < len) {
        memmove(r->buffer, r->buffer + r->at, r->end - r->at);
        r->end -= r->at;
        r->at = 0;
        ssize_t n = read(r->fd, r->buffer + r->end, CHUNK - r->end);
        if (n < 0) die("read");
        if (n == 0) return NULL;
        r->end += (uint32_t)n;
    }
    return r->buffer + r->at;
}

static void put_block(struct writer *w, uint32_t type, const void *body, uint32_t len) {
    uint32_t total = len + 12;
    uint8_t *p = room(w, total);
    memcpy(p, &type, 4);
    memcpy(p + 4, &total, 4);
    memcpy(p + 8, body, len);
    memcpy(p + 8 + len, &total, 4);
}

/* Opens both; what stands before the first packet of a pcapng goes to `w` as it is, for a pcap
 * the head of a pcapng is made. Without `w`, nothing is written. */
static void begin(struct reader *r, const char *in, struct writer *w, const char *out) {
    r->fd = open(in, O_RDONLY);
    if (r->fd < 0) die(in);
    if (w && (w->fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0644)) < 0) die(out);
    const uint8_t *p = have(r, 24);
    if (!p) die("too short");
    r->is_pcapng = u32(p) == 0x0a0d0d0a;
    if (!r->is_pcapng) {
        r->unit_ns[0] = u32(p) == 0xa1b23c4d ? 1 : 1000;
        r->at = 24;
        if (w) {
            uint32_t section[] = {0x1a2b3c4d, 1, 0xffffffff, 0xffffffff};
            uint32_t interface[] = {1, 262144, 0x00010009, r->unit_ns[0] == 1 ? 9 : 6, 0};
            put_block(w, 0x0a0d0d0a, section, sizeof section);
            put_block(w, 1, interface, sizeof interface);
        }
        return;
    }
    while ((p = have(r, 12)) && u32(p) != 6) {
        uint32_t total = u32(p + 4);
        p = have(r, total);
        if (u32(p) == 1 && r->interfaces < MAX_INTERFACES) {
            uint64_t unit = 1000;
            for (uint32_t at = 16; at + 8 <= total - 4 && (u32(p + at) & 0xffff);) {
                uint32_t code = u32(p + at) & 0xffff, len = u32(p + at) >> 16;
                if (code == 9) unit = p[at + 4] == 9 ? 1 : 1000;
                at += 4 + ((len + 3) & ~3u);
            }
            r->unit_ns[r->interfaces++] = unit;
        }
        if (w) memcpy(room(w, total), p, total);
        r->at += total;
    }
}

static inline int next(struct reader *r, struct record *record) {
    const uint8_t *p;
    if (!r->is_pcapng) {
        if (!(p = have(r, 16))) return 0;
        uint32_t len = u32(p + 8);
        if (!(p = have(r, 16 + len))) return 0;
        *record = (struct record){p + 16, NULL,
            u32(p) * 1000000000ull + u32(p + 4) * r->unit_ns[0], len, u32(p + 12), 0, 0};
        r->at += 16 + len;
        return 1;
    }
    while ((p = have(r, 12))) {
        uint32_t total = u32(p + 4);
        if (!(p = have(r, total))) return 0;
        r->at += total;
        if (u32(p) != 6) continue;
        uint32_t interface = u32(p + 8) % MAX_INTERFACES;
        uint64_t ticks = (uint64_t)u32(p + 12) << 32 | u32(p + 16);
        *record = (struct record){p + 28, p, ticks * r->unit_ns[interface], u32(p + 20),
            u32(p + 24), total, interface};
        return 1;
    }
    return 0;
}

/* An enhanced packet block whose packet is two pieces put together. */
static inline void put_pieces(struct writer *w, const struct reader *r, const struct record *record,
        const uint8_t *a, uint32_t a_len, const uint8_t *b, uint32_t b_len, uint32_t wire_len) {
    uint32_t len = a_len + b_len, padded = (len + 3) & ~3u, total = padded + 32;
    uint64_t ticks = record->time_ns / r->unit_ns[record->interface];
    uint8_t *p = room(w, total);
    uint32_t head[] = {6, total, record->interface, (uint32_t)(ticks >> 32), (uint32_t)ticks, len, wire_len};
    memcpy(p, head, 28);
    memcpy(p + 28, a, a_len);
    memcpy(p + 28 + a_len, b, b_len);
    memset(p + 28 + len, 0, padded - len);
    memcpy(p + 28 + padded, &total, 4);
}

/* The packet as it is. */
static inline void put(struct writer *w, const struct reader *r, const struct record *record) {
    if (record->block) {
        memcpy(room(w, record->block_len), record->block, record->block_len);
    } else {
        put_pieces(w, r, record, record->bytes, record->len, NULL, 0, record->wire_len);
    }
}

#endif
