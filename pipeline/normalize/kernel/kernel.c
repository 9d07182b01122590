/* The usual answer, from its bytes to typed columns, in one pass over the text and one over what it gave.
 *
 * plan.py writes the plan: the tree of the answer (blocks/shape.py) and, for each row, where its columns stand. This file
 * knows no key of the API. It takes only what it understands wholly; an answer with anything else (an unknown key, another
 * form, a key twice, a lone surrogate, bad UTF-8, ...) is refused, and leaves no trace. A single value that its column
 * cannot take as it stands ("" for a number, more digits than are kept) is set aside as its JSON text, an `odd` cell: Python
 * reads it by the rules of blocks/fit.py. Which rules those are is written there; tests/normalize holds both to the same rows.
 *
 * Nothing of Python's is used: the library is loaded with ctypes and works without the interpreter's lock. A collector
 * belongs to one thread at a time.
 *
 * A text is copied, with zeros behind it: they stop every loop, and many bytes may be looked at at once.
 */
#include "hash.h"
#include "rows.h"

#define EXPORT __attribute__((visibility("default")))

/* A copy of the body, with zeros behind it; NULL: no memory. */
static const char *ended(collector *c, const char *text, int64_t length) {
    char *body = grown(c->body, &c->body_room, length + PADDING, 1);
    if (!body) return NULL;
    c->body = body;
    memcpy(body, text, (size_t)length);
    memset(body + length, 0, PADDING);
    return body;
}

EXPORT void kernel_free(collector *c) {
    if (!c) return;
    for (int32_t i = 0; c->table && i < c->plan->tables; i++) {
        for (int32_t j = 0; c->table[i].column && j < c->plan->widths[i]; j++) {
            column *col = &c->table[i].column[j];
            free(col->valid), free(col->data), free(col->offset);
        }
        free(c->table[i].column), free(c->table[i].nth);
    }
    free(c->table), free(c->rows_before), free(c->odds.at), free(c->kept.at), free(c->slots.at);
    free(c->instances.at), free(c->entries.at), free(c->unknowns.at), free(c->tolds.at), free(c->texts.at);
    free(c->digests.at), free(c->unhashed.at), free(c->body);
    free_plan(c->plan), free(c);
}

/* A collector with a plan. NULL: no memory. */
EXPORT collector *kernel_new(const int32_t *numbers, int32_t count, const char *words, int32_t words_length) {
    collector *c = calloc(1, sizeof *c);
    plan *p = new_plan(numbers, count, words, words_length);
    if (!c || !p) {
        free_plan(p), free(c);
        return NULL;
    }
    c->plan = p;
    c->table = calloc((size_t)p->tables, sizeof(table));
    c->rows_before = calloc((size_t)p->tables, sizeof(int64_t));
    int ok = c->table && c->rows_before;
    for (int32_t i = 0; ok && i < p->tables; i++)
        ok = (c->table[i].column = calloc((size_t)p->widths[i] + 1, sizeof(column))) != NULL;
    if (ok) return c;
    kernel_free(c);
    return NULL;
}

static int read_answer(collector *c) {
    value top;
    c->slots.count = c->instances.count = c->entries.count = c->unknowns.count = 0;
    if (!is_utf8((const uint8_t *)c->text, (const uint8_t *)c->text + c->length))
        return refuse(c, NOT_JSON);
    const char *p = blanks(c->text);
    if (*p != '{') return refuse(c, NOT_USUAL);
    p = planned(c, p, 0, &top, 0);
    if (!p || blanks(p) != c->text + c->length) return refuse(c, NOT_JSON);
    return 1;
}

static void note_before(collector *c) {
    for (int32_t i = 0; i < c->plan->tables; i++) c->rows_before[i] = c->table[i].rows;
    c->odds_before = c->odds.count, c->tolds_before = c->tolds.count, c->kept_before = c->kept.count;
    c->texts_before = c->texts.count, c->digests_before = c->digests.count, c->unhashed_before = c->unhashed.count;
}

static void as_before(collector *c) {
    for (int32_t i = 0; i < c->plan->tables; i++) c->table[i].rows = c->rows_before[i];
    c->odds.count = c->odds_before, c->tolds.count = c->tolds_before, c->kept.count = c->kept_before;
    c->texts.count = c->texts_before, c->digests.count = c->digests_before, c->unhashed.count = c->unhashed_before;
}

/* TAKEN, HASH_WANTED (only Python can hash it), or a reason (`why`) for which it was refused; nothing is left of it then. */
static int32_t take(collector *c, const char *text, int64_t length, int32_t nth, const char *hash) {
    const char *body = length > MAX_BODY ? NULL : ended(c, text, length);
    if (!body) return NO_MEMORY;
    c->text = body, c->length = (int32_t)length, c->nth = nth, c->why = 0, c->waits = !hash;
    note_before(c);
    if (!read_answer(c) || (c->waits && !text_to_hash(c, c->slots.at))) return c->why;
    if (hash) memcpy(c->hash, hash, 16);
    c->chain[0].instance = 0, c->chain[0].ordinal = -1;
    if (walk(c, 0, 0, 0)) return TAKEN;
    as_before(c);
    return c->why;
}

/* Take an answer. `nth` goes with each of its rows; `hash` has 16 hex digits. Gives what `take` says. */
EXPORT int32_t kernel_add(collector *c, const char *text, int32_t length, int32_t nth, const char *hash) {
    return take(c, text, length, nth, hash);
}

/* Take the answers that stand in a text at `starts`, of `lengths`; `nth` goes with the first, and so on. Of each that was
 * taken `hashes` gets the number of its 16 hex digits, of each `ends` what `take` says. Gives how many were tried: fewer
 * where one wants a hash. */
EXPORT int32_t kernel_add_many(collector *c, const char *text, const int64_t *starts, const int64_t *lengths, uint64_t *hashes,
                               int32_t *ends, int32_t count, int32_t nth) {
    int32_t done = 0;
    for (; done < count; done++) {
        ends[done] = take(c, text + starts[done], lengths[done], nth + done, NULL);
        if (ends[done] == HASH_WANTED) break;
        hashes[done] = 0;
        if (c->texts.count > MANY_TEXTS) hash_waiting(c, hashes, nth);
    }
    hash_waiting(c, hashes, nth);
    return done;
}

/* library.VERSION: of what plan.py and this file tell each other. */
EXPORT int32_t kernel_version(void) { return 5; }

EXPORT int64_t kernel_rows(const collector *c, int32_t number) { return c->table[number].rows; }

/* Addresses and lengths of a table's buffers: `nth`, then for each column validity, data, its bytes, offsets. */
EXPORT void kernel_buffers(const collector *c, int32_t number, int64_t *to) {
    const table *t = &c->table[number];
    *to++ = (int64_t)(intptr_t)t->nth;
    for (int32_t i = 0; i < c->plan->widths[number]; i++) {
        const column *col = &t->column[i];
        int kind = c->plan->kinds[number][i];
        *to++ = (int64_t)(intptr_t)col->valid;
        *to++ = (int64_t)(intptr_t)col->data;
        *to++ = is_text(kind) ? (t->rows ? col->offset[t->rows] : 0)
              : kind == BOOL ? (t->rows + 7) / 8 : t->rows * WIDTH[kind];
        *to++ = (int64_t)(intptr_t)col->offset;
    }
}

/* How many odd cells there are and where their six numbers each, the same of unknown keys (eight), where their texts, and how long. */
EXPORT void kernel_odds(const collector *c, int64_t *to) {
    to[0] = c->odds.count;
    to[1] = (int64_t)(intptr_t)c->odds.at;
    to[2] = c->tolds.count;
    to[3] = (int64_t)(intptr_t)c->tolds.at;
    to[4] = (int64_t)(intptr_t)c->kept.at;
    to[5] = c->kept.count;
}

/* Start afresh; what was allocated stays for the next rows. */
EXPORT void kernel_clear(collector *c) {
    for (int32_t i = 0; i < c->plan->tables; i++) c->table[i].rows = 0;
    c->odds.count = c->tolds.count = c->kept.count = 0;
}
