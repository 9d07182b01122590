/* What an answer gave, and what was gathered of many: the structures, and their room. */
#pragma once
#include "plan.h"

typedef struct {
    int32_t start, end, first, count; /* first: an instance, element or entry; count: of a list, or of a map's keys */
    uint8_t type, escaped;
} value;

typedef struct { int32_t node, start, end, members, slots, unknowns, next; } instance; /* node -1: null in a list */
typedef struct { int32_t key, key_end, start, end, type, leak, next; } unknown; /* a key that no declaration names */
typedef struct { int32_t key, key_end, ordinal, next; value value; } entry; /* ordinal -1: no row */

typedef struct {
    uint8_t *valid, *data;
    int32_t *offset;
    int64_t room; /* bytes of a text's data */
} column;

typedef struct {
    int64_t rows, room;
    int32_t *nth;
    column *column;
} table;

typedef struct { int32_t table, column, row, start, length, is_read; } odd; /* is_read: only rounded */
/* An unknown key, and whose row keeps it; is_kept_so: its value as it is written. */
typedef struct { int32_t nth, node, row, start, key_length, length, type, is_kept_so; } told;

typedef struct { int64_t start, length, done; uint64_t h[8]; int32_t nth; } digest; /* of a text, under way */
typedef struct { int32_t table, column, row, nth; } unhashed_cell; /* has room for the hash of answer `nth` */

#define MANY(type) struct { type *at; int64_t count, room; }

typedef struct {
    plan *plan;
    table *table;
    MANY(odd) odds;
    MANY(told) tolds;
    MANY(char) kept; /* JSON text of odd cells and unknown keys */
    MANY(value) slots;
    MANY(instance) instances;
    MANY(entry) entries;
    MANY(unknown) unknowns;
    MANY(uint8_t) texts; /* of answers that wait for their hashes */
    MANY(digest) digests;
    MANY(unhashed_cell) unhashed;
    int64_t *rows_before, odds_before, tolds_before, kept_before, texts_before, digests_before, unhashed_before;
    char *body; /* that is read, where others stand behind it */
    int64_t body_room;
    const char *text;
    int32_t length, nth, why, waits; /* waits: for its hash */
    char hash[16];
    struct { int32_t instance, ordinal; } chain[MAX_DEPTH]; /* the objects on the way to a row */
} collector;

static void *grown(void *at, int64_t *room, int64_t wanted, size_t size) {
    if (wanted <= *room) return at;
    int64_t more = *room ? *room : 16;
    while (more < wanted) more *= 2;
    void *bigger = realloc(at, (size_t)more * size);
    if (bigger) *room = more;
    return bigger;
}

#define ROOM(many, more)                                                                                     \
    ((many).count + (more) <= (many).room ||                                                                 \
     grow((void **)&(many).at, &(many).room, (many).count + (more), sizeof *(many).at))

static int grow(void **at, int64_t *room, int64_t wanted, size_t size) {
    void *bigger = grown(*at, room, wanted, size);
    if (bigger) *at = bigger;
    return bigger != NULL;
}

static int refuse(collector *c, int why) {
    if (!c->why) c->why = why;
    return 0;
}
