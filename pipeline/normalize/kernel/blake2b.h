/* BLAKE2b (RFC 7693) of 8 bytes, without a key: of many texts, as many side by side as the processor has lanes. */
#pragma once
#include "answer.h"

static const uint64_t IV[8] = {
    0x6a09e667f3bcc908u, 0xbb67ae8584caa73bu, 0x3c6ef372fe94f82bu, 0xa54ff53a5f1d36f1u,
    0x510e527fade682d1u, 0x9b05688c2b3e6c1fu, 0x1f83d9abfb41bd6bu, 0x5be0cd19137e2179u,
};
static const uint8_t SIGMA[12][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
};


#define TURNED(x, by) ((x) >> (by) | (x) << (64 - (by)))
#define MIX(a, b, c, d, x, y)                                                                                          \
    a += b + (x), d ^= a, d = TURNED(d, 32), c += d, b ^= c, b = TURNED(b, 24), a += b + (y), d ^= a, d = TURNED(d, 16), \
    c += d, b ^= c, b = TURNED(b, 63)
#define ROUND(r)                                                                                             \
    MIX(v[0], v[4], v[8], v[12], m[SIGMA[r][0]], m[SIGMA[r][1]]);                                            \
    MIX(v[1], v[5], v[9], v[13], m[SIGMA[r][2]], m[SIGMA[r][3]]);                                            \
    MIX(v[2], v[6], v[10], v[14], m[SIGMA[r][4]], m[SIGMA[r][5]]);                                           \
    MIX(v[3], v[7], v[11], v[15], m[SIGMA[r][6]], m[SIGMA[r][7]]);                                           \
    MIX(v[0], v[5], v[10], v[15], m[SIGMA[r][8]], m[SIGMA[r][9]]);                                           \
    MIX(v[1], v[6], v[11], v[12], m[SIGMA[r][10]], m[SIGMA[r][11]]);                                         \
    MIX(v[2], v[7], v[8], v[13], m[SIGMA[r][12]], m[SIGMA[r][13]]);                                          \
    MIX(v[3], v[4], v[9], v[14], m[SIGMA[r][14]], m[SIGMA[r][15]]);
#define ROUNDS                                                                                               \
    ROUND(0) ROUND(1) ROUND(2) ROUND(3) ROUND(4) ROUND(5) ROUND(6) ROUND(7) ROUND(8) ROUND(9) ROUND(10) ROUND(11)

static void begin_digest(digest *d) {
    memcpy(d->h, IV, 64);
    d->h[0] ^= 0x01010000u ^ 8u;
    d->done = 0;
}

static void digest_block(digest *d, const uint8_t *block, uint64_t counted, int is_last) {
    uint64_t v[16], m[16];
    memcpy(m, block, 128);
    memcpy(v, d->h, 64);
    memcpy(v + 8, IV, 64);
    v[12] ^= counted;
    if (is_last) v[14] = ~v[14];
    ROUNDS
    for (int i = 0; i < 8; i++) d->h[i] ^= v[i] ^ v[i + 8];
}

/* What is left of a text; then h[0] is its hash. */
static void end_digest(digest *d, const uint8_t *text) {
    uint8_t last[128] = {0};
    for (; d->length - d->done > 128; d->done += 128) digest_block(d, text + d->done, (uint64_t)d->done + 128, 0);
    memcpy(last, text + d->done, (size_t)(d->length - d->done));
    digest_block(d, last, (uint64_t)d->length, 1);
}

/* Blocks that others follow. */
static inline int64_t blocks_before_last(const digest *d) { return d->length > d->done ? (d->length - d->done - 1) / 128 : 0; }

enum { LANES = 8, FEWEST_LANES = 3 }; /* of fewer texts each by itself is as quick */
typedef uint64_t lanes __attribute__((vector_size(8 * LANES)));

static inline __attribute__((always_inline)) void mix_lanes(lanes h[8], const uint8_t *const at[LANES], const lanes *counted) {
    lanes v[16], m[16];
    for (int i = 0; i < 16; i++)
        for (int lane = 0; lane < LANES; lane++) {
            uint64_t word;
            memcpy(&word, at[lane] + 8 * i, 8);
            m[i][lane] = word;
        }
    for (int i = 0; i < 8; i++) v[i] = h[i], v[i + 8] = (lanes){0} + IV[i];
    v[12] ^= *counted;
    ROUNDS
    for (int i = 0; i < 8; i++) h[i] ^= v[i] ^ v[i + 8];
}

typedef void lane_mixer(lanes h[8], const uint8_t *const at[LANES], const lanes *counted);

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static void mix_with_avx512(lanes h[8], const uint8_t *const at[LANES], const lanes *counted) {
    mix_lanes(h, at, counted);
}
__attribute__((target("avx2"))) static void mix_with_avx2(lanes h[8], const uint8_t *const at[LANES], const lanes *counted) {
    mix_lanes(h, at, counted);
}
static lane_mixer *mixer_of_this_processor(void) {
    return __builtin_cpu_supports("avx512f") ? mix_with_avx512 : __builtin_cpu_supports("avx2") ? mix_with_avx2 : NULL;
}
#else
static lane_mixer *mixer_of_this_processor(void) { return NULL; }
#endif

/* So many blocks of these texts, one after the other in each; where they are fewer than lanes, the rest repeat the first. */
static void run_lanes(lane_mixer *mix, digest *const of[], int used, const uint8_t *texts, int64_t blocks) {
    lanes h[8], counted;
    const uint8_t *at[LANES];
    for (int lane = 0; lane < LANES; lane++) {
        const digest *d = of[lane < used ? lane : 0];
        at[lane] = texts + d->start + d->done;
        counted[lane] = (uint64_t)d->done;
        for (int i = 0; i < 8; i++) h[i][lane] = d->h[i];
    }
    for (int64_t block = 0; block < blocks; block++) {
        counted += 128;
        mix(h, at, &counted);
        for (int lane = 0; lane < LANES; lane++) at[lane] += 128;
    }
    for (int lane = 0; lane < used; lane++) {
        of[lane]->done += 128 * blocks;
        for (int i = 0; i < 8; i++) of[lane]->h[i] = h[i][lane];
    }
}

/* Most of these texts, side by side; when one is through, the next takes its lane. */
static void digest_side_by_side(lane_mixer *mix, digest *all, int64_t count, const uint8_t *texts) {
    digest *of[LANES];
    int used = 0;
    for (int64_t next = 0;;) {
        for (; used < LANES && next < count; next++)
            if (blocks_before_last(&all[next])) of[used++] = &all[next];
        if (used < FEWEST_LANES) return;
        int64_t blocks = blocks_before_last(of[0]);
        for (int lane = 1; lane < used; lane++)
            if (blocks_before_last(of[lane]) < blocks) blocks = blocks_before_last(of[lane]);
        run_lanes(mix, of, used, texts, blocks);
        int left = 0;
        for (int lane = 0; lane < used; lane++)
            if (blocks_before_last(of[lane])) of[left++] = of[lane];
        used = left;
    }
}

/* Each one's h[0] is its hash. */
static void digest_all(digest *all, int64_t count, const uint8_t *texts) {
    lane_mixer *mix = mixer_of_this_processor();
    for (int64_t i = 0; i < count; i++) begin_digest(&all[i]);
    if (mix) digest_side_by_side(mix, all, count, texts);
    for (int64_t i = 0; i < count; i++) end_digest(&all[i], texts + all[i].start);
}
