/* A column's words, numbered in the order in which they came. */
#pragma once
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { NO_WORD = UINT16_MAX, FIRST_SLOTS = 1 << 10 };

typedef struct {
    uint16_t *slots; /* numbers by hash; NO_WORD: free */
    uint32_t mask;
    uint32_t *hashes; /* by number */
    int64_t *starts;  /* by number; behind them where the last one ends */
    char *letters;
    int64_t room, letters_room;
    int32_t count;
    int64_t characters;                 /* of all words, and of those that there was no room for */
    int64_t most_words, most_characters; /* more are not taken */
    int is_closed;                      /* that many were there */
} vocabulary;

static void free_words(vocabulary *v) { free(v->slots), free(v->hashes), free(v->starts), free(v->letters); }

/* None yet, and none that would not fit. */
static vocabulary no_words(void) { return (vocabulary){.most_words = NO_WORD, .most_characters = INT64_MAX}; }

static inline uint64_t eight(const char *text) {
    uint64_t found;
    memcpy(&found, text, sizeof found);
    return found;
}

static inline uint64_t four(const char *text) {
    uint32_t found;
    memcpy(&found, text, sizeof found);
    return found;
}

/* Up to seven bytes as a number, without a loop: some stand in it twice. */
static inline uint64_t few(const char *text, int64_t length) {
    if (length >= 4) return four(text) << 32 | four(text + length - 4);
    if (!length) return 0;
    return (uint64_t)(uint8_t)text[0] << 16 | (uint64_t)(uint8_t)text[length / 2] << 8 | (uint8_t)text[length - 1];
}

static inline uint64_t mixed(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)(a ^ 0x9e3779b97f4a7c15u) * (b ^ 0xff51afd7ed558ccdu);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint32_t hash_of(const char *text, int64_t length) {
    uint64_t h = (uint64_t)length;
    if (length < 8) return (uint32_t)mixed(h, few(text, length));
    for (int64_t at = 0; at + 8 < length; at += 8) h = mixed(h, eight(text + at));
    return (uint32_t)mixed(h, eight(text + length - 8));
}

static inline int is_same(const char *a, const char *b, int64_t length) {
    if (length < 8) return few(a, length) == few(b, length);
    return eight(a) == eight(b) && eight(a + length - 8) == eight(b + length - 8)
        && (length <= 16 || !memcmp(a, b, (size_t)length));
}

static int more_slots(vocabulary *v) {
    uint32_t count = v->slots ? 2 * (v->mask + 1) : FIRST_SLOTS;
    uint16_t *slots = malloc(count * sizeof *slots);
    if (!slots) return 0;
    memset(slots, 0xff, count * sizeof *slots);
    for (int32_t i = 0; i < v->count; i++) {
        uint32_t at = v->hashes[i] & (count - 1);
        while (slots[at] != NO_WORD) at = (at + 1) & (count - 1);
        slots[at] = (uint16_t)i;
    }
    free(v->slots);
    v->slots = slots, v->mask = count - 1;
    return 1;
}

static int room_for(vocabulary *v, int64_t length) {
    if (v->count >= v->room) {
        int64_t room = v->room ? 2 * v->room : 64;
        uint32_t *hashes = realloc(v->hashes, (size_t)room * sizeof *hashes);
        if (!hashes) return 0;
        v->hashes = hashes;
        int64_t *starts = realloc(v->starts, ((size_t)room + 1) * sizeof *starts);
        if (!starts) return 0;
        v->starts = starts, v->room = room;
        if (!v->count) starts[0] = 0;
    }
    int64_t used = v->starts[v->count];
    if (used + length > v->letters_room) {
        int64_t room = 2 * v->letters_room + length + 256;
        char *letters = realloc(v->letters, (size_t)room);
        if (!letters) return 0;
        v->letters = letters, v->letters_room = room;
    }
    return 1;
}

/* UTF-8: every byte but those that go on. */
static int64_t characters_in(const char *text, int64_t length) {
    int64_t found = 0;
    for (int64_t i = 0; i < length; i++) found += (text[i] & 0xc0) != 0x80;
    return found;
}

/* The number of a text; NO_WORD where it is none, and there is no room for more. -1: no memory. */
static int32_t word_of(vocabulary *v, const char *text, int64_t length) {
    uint32_t hash = hash_of(text, length);
    if (!v->slots && !more_slots(v)) return -1;
    uint32_t at = hash & v->mask;
    for (; v->slots[at] != NO_WORD; at = (at + 1) & v->mask) {
        int32_t number = v->slots[at];
        int64_t start = v->starts[number];
        if (v->hashes[number] == hash && v->starts[number + 1] - start == length && is_same(v->letters + start, text, length))
            return number;
    }
    v->characters += characters_in(text, length);
    v->is_closed |= v->count >= v->most_words || v->characters > v->most_characters;
    if (v->is_closed) return NO_WORD;
    if (!room_for(v, length)) return -1;
    int64_t start = v->starts[v->count];
    if (length) memcpy(v->letters + start, text, (size_t)length);
    v->hashes[v->count] = hash;
    v->slots[at] = (uint16_t)v->count++;
    v->starts[v->count] = start + length;
    if (2 * (uint32_t)v->count > v->mask && !more_slots(v)) return -1;
    return v->count - 1;
}
