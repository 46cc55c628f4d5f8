/*
 * What the bare forwarders have in common: their command line, their bound in time, and BPF programs of a few
 * instructions that are written out by hand and held by links, so that a killed forwarder leaves nothing behind.
 *
 * A bare forwarder does the least that a box between two links can do: frames that come in by one interface leave
 * by the other with the MAC addresses of the next hop. It is what a balancer on the same sockets is measured
 * against, so nothing in here is slow on purpose.
 */
#ifndef FORWARDER_H
#define FORWARDER_H

#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    MAC_BYTES = 6,
    /* Frames that are taken and handed on at once. */
    BURST_FRAMES = 64,
    /* A ring has at most so many entries; more would only keep frames waiting. */
    RING_ENTRIES_MAX = 16384,
    /* The longest run: a day. */
    SECONDS_MAX = 86400,
    /* linux/bpf.h of a Debian older than the kernel does not have it: ingress, before anything else of the stack. */
    ATTACH_TCX_INGRESS = 46,
};

/* One side of the forwarder. */
struct side {
    const char *name;
    unsigned index;
    /* Of frames that leave by it: the source is its own address, the destination the next hop's. */
    uint8_t own[MAC_BYTES];
    uint8_t next_hop[MAC_BYTES];
    uint64_t forwarded;
};

struct options {
    struct side sides[2];
    double seconds;
    unsigned ring_entries;
    int cpu;
    bool generic;
    bool busy_polling;
    bool send_by_message;
};

static volatile sig_atomic_t told_to_end;

static void obey(int signal) {
    (void)signal;
    told_to_end = 1;
}

_Noreturn static void give_up(const char *doing, const char *what) {
    fprintf(stderr, "%s %s: %s\n", doing, what, strerror(errno));
    exit(1);
}

_Noreturn static void refuse(const char *usage) {
    fprintf(stderr, "%s", usage);
    exit(2);
}

static bool read_mac(const char *text, uint8_t mac[MAC_BYTES]) {
    char end;
    return sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%c", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
                  &mac[5], &end) == MAC_BYTES;
}

/* INTERFACE=MAC: the interface, and the next hop behind it. */
static bool read_side(const char *text, struct side *side) {
    const char *separator = strchr(text, '=');
    if (separator == NULL || !read_mac(separator + 1, side->next_hop))
        return false;
    side->name = strndup(text, (size_t)(separator - text));
    return side->name != NULL && strlen(side->name) < IFNAMSIZ;
}

static void find_side(struct side *side) {
    struct ifreq request = {0};
    memcpy(request.ifr_name, side->name, strlen(side->name));
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    side->index = if_nametoindex(side->name);
    if (fd < 0 || side->index == 0 || ioctl(fd, SIOCGIFHWADDR, &request) < 0)
        give_up("looking at interface", side->name);
    memcpy(side->own, request.ifr_hwaddr.sa_data, MAC_BYTES);
    close(fd);
}

/* Reads the command line or ends with 2; finds the interfaces; pins the thread; obeys SIGINT and SIGTERM. */
static struct options read_options(int count, char **words, const char *usage) {
    static const struct option known[] = {
        {"seconds", required_argument, NULL, 's'}, {"ring", required_argument, NULL, 'r'},
        {"cpu", required_argument, NULL, 'c'},     {"generic", no_argument, NULL, 'g'},
        {"busy-polling", no_argument, NULL, 'b'},  {"sendmmsg", no_argument, NULL, 'm'},
        {0},
    };
    struct options options = {.ring_entries = 2048, .cpu = -1};
    for (int letter; (letter = getopt_long(count, words, "", known, NULL)) != -1;) {
        switch (letter) {
        case 's': options.seconds = atof(optarg); break;
        case 'r': options.ring_entries = (unsigned)atoi(optarg); break;
        case 'c': options.cpu = atoi(optarg); break;
        case 'g': options.generic = true; break;
        case 'b': options.busy_polling = true; break;
        case 'm': options.send_by_message = true; break;
        default: refuse(usage);
        }
    }
    /* Written so that "not a number" is refused too. */
    bool bounded = options.seconds > 0 && options.seconds <= SECONDS_MAX;
    unsigned entries = options.ring_entries;
    bool ring = entries >= BURST_FRAMES && entries <= RING_ENTRIES_MAX && (entries & (entries - 1)) == 0;
    if (!bounded || !ring || count - optind != 2 || !read_side(words[optind], &options.sides[0]) ||
        !read_side(words[optind + 1], &options.sides[1]))
        refuse(usage);
    find_side(&options.sides[0]);
    find_side(&options.sides[1]);
    if (options.cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)options.cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set) < 0)
            give_up("pinning to CPU", "given");
    }
    struct sigaction action = {.sa_handler = obey};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return options;
}

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Says that frames are forwarded from here on: whoever started the forwarder waits for this line. */
static double say_ready(const struct options *options, const char *mode) {
    printf("forwarding between %s and %s, %s\n", options->sides[0].name, options->sides[1].name, mode);
    fflush(stdout);
    return now_s();
}

static inline void say_result(const struct options *options, double began_s) {
    const struct side *sides = options->sides;
    printf("forwarded %llu to %s and %llu to %s in %.3f s\n", (unsigned long long)sides[0].forwarded,
           sides[0].name, (unsigned long long)sides[1].forwarded, sides[1].name, now_s() - began_s);
}

/* The MAC addresses of a frame that leaves by a side. */
static inline void address_frame(uint8_t *frame, const struct side *out) {
    memcpy(frame, out->next_hop, MAC_BYTES);
    memcpy(frame + MAC_BYTES, out->own, MAC_BYTES);
}

static int bpf_call(enum bpf_cmd command, union bpf_attr *attributes) {
    return (int)syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

static int load_program(enum bpf_prog_type type, const struct bpf_insn *instructions, size_t count) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.prog_type = type;
    attributes.insns = (uintptr_t)instructions;
    attributes.insn_cnt = (uint32_t)count;
    attributes.license = (uintptr_t) "GPL";
    return bpf_call(BPF_PROG_LOAD, &attributes);
}

/* The link's descriptor, or -1. */
static int attach_program(int program, const struct side *side, unsigned type, uint32_t flags) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.link_create.prog_fd = (uint32_t)program;
    attributes.link_create.target_ifindex = side->index;
    attributes.link_create.attach_type = type;
    attributes.link_create.flags = flags;
    return bpf_call(BPF_LINK_CREATE, &attributes);
}

/* Attaches an XDP program in the driver, or before the stack where the driver cannot or it is asked for. Whether it
 * is in the driver. */
static inline bool attach_xdp(int program, const struct side *side, bool generic) {
    if (!generic && attach_program(program, side, BPF_XDP, XDP_FLAGS_DRV_MODE) >= 0)
        return true;
    if (attach_program(program, side, BPF_XDP, XDP_FLAGS_SKB_MODE) < 0)
        give_up("attaching an XDP program to", side->name);
    return false;
}

#endif
