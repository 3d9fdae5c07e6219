// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
/*
 * A virtual tap: copies each frame that passes a VM's port to another interface.
 *
 * One program for all taps of a mirror; a map says for each port, by its interface index, where its
 * frames go, and counts them. Taking a port out of the map stops its copies at once.
 *
 * The object beside this file is made from it by scripts/bpf; building overtap needs no compiler for
 * BPF.
 */
#include <linux/bpf.h>

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*bpf_clone_redirect)(struct __sk_buff *skb, __u32 ifindex, __u64 flags) =
	(void *)BPF_FUNC_clone_redirect;

/* What mod.rs reads and writes: five numbers of 8 bytes in the order of the machine. */
struct tap {
	__u64 target;  /* interface index of the destination */
	__u64 packets; /* copies sent */
	__u64 bytes;   /* their bytes */
	__u64 failed;  /* copies that could not be sent */
	__u64 own;     /* copies of ours that came by again, and were not copied */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct tap);
} taps SEC(".maps");

/* "over": on a copy as long as this kernel has it, also within the tunnel it is put into. */
#define OWN_MARK 0x6f766572

/* TCX_NEXT: whoever is behind us judges the frame as if we were not there. */
#define NEXT -1

SEC("classifier")
int overtap_tap(struct __sk_buff *skb)
{
	__u32 port = skb->ifindex;
	__u32 mark = skb->mark;
	struct tap *tap = bpf_map_lookup_elem(&taps, &port);

	if (!tap)
		return NEXT;
	if (mark == OWN_MARK) {
		__sync_fetch_and_add(&tap->own, 1);
		return NEXT;
	}
	__u32 len = skb->len;

	skb->mark = OWN_MARK;
	long error = bpf_clone_redirect(skb, tap->target, 0);

	skb->mark = mark;
	if (error) {
		__sync_fetch_and_add(&tap->failed, 1);
	} else {
		__sync_fetch_and_add(&tap->packets, 1);
		__sync_fetch_and_add(&tap->bytes, len);
	}
	return NEXT;
}

char tap_license[] SEC("license") = "Dual MIT/GPL";
