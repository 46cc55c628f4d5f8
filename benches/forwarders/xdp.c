/*
 * A bare forwarder on AF_XDP: one queue of two interfaces, one UMEM, one thread. Frames are not copied here: a
 * descriptor moves from the receive ring of one side to the transmit ring of the other.
 *
 * Copy mode or zero-copy, whichever the driver has. One wake-up a burst, and only where the kernel asks for it.
 */
#include "forwarder.h"

#include <linux/if_xdp.h>
#include <poll.h>
#include <sys/mman.h>

static const char usage[] =
    "usage: xdp --seconds S [--ring ENTRIES] [--cpu N] [--generic] [--busy-polling] INTERFACE=MAC INTERFACE=MAC\n"
    "\n"
    "Forwards everything between two interfaces over AF_XDP sockets on their first queue. MAC is the destination of\n"
    "frames that leave by the interface; their source is the interface's own address. Prints what it has forwarded.\n"
    "  --seconds S     ends after so long (up to 86400); always needed\n"
    "  --ring ENTRIES  a power of two from 64 to 16384 (2048)\n"
    "  --cpu N         runs on this CPU alone\n"
    "  --generic       attaches before the stack even where the driver has XDP\n"
    "  --busy-polling  lets the socket drive the interface's polling (SO_PREFER_BUSY_POLL)\n";

enum {
    CHUNK_BYTES = 2048,
    /* Rings that a chunk can be on: to receive and to send, of two sides. */
    CHUNK_RINGS = 4,
    /* Microseconds that a system call may poll, frames that it may take: values of the kernel's own example. */
    BUSY_POLL_US = 20,
    /* Linux 6.18: frames that one wake-up sends in copy mode; 32 before. */
    OPTION_MAX_TX_SKB_BUDGET = 9,
    /* Wake-ups for one burst at the most, where each sends 32. */
    KICKS_MAX = 4,
    /* Tries to bind, 10 ms apart. */
    BIND_TRIES_MAX = 200,
};

struct ring {
    uint32_t *producer;
    uint32_t *consumer;
    uint32_t *flags;
    void *entries;
    uint32_t mask;
    /* Our own index, and the last that was seen of the kernel's. */
    uint32_t own, seen;
};

struct port {
    struct side *side;
    int fd;
    struct ring fill, completion, receive, transmit;
};

struct umem {
    uint8_t *bytes;
    uint64_t *free;
    uint32_t free_count;
};

static uint32_t load_acquire(const uint32_t *word) {
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void store_release(uint32_t *word, uint32_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* What we may take from a ring that the kernel fills. */
static uint32_t filled(struct ring *ring, uint32_t wanted) {
    if (ring->seen - ring->own < wanted)
        ring->seen = load_acquire(ring->producer);
    uint32_t count = ring->seen - ring->own;
    return count < wanted ? count : wanted;
}

/* What we may put on a ring that the kernel empties. */
static uint32_t room(struct ring *ring, uint32_t wanted) {
    uint32_t size = ring->mask + 1;
    if (size - (ring->own - ring->seen) < wanted)
        ring->seen = load_acquire(ring->consumer);
    uint32_t count = size - (ring->own - ring->seen);
    return count < wanted ? count : wanted;
}

static void set_option(int fd, int option, const void *value, socklen_t bytes, const char *name) {
    if (setsockopt(fd, SOL_XDP, option, value, bytes) < 0)
        give_up("setting up an AF_XDP socket on", name);
}

static struct ring map_ring(int fd, const struct xdp_ring_offset *at, uint32_t entries, size_t entry_bytes,
                            off_t page, const char *name) {
    size_t bytes = at->desc + entries * entry_bytes;
    uint8_t *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, page);
    if (base == MAP_FAILED)
        give_up("mapping a ring of", name);
    return (struct ring){.producer = (uint32_t *)(base + at->producer),
                         .consumer = (uint32_t *)(base + at->consumer),
                         .flags = (uint32_t *)(base + at->flags),
                         .entries = base + at->desc,
                         .mask = entries - 1};
}

static struct umem make_umem(uint32_t chunks) {
    struct umem umem = {.free = calloc(chunks, sizeof *umem.free)};
    size_t bytes = (size_t)chunks * CHUNK_BYTES;
    umem.bytes = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (umem.bytes == MAP_FAILED || umem.free == NULL)
        give_up("allocating", "UMEM");
    while (umem.free_count < chunks) {
        umem.free[umem.free_count] = (uint64_t)umem.free_count * CHUNK_BYTES;
        umem.free_count++;
    }
    return umem;
}

/* The kernel lets a queue's last socket go some time after it was closed; until then the queue is busy. */
static void bind_patiently(int fd, const struct sockaddr_xdp *address, const char *name) {
    for (int tries = 0; bind(fd, (const struct sockaddr *)address, sizeof *address) < 0; tries++) {
        if (errno != EBUSY || tries == BIND_TRIES_MAX)
            give_up("binding an AF_XDP socket to", name);
        usleep(10000);
    }
}

/* Opens the socket of a side; the first brings the UMEM, the second shares it. */
static struct port open_port(struct side *side, const struct umem *umem, const struct port *first,
                             const struct options *options) {
    struct port port = {.side = side, .fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0)};
    uint32_t entries = options->ring_entries;
    if (port.fd < 0)
        give_up("opening an AF_XDP socket on", side->name);
    if (first == NULL) {
        struct xdp_umem_reg umem_registration = {.addr = (uintptr_t)umem->bytes,
                                                 .len = (uint64_t)umem->free_count * CHUNK_BYTES,
                                                 .chunk_size = CHUNK_BYTES};
        set_option(port.fd, XDP_UMEM_REG, &umem_registration, sizeof umem_registration, side->name);
    }
    static const int rings[] = {XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING, XDP_TX_RING};
    for (size_t index = 0; index < sizeof rings / sizeof *rings; index++)
        set_option(port.fd, rings[index], &entries, sizeof entries, side->name);
    /* Older kernels do not know it and send 32 frames a wake-up. */
    uint32_t budget = entries < 256 ? entries : 256;
    (void)setsockopt(port.fd, SOL_XDP, OPTION_MAX_TX_SKB_BUDGET, &budget, sizeof budget);
    if (options->busy_polling) {
        int on = 1, poll_us = BUSY_POLL_US, budget_frames = BURST_FRAMES;
        if (setsockopt(port.fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, &on, sizeof on) < 0 ||
            setsockopt(port.fd, SOL_SOCKET, SO_BUSY_POLL, &poll_us, sizeof poll_us) < 0 ||
            setsockopt(port.fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET, &budget_frames, sizeof budget_frames) < 0)
            give_up("asking for busy polling on", side->name);
    }
    struct xdp_mmap_offsets at;
    socklen_t bytes = sizeof at;
    if (getsockopt(port.fd, SOL_XDP, XDP_MMAP_OFFSETS, &at, &bytes) < 0)
        give_up("asking for the rings of", side->name);
    port.fill = map_ring(port.fd, &at.fr, entries, sizeof(uint64_t), XDP_UMEM_PGOFF_FILL_RING, side->name);
    port.completion =
        map_ring(port.fd, &at.cr, entries, sizeof(uint64_t), XDP_UMEM_PGOFF_COMPLETION_RING, side->name);
    port.receive = map_ring(port.fd, &at.rx, entries, sizeof(struct xdp_desc), XDP_PGOFF_RX_RING, side->name);
    port.transmit = map_ring(port.fd, &at.tx, entries, sizeof(struct xdp_desc), XDP_PGOFF_TX_RING, side->name);
    struct sockaddr_xdp address = {.sxdp_family = AF_XDP,
                                   .sxdp_ifindex = side->index,
                                   .sxdp_flags = first == NULL ? XDP_USE_NEED_WAKEUP : XDP_SHARED_UMEM,
                                   .sxdp_shared_umem_fd = first == NULL ? 0 : (uint32_t)first->fd};
    bind_patiently(port.fd, &address, side->name);
    return port;
}

/* Sends every frame of queue 0 to the port's socket and leaves the other queues' to the kernel. */
static bool redirect_to(const struct port *port, bool generic) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.map_type = BPF_MAP_TYPE_XSKMAP;
    attributes.key_size = attributes.value_size = sizeof(uint32_t);
    attributes.max_entries = 1;
    int map = bpf_call(BPF_MAP_CREATE, &attributes);
    uint32_t queue = 0;
    memset(&attributes, 0, sizeof attributes);
    attributes.map_fd = (uint32_t)map;
    attributes.key = (uintptr_t)&queue;
    attributes.value = (uintptr_t)&port->fd;
    if (map < 0 || bpf_call(BPF_MAP_UPDATE_ELEM, &attributes) < 0)
        give_up("making the socket map of", port->side->name);
    /* return bpf_redirect_map(map, context->rx_queue_index, XDP_PASS); */
    const struct bpf_insn program[] = {
        {.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 2, .src_reg = 1, .off = offsetof(struct xdp_md, rx_queue_index)},
        {.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map},
        {0},
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = XDP_PASS},
        {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect_map},
        {.code = BPF_JMP | BPF_EXIT},
    };
    int fd = load_program(BPF_PROG_TYPE_XDP, program, sizeof program / sizeof *program);
    if (fd < 0)
        give_up("loading the XDP program of", port->side->name);
    return attach_xdp(fd, port->side, generic);
}

/* Chunks that were sent are free again. */
static void reclaim(struct port *port, struct umem *umem) {
    struct ring *ring = &port->completion;
    uint32_t count = filled(ring, ring->mask + 1);
    const uint64_t *entries = ring->entries;
    for (uint32_t index = 0; index < count; index++)
        umem->free[umem->free_count++] = entries[(ring->own + index) & ring->mask];
    ring->own += count;
    if (count > 0)
        store_release(ring->consumer, ring->own);
}

/* Gives the kernel chunks to receive into. */
static void refill(struct port *port, struct umem *umem) {
    struct ring *ring = &port->fill;
    uint32_t count = room(ring, BURST_FRAMES);
    if (count < BURST_FRAMES || umem->free_count < count)
        return;
    uint64_t *entries = ring->entries;
    for (uint32_t index = 0; index < count; index++)
        entries[(ring->own + index) & ring->mask] = umem->free[--umem->free_count];
    ring->own += count;
    store_release(ring->producer, ring->own);
}

/* Moves a burst from one side to the other; how many frames. */
static uint32_t forward(struct port *in, struct port *out, struct umem *umem) {
    uint32_t count = room(&out->transmit, filled(&in->receive, BURST_FRAMES));
    const struct xdp_desc *from = in->receive.entries;
    struct xdp_desc *to = out->transmit.entries;
    for (uint32_t index = 0; index < count; index++) {
        struct xdp_desc descriptor = from[(in->receive.own + index) & in->receive.mask];
        address_frame(umem->bytes + descriptor.addr, out->side);
        to[(out->transmit.own + index) & out->transmit.mask] = descriptor;
    }
    if (count == 0)
        return 0;
    in->receive.own += count;
    store_release(in->receive.consumer, in->receive.own);
    out->transmit.own += count;
    store_release(out->transmit.producer, out->transmit.own);
    out->side->forwarded += count;
    return count;
}

/* Wakes the kernel where it sleeps. */
static void kick(struct port *port) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (int calls = 0; calls < KICKS_MAX; calls++) {
        bool pending = load_acquire(port->transmit.consumer) != port->transmit.own;
        if (!pending || !(load_acquire(port->transmit.flags) & XDP_RING_NEED_WAKEUP))
            return;
        if (sendto(port->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) >= 0 || errno != EAGAIN)
            return;
    }
}

static void wake_receive(struct port *port, bool busy_polling) {
    if (busy_polling || load_acquire(port->fill.flags) & XDP_RING_NEED_WAKEUP)
        recvfrom(port->fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

static bool is_zero_copy(const struct port *port) {
    struct xdp_options options = {0};
    socklen_t bytes = sizeof options;
    return getsockopt(port->fd, SOL_XDP, XDP_OPTIONS, &options, &bytes) == 0 &&
           options.flags & XDP_OPTIONS_ZEROCOPY;
}

int main(int count, char **words) {
    struct options options = read_options(count, words, usage);
    struct umem umem = make_umem(CHUNK_RINGS * options.ring_entries + 2 * BURST_FRAMES);
    struct port ports[2];
    ports[0] = open_port(&options.sides[0], &umem, NULL, &options);
    ports[1] = open_port(&options.sides[1], &umem, &ports[0], &options);
    for (uint32_t entries = 0; entries < options.ring_entries; entries += BURST_FRAMES)
        for (int side = 0; side < 2; side++)
            refill(&ports[side], &umem);
    bool native = redirect_to(&ports[0], options.generic);
    native = redirect_to(&ports[1], options.generic) && native;
    char mode[64];
    snprintf(mode, sizeof mode, "%s XDP, %s", native ? "native" : "generic",
             is_zero_copy(&ports[0]) && is_zero_copy(&ports[1]) ? "zero-copy" : "copy mode");
    double began_s = say_ready(&options, mode);
    for (double end_s = began_s + options.seconds; !told_to_end && now_s() < end_s;) {
        for (int turn = 0; turn < 1024; turn++) {
            struct port *in = &ports[turn & 1], *out = &ports[!(turn & 1)];
            reclaim(out, &umem);
            forward(in, out, &umem);
            refill(in, &umem);
            kick(out);
            wake_receive(in, options.busy_polling);
        }
    }
    say_result(&options, began_s);
    return 0;
}
