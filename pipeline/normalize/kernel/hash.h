/* The hash of an answer, as body_hash.py has it from hashlib. */
#pragma once
#include "blake2b.h"
#include "reading.h"

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

/* The text of an answer that is to be hashed, behind those that wait (hash_waiting). body_hash.py has the words: the blocks
 * by name, without those that tell of the call. What is left of signed URLs after the fields that have them is for Python to
 * take out. */
static int text_to_hash(collector *c, const value *slots) {
    const plan *p = c->plan;
    const slot_plan *slot = p->node[0].slot;
    int32_t unknowns[MAX_UNKNOWN + 1], count = sorted_unknowns(c, 0, unknowns), told = 0;
    if (!ROOM(c->texts, 2 * (int64_t)c->length + 256) || !ROOM(c->digests, 1)) return refuse(c, NO_MEMORY);
    uint8_t *start = c->texts.at + c->texts.count, *to = start;
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
    if (strstr((char *)start, "ignature=")) return refuse(c, HASH_WANTED); /* signed URLs differ from call to call */
    c->digests.at[c->digests.count++] = (digest){c->texts.count, to - start, 0, {0}, c->nth};
    c->texts.count += to - start;
    return 1;
}

static void write_hash(char *to, uint64_t hash) {
    for (int i = 0; i < 16; i++) to[i] = "0123456789abcdef"[hash >> (60 - 4 * i) & 15];
}

/* The hashes of the answers that wait for theirs: to where their rows have room for it, and, as a number, to `hashes`, which
 * begin with that of answer `first`. */
static void hash_waiting(collector *c, uint64_t *hashes, int32_t first) {
    digest_all(c->digests.at, c->digests.count, c->texts.at);
    for (int64_t i = 0; i < c->digests.count; i++)
        hashes[c->digests.at[i].nth - first] = __builtin_bswap64(c->digests.at[i].h[0]); /* its digits are its bytes in order */
    for (int64_t i = 0; i < c->unhashed.count; i++) {
        const unhashed_cell *b = &c->unhashed.at[i];
        const column *col = &c->table[b->table].column[b->column];
        write_hash((char *)col->data + col->offset[b->row], hashes[b->nth - first]);
    }
    c->digests.count = c->texts.count = c->unhashed.count = 0;
}
