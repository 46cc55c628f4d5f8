/*
 * A bare forwarder on AF_PACKET: a TPACKET_V3 receive ring of two interfaces, one thread. Each frame is sent on from
 * where it lies (--sendmmsg), or copied once into a mapped transmit ring.
 *
 * The kernel keeps a copy of each frame that such a ring receives; a program at ingress throws it away, so that nobody
 * pays for its way through the stack.
 */
#include "forwarder.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/mman.h>
#include <sys/uio.h>

static const char usage[] =
    "usage: packet --seconds S [--ring SLOTS] [--cpu N] [--sendmmsg] INTERFACE=MAC INTERFACE=MAC\n"
    "\n"
    "Forwards everything between two interfaces over AF_PACKET rings. MAC is the destination of frames that leave by\n"
    "the interface; their source is the interface's own address. Prints what it has forwarded.\n"
    "  --seconds S   ends after so long (up to 86400); always needed\n"
    "  --ring SLOTS  of a transmit ring: a power of two from 64 to 16384 (2048)\n"
    "  --cpu N       runs on this CPU alone\n"
    "  --sendmmsg    sends by system calls of 64 messages instead of a mapped ring\n";

enum {
    /* A block is handed over when it is full, or when its timer says so. */
    BLOCK_BYTES = 1 << 15,
    BLOCKS = 128,
    BLOCK_TIMER_MS = 1,
    SLOT_BYTES = 2048,
    SLOT_BLOCK_BYTES = 1 << 16,
    /* Where a frame begins in a slot that is sent. */
    SLOT_HEADER_BYTES = TPACKET2_HDRLEN - sizeof(struct sockaddr_ll),
    FRAME_BYTES_MAX = SLOT_BYTES - SLOT_HEADER_BYTES,
};

struct port {
    struct side *side;
    int receive_fd, transmit_fd;
    uint8_t *blocks, *slots;
    unsigned block, slot, slot_count;
    /* Of the block that is being read. */
    unsigned frames_left;
    struct tpacket3_hdr *next;
    /* Something was put into slots since the last kick. */
    bool unsent;
};

static int open_socket(const struct side *side, int version) {
    int on = 1, fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) < 0)
        give_up("opening a packet socket for", side->name);
    /* Kernels before 4.20 do not know the second; frames that we sent are then told by their type. */
    (void)setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
    (void)setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on);
    return fd;
}

static void bind_socket(int fd, const struct side *side, uint16_t protocol) {
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_ifindex = (int)side->index, .sll_protocol = htons(protocol)};
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        give_up("binding a packet socket to", side->name);
}

static uint8_t *map_ring(int fd, size_t bytes, const struct side *side) {
    uint8_t *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (base == MAP_FAILED)
        give_up("mapping a ring of", side->name);
    return base;
}

static struct port open_port(struct side *side, const struct options *options) {
    struct port port = {.side = side, .slot_count = options->ring_entries};
    port.receive_fd = open_socket(side, TPACKET_V3);
    struct tpacket_req3 receive = {.tp_block_size = BLOCK_BYTES,
                                   .tp_block_nr = BLOCKS,
                                   .tp_frame_size = SLOT_BYTES,
                                   .tp_frame_nr = BLOCKS * (BLOCK_BYTES / SLOT_BYTES),
                                   .tp_retire_blk_tov = BLOCK_TIMER_MS};
    if (setsockopt(port.receive_fd, SOL_PACKET, PACKET_RX_RING, &receive, sizeof receive) < 0)
        give_up("making the receive ring of", side->name);
    port.blocks = map_ring(port.receive_fd, (size_t)BLOCKS * BLOCK_BYTES, side);
    bind_socket(port.receive_fd, side, ETH_P_ALL);

    port.transmit_fd = open_socket(side, TPACKET_V2);
    if (!options->send_by_message) {
        size_t bytes = (size_t)port.slot_count * SLOT_BYTES;
        size_t block_bytes = bytes < SLOT_BLOCK_BYTES ? bytes : SLOT_BLOCK_BYTES;
        struct tpacket_req transmit = {.tp_block_size = (unsigned)block_bytes,
                                       .tp_block_nr = (unsigned)(bytes / block_bytes),
                                       .tp_frame_size = SLOT_BYTES,
                                       .tp_frame_nr = port.slot_count};
        if (setsockopt(port.transmit_fd, SOL_PACKET, PACKET_TX_RING, &transmit, sizeof transmit) < 0)
            give_up("making the transmit ring of", side->name);
        port.slots = map_ring(port.transmit_fd, bytes, side);
    }
    bind_socket(port.transmit_fd, side, 0);
    return port;
}

/* The stack need not see what the ring has taken. Needs Linux 6.6; before, the stack sees it and drops it itself. */
static void drop_in_kernel(const struct side *side) {
    const struct bpf_insn program[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 2 /* TCX_DROP */},
        {.code = BPF_JMP | BPF_EXIT},
    };
    int fd = load_program(BPF_PROG_TYPE_SCHED_CLS, program, sizeof program / sizeof *program);
    if (fd < 0 || attach_program(fd, side, ATTACH_TCX_INGRESS, 0) < 0)
        fprintf(stderr, "the stack sees what %s receives: %s\n", side->name, strerror(errno));
}

/* The next received frame, or none. */
static struct tpacket3_hdr *peek(struct port *port) {
    if (port->frames_left == 0) {
        struct tpacket_block_desc *block = (void *)(port->blocks + (size_t)port->block * BLOCK_BYTES);
        if (!(__atomic_load_n(&block->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
            return NULL;
        port->frames_left = block->hdr.bh1.num_pkts;
        port->next = (void *)((uint8_t *)block + block->hdr.bh1.offset_to_first_pkt);
    }
    return port->next;
}

static void advance(struct port *port) {
    port->frames_left--;
    port->next = (void *)((uint8_t *)port->next + port->next->tp_next_offset);
}

/* Gives a block back once all of its frames have been sent. */
static void release(struct port *port) {
    if (port->frames_left > 0)
        return;
    struct tpacket_block_desc *block = (void *)(port->blocks + (size_t)port->block * BLOCK_BYTES);
    __atomic_store_n(&block->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    port->block = (port->block + 1) % BLOCKS;
}

static bool is_ours(const struct tpacket3_hdr *frame) {
    const struct sockaddr_ll *from = (const void *)((const uint8_t *)frame + TPACKET_ALIGN(sizeof *frame));
    return from->sll_pkttype != PACKET_OUTGOING && frame->tp_snaplen == frame->tp_len &&
           frame->tp_len >= ETH_HLEN && frame->tp_len <= FRAME_BYTES_MAX;
}

/* Copies a frame to the next slot; false when the ring is full. */
static bool put(struct port *out, const uint8_t *bytes, unsigned length) {
    uint8_t *slot = out->slots + (size_t)out->slot * SLOT_BYTES;
    struct tpacket2_hdr *header = (void *)slot;
    if (__atomic_load_n(&header->tp_status, __ATOMIC_ACQUIRE) != TP_STATUS_AVAILABLE)
        return false;
    memcpy(slot + SLOT_HEADER_BYTES, bytes, length);
    address_frame(slot + SLOT_HEADER_BYTES, out->side);
    header->tp_len = length;
    __atomic_store_n(&header->tp_status, TP_STATUS_SEND_REQUEST, __ATOMIC_RELEASE);
    out->slot = (out->slot + 1) % out->slot_count;
    return true;
}

/* Moves a burst by the transmit ring. */
static void forward_by_ring(struct port *in, struct port *out) {
    if (peek(in) == NULL && !out->unsent)
        return;
    struct tpacket3_hdr *frame;
    for (int count = 0; count < BURST_FRAMES && (frame = peek(in)) != NULL; count++) {
        if (is_ours(frame)) {
            if (!put(out, (uint8_t *)frame + frame->tp_mac, frame->tp_len))
                break;
            out->side->forwarded++;
        }
        advance(in);
        release(in);
        out->unsent = true;
    }
    out->unsent = sendto(out->transmit_fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0;
}

/* Moves a burst by system calls that take many messages. */
static void forward_by_message(struct port *in, struct port *out) {
    struct mmsghdr messages[BURST_FRAMES];
    struct iovec places[BURST_FRAMES];
    unsigned count = 0;
    if (peek(in) == NULL)
        return;
    /* One block at a time, since it goes back to the kernel only when all in it was sent. */
    do {
        struct tpacket3_hdr *frame = in->next;
        if (is_ours(frame)) {
            uint8_t *bytes = (uint8_t *)frame + frame->tp_mac;
            address_frame(bytes, out->side);
            places[count] = (struct iovec){.iov_base = bytes, .iov_len = frame->tp_len};
            messages[count] = (struct mmsghdr){.msg_hdr = {.msg_iov = &places[count], .msg_iovlen = 1}};
            count++;
        }
        advance(in);
    } while (in->frames_left > 0 && count < BURST_FRAMES);
    /* What the link does not take is lost, as on any link. */
    int sent = count > 0 ? sendmmsg(out->transmit_fd, messages, count, MSG_DONTWAIT) : 0;
    out->side->forwarded += sent > 0 ? (unsigned)sent : 0;
    release(in);
}

int main(int count, char **words) {
    struct options options = read_options(count, words, usage);
    struct port ports[2];
    for (int side = 0; side < 2; side++) {
        ports[side] = open_port(&options.sides[side], &options);
        drop_in_kernel(&options.sides[side]);
    }
    double began_s = say_ready(&options, options.send_by_message ? "TPACKET_V3 to sendmmsg" : "TPACKET_V3 to a ring");
    for (double end_s = began_s + options.seconds; !told_to_end && now_s() < end_s;) {
        for (int turn = 0; turn < 1024; turn++) {
            struct port *in = &ports[turn & 1], *out = &ports[!(turn & 1)];
            if (options.send_by_message)
                forward_by_message(in, out);
            else
                forward_by_ring(in, out);
        }
    }
    say_result(&options, began_s);
    return 0;
}
