/*
 * A bare forwarder inside the kernel: an XDP program on each of two interfaces that writes the MAC addresses and
 * redirects the frame to the other interface. Nothing comes up to user space; this is the least that a forwarder on
 * this kernel and driver can cost.
 *
 * Drivers send what is redirected only while the far end takes XDP frames: on a veth, while its peer has a program or
 * receives by NAPI (`ethtool -K PEER gro on`).
 */
#include "forwarder.h"

#include <stddef.h>

static const char usage[] =
    "usage: redirect --seconds S [--generic] INTERFACE=MAC INTERFACE=MAC\n"
    "\n"
    "Forwards everything between two interfaces by XDP programs. MAC is the destination of frames that leave by the\n"
    "interface; their source is the interface's own address.\n"
    "  --seconds S  ends after so long (up to 86400); always needed\n"
    "  --generic    attaches before the stack even where the driver has XDP\n";

static int32_t word(const uint8_t *bytes, size_t length) {
    int32_t value = 0;
    memcpy(&value, bytes, length);
    return value;
}

/* Frames that come in by one side leave by the other. */
static bool redirect(const struct side *in, const struct side *out, bool generic) {
    const uint8_t *to = out->next_hop, *from = out->own;
    const struct bpf_insn program[] = {
        {.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 2, .src_reg = 1, .off = offsetof(struct xdp_md, data)},
        {.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 3, .src_reg = 1, .off = offsetof(struct xdp_md, data_end)},
        {.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 4, .src_reg = 2},
        {.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 4, .imm = 2 * MAC_BYTES},
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = XDP_DROP},
        {.code = BPF_JMP | BPF_JGT | BPF_X, .dst_reg = 4, .src_reg = 3, .off = 7},
        {.code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = 2, .off = 0, .imm = word(to, 4)},
        {.code = BPF_ST | BPF_MEM | BPF_H, .dst_reg = 2, .off = 4, .imm = word(to + 4, 2)},
        {.code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = 2, .off = 6, .imm = word(from, 4)},
        {.code = BPF_ST | BPF_MEM | BPF_H, .dst_reg = 2, .off = 10, .imm = word(from + 4, 2)},
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 1, .imm = (int32_t)out->index},
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = 0},
        {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect},
        {.code = BPF_JMP | BPF_EXIT},
    };
    int fd = load_program(BPF_PROG_TYPE_XDP, program, sizeof program / sizeof *program);
    if (fd < 0)
        give_up("loading the XDP program of", in->name);
    return attach_xdp(fd, in, generic);
}

int main(int count, char **words) {
    struct options options = read_options(count, words, usage);
    const struct side *sides = options.sides;
    bool native = redirect(&sides[0], &sides[1], options.generic);
    native = redirect(&sides[1], &sides[0], options.generic) && native;
    double began_s = say_ready(&options, native ? "native XDP in the kernel" : "generic XDP in the kernel");
    while (!told_to_end && now_s() < began_s + options.seconds)
        usleep(10000);
    printf("forwarded in the kernel for %.3f s: see the interfaces' counters\n", now_s() - began_s);
    return 0;
}
