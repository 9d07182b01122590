/* The hash of an answer: BLAKE2b (RFC 7693) of 8 bytes, without a key, as body_hash.py has it from hashlib. */
#pragma once
#include "reading.h"

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

static inline uint64_t turned(uint64_t x, int by) { return x >> by | x << (64 - by); }

#define MIX(a, b, c, d, x, y)                                                                                \
    a += b + (x), d = turned(d ^ a, 32), c += d, b = turned(b ^ c, 24), a += b + (y), d = turned(d ^ a, 16), \
    c += d, b = turned(b ^ c, 63)

static void blake2b_block(uint64_t h[8], const uint8_t *block, uint64_t counted, int is_last) {
    uint64_t v[16], m[16];
    memcpy(m, block, 128);
    memcpy(v, h, 64);
    memcpy(v + 8, IV, 64);
    v[12] ^= counted;
    if (is_last) v[14] = ~v[14];
#define ROUND(r)                                                                                             \
    MIX(v[0], v[4], v[8], v[12], m[SIGMA[r][0]], m[SIGMA[r][1]]);                                            \
    MIX(v[1], v[5], v[9], v[13], m[SIGMA[r][2]], m[SIGMA[r][3]]);                                            \
    MIX(v[2], v[6], v[10], v[14], m[SIGMA[r][4]], m[SIGMA[r][5]]);                                           \
    MIX(v[3], v[7], v[11], v[15], m[SIGMA[r][6]], m[SIGMA[r][7]]);                                           \
    MIX(v[0], v[5], v[10], v[15], m[SIGMA[r][8]], m[SIGMA[r][9]]);                                           \
    MIX(v[1], v[6], v[11], v[12], m[SIGMA[r][10]], m[SIGMA[r][11]]);                                         \
    MIX(v[2], v[7], v[8], v[13], m[SIGMA[r][12]], m[SIGMA[r][13]]);                                          \
    MIX(v[3], v[4], v[9], v[14], m[SIGMA[r][14]], m[SIGMA[r][15]]);
    ROUND(0) ROUND(1) ROUND(2) ROUND(3) ROUND(4) ROUND(5) ROUND(6) ROUND(7) ROUND(8) ROUND(9) ROUND(10) ROUND(11)
    for (int i = 0; i < 8; i++) h[i] ^= v[i] ^ v[i + 8];
}

static uint64_t blake2b_8(uint8_t *text, int64_t length) { /* `text` has room for 128 bytes more */
    uint64_t h[8];
    memcpy(h, IV, 64);
    h[0] ^= 0x01010000u ^ 8u;
    int64_t done = 0;
    for (; length - done > 128; done += 128) blake2b_block(h, text + done, (uint64_t)done + 128, 0);
    memset(text + length, 0, (size_t)(128 - (length - done)));
    blake2b_block(h, text + done, (uint64_t)length, 1);
    return h[0];
}

static const char *const SECRET_FIELDS[] = {"filePath", "secureFilePath", "s3Token"};

/* The end of `"filePath" : "..."` and its like, NULL where none begins here (body_hash._SECRET_FIELD). */
static const char *secret_field(const char *p) {
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(SECRET_FIELDS[i]);
        if (strncmp(p + 1, SECRET_FIELDS[i], length) || p[1 + length] != '"') continue;
        uint8_t escaped;
        const char *q = blanks(p + length + 2);
        if (*q != ':') return NULL;
        q = blanks(q + 1);
        if (*q != '"') return NULL;
        q = string(q + 1, &escaped);
        return q ? q + 1 : NULL;
    }
    return NULL;
}

static uint8_t *without_secret_fields(uint8_t *to, const char *p, const char *end) {
    while (p < end) {
        const char *behind = *p == '"' ? secret_field(p) : NULL;
        if (behind) p = behind;
        else *to++ = (uint8_t)*p++;
    }
    return to;
}

static int compare(const char *one, int32_t length, const char *other, int32_t other_length) {
    int found = memcmp(one, other, (size_t)(length < other_length ? length : other_length));
    return found ? found : length - other_length;
}

static int32_t unknown_length(const collector *c, int32_t number) {
    return c->unknowns.at[number].key_end - c->unknowns.at[number].key;
}

/* The unknown keys of an object, by name. */
static int32_t sorted_unknowns(const collector *c, int32_t one, int32_t *to) {
    int32_t count = 0;
    for (int32_t i = c->instances.at[one].unknowns; i >= 0; i = c->unknowns.at[i].next) {
        int32_t at = count++;
        for (; at > 0 && compare(c->text + c->unknowns.at[i].key, unknown_length(c, i),
                                 c->text + c->unknowns.at[to[at - 1]].key, unknown_length(c, to[at - 1])) < 0; at--)
            to[at] = to[at - 1];
        to[at] = i;
    }
    return count;
}

static uint8_t *with_unknown(const collector *c, uint8_t *to, int32_t number) {
    const unknown *u = &c->unknowns.at[number];
    memcpy(to, c->text + u->key, (size_t)(u->key_end - u->key));
    to += u->key_end - u->key;
    memcpy(to, c->text + u->start, (size_t)(u->end - u->start));
    return to + (u->end - u->start);
}

/* body_hash.py has the words: the blocks by name, without those that tell of the call. What is left of signed URLs
 * after the fields that have them is for Python to take out. */
static int hash_answer(collector *c, const value *slots) {
    const plan *p = c->plan;
    const slot_plan *slot = p->node[0].slot;
    int32_t unknowns[MAX_UNKNOWN + 1], count = sorted_unknowns(c, 0, unknowns), told = 0;
    int64_t wanted = 2 * (int64_t)c->length + 256;
    c->scratch = grown(c->scratch, &c->scratch_room, wanted, 1);
    if (!c->scratch) return refuse(c, NO_MEMORY);
    uint8_t *to = c->scratch;
    for (int32_t i = 0; i < p->ranks; i++) {
        const slot_plan *s = &slot[p->ranked[i]];
        const value *v = &slots[p->ranked[i]];
        const char *name = p->words + s->name.start;
        if (v->type == MISSING) continue;
        while (told < count && compare(c->text + c->unknowns.at[unknowns[told]].key, unknown_length(c, unknowns[told]), name,
                                       s->name.length) < 0)
            to = with_unknown(c, to, unknowns[told++]);
        memcpy(to, name, (size_t)s->name.length);
        to += s->name.length;
        const char *from = c->text + v->start, *end = c->text + v->end;
        if (s->flags & HASHED_WITHOUT_SECRETS) to = without_secret_fields(to, from, end);
        else {
            memcpy(to, from, (size_t)(end - from));
            to += end - from;
        }
    }
    while (told < count) to = with_unknown(c, to, unknowns[told++]);
    *to = 0;
    if (strstr((char *)c->scratch, "ignature=")) return refuse(c, HASH_WANTED); /* signed URLs differ from call to call */
    uint64_t h = blake2b_8(c->scratch, to - c->scratch);
    for (int i = 0; i < 16; i++) c->hash[i] = "0123456789abcdef"[((uint8_t *)&h)[i / 2] >> (i % 2 ? 0 : 4) & 15];
    return 1;
}
