/* The plan, as plan.py tells it. Nothing but it knows a key of the API. */
#pragma once
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef __int128 i128;

enum form { OBJECT, LIST, MAP, MAP_OF_LISTS, LEAF };
enum flag { OUTER = 1, HAS_ROWS = 2, HASHED_WITHOUT_SECRETS = 4, OTHER_SPELLING = 8 };
enum kind { TEXT, INT, BOOL, DECIMAL, INSTANT, LOCAL, DATE, JSON_TEXT, OFFSET };
enum op { NOTHING, READ, COUNT, ORDINAL, KEY, VALUE, TYPE, WORD, ROW, BODY_HASH };
enum type { MISSING, NUL, TRUE_, FALSE_, INTEGER, NUMBER, STRING, OBJECT_, ARRAY };
enum why { TAKEN = 0, HASH_WANTED = 1, NOT_JSON = -1, NOT_USUAL = -2, NO_MEMORY = -3, TOO_DEEP = -4 };

enum { MAX_DEPTH = 64, MAX_PATH = 6, DECIMALS = 9, MAX_DIGITS = 38, LONGEST_NUMBER = 64, KEYS_COMPARED = 24, MAX_UNKNOWN = 64,
       MAX_BODY = 256 << 20, MANY_TEXTS = 512 << 10, PADDING = 16 };

typedef struct { int32_t start, length; } word;

typedef struct {
    uint8_t op, kind, steps, path_length;
    int16_t path[MAX_PATH];
    word text; /* of a WORD */
} column_plan; /* small: those of all tables are gone through for each answer */

typedef struct {
    int32_t table, whens, when[MAX_PATH], columns;
    column_plan *column;
} place;

typedef struct {
    word name;
    int32_t node;     /* what stands there, -1 where it is a leaf */
    int32_t known_as; /* the slot whose other spelling this is, or -1 */
    int32_t flags;
} slot_plan;

typedef struct {
    int32_t form, flags, slots, places, mask;
    slot_plan *slot;
    int32_t *next; /* the slot that came after this one last time; [slots] is for the first */
    int16_t *bucket;
    place *place;
} node;

typedef struct {
    int32_t nodes, tables, *widths;
    node *node;
    int32_t *ranked, ranks; /* the root's slots in the order of their names, which is that of the hash */
    int32_t **kinds;        /* of each table's columns */
    char *words;
} plan;

typedef struct { const int32_t *at, *end; } reader;

static int32_t next(reader *r) { return r->at < r->end ? *r->at++ : 0; }

static word next_word(reader *r) {
    int32_t start = next(r);
    return (word){start, next(r)};
}

static uint32_t hashed(const char *name, int32_t length) {
    uint32_t h = (uint32_t)length * 0x9e3779b1u;
    for (int32_t i = 0; i < length; i++) h = (h ^ (uint8_t)name[i]) * 0x01000193u;
    return h ^ h >> 15;
}

static int read_place(reader *r, place *to) {
    to->table = next(r);
    to->whens = next(r);
    for (int32_t i = 0; i < to->whens; i++) to->when[i] = next(r);
    to->columns = next(r);
    to->column = calloc((size_t)to->columns + 1, sizeof(column_plan));
    if (!to->column) return 0;
    for (int32_t i = 0; i < to->columns; i++) {
        column_plan *col = &to->column[i];
        col->op = (uint8_t)next(r);
        col->kind = (uint8_t)next(r);
        col->steps = (uint8_t)next(r);
        col->path_length = (uint8_t)next(r);
        for (int32_t j = 0; j < col->path_length; j++) col->path[j] = (int16_t)next(r);
        col->text = next_word(r);
    }
    return 1;
}

static int read_node(reader *r, const plan *p, node *to) {
    to->form = next(r);
    to->flags = next(r);
    to->slots = next(r);
    for (to->mask = 7; to->mask < 3 * to->slots; to->mask = 2 * to->mask + 1) {}
    to->slot = calloc((size_t)to->slots + 1, sizeof(slot_plan));
    to->next = calloc((size_t)to->slots + 1, sizeof(int32_t));
    to->bucket = malloc(((size_t)to->mask + 1) * sizeof(int16_t));
    if (!to->slot || !to->next || !to->bucket) return 0;
    memset(to->bucket, -1, ((size_t)to->mask + 1) * sizeof(int16_t));
    for (int32_t i = 0; i < to->slots; i++) {
        slot_plan *slot = &to->slot[i];
        slot->name = next_word(r);
        slot->node = next(r);
        slot->known_as = next(r);
        slot->flags = next(r);
        uint32_t h = hashed(p->words + slot->name.start, slot->name.length);
        while (to->bucket[h & (uint32_t)to->mask] >= 0) h++;
        to->bucket[h & (uint32_t)to->mask] = (int16_t)i;
        to->next[i] = i + 1;
    }
    to->places = next(r);
    to->place = calloc((size_t)to->places + 1, sizeof(place));
    if (!to->place) return 0;
    for (int32_t i = 0; i < to->places; i++)
        if (!read_place(r, &to->place[i])) return 0;
    return 1;
}

static void free_plan(plan *p) {
    if (!p) return;
    for (int32_t i = 0; p->node && i < p->nodes; i++) {
        for (int32_t j = 0; p->node[i].place && j < p->node[i].places; j++) free(p->node[i].place[j].column);
        free(p->node[i].slot), free(p->node[i].next), free(p->node[i].bucket), free(p->node[i].place);
    }
    for (int32_t i = 0; p->kinds && i < p->tables; i++) free(p->kinds[i]);
    free(p->node), free(p->kinds), free(p->widths), free(p->ranked), free(p->words), free(p);
}

/* `numbers` is what plan.py writes: tables and their kinds, nodes, the root's slots by name. NULL: no memory. */
static plan *new_plan(const int32_t *numbers, int32_t count, const char *words, int32_t words_length) {
    reader r = {numbers, numbers + count};
    plan *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->words = calloc(1, (size_t)words_length + PADDING);
    p->tables = next(&r);
    p->widths = calloc((size_t)p->tables, sizeof(int32_t));
    p->kinds = calloc((size_t)p->tables, sizeof(int32_t *));
    int ok = p->words && p->widths && p->kinds;
    if (ok) memcpy(p->words, words, (size_t)words_length);
    for (int32_t i = 0; ok && i < p->tables; i++) {
        p->widths[i] = next(&r);
        ok = (p->kinds[i] = calloc((size_t)p->widths[i] + 1, sizeof(int32_t))) != NULL;
        for (int32_t j = 0; ok && j < p->widths[i]; j++) p->kinds[i][j] = next(&r);
    }
    p->nodes = next(&r);
    ok = ok && (p->node = calloc((size_t)p->nodes, sizeof(node))) != NULL;
    for (int32_t i = 0; ok && i < p->nodes; i++) ok = read_node(&r, p, &p->node[i]);
    p->ranks = next(&r);
    ok = ok && (p->ranked = calloc((size_t)p->ranks + 1, sizeof(int32_t))) != NULL;
    for (int32_t i = 0; ok && i < p->ranks; i++) p->ranked[i] = next(&r);
    if (ok) return p;
    free_plan(p);
    return NULL;
}
