/* Columns into records: what coding.py does column by column, of a batch in one call, without the interpreter's lock.
 *
 * A coder knows where in a record each column of a table stands, and has the words of its texts. It belongs to one thread
 * at a time. tests/test_records.py holds it and Python's way to the same records.
 */
#include "arrow.h"
#include "vocabulary.h"

#define EXPORT __attribute__((visibility("default")))

/* coder.py tells these. A column of kind BESIDE has no place in a record. */
enum kind { BESIDE, NUMBER4, NUMBER8, AMOUNT, FLAG, TEXT };
enum { NO_MEMORY = -1 };

typedef struct {
    int32_t kind, at; /* where in a record */
    vocabulary words;
} column;

typedef struct {
    int32_t columns, width;
    column *column;
} coder;

EXPORT void records_free(coder *c) {
    if (!c) return;
    for (int32_t i = 0; c->column && i < c->columns; i++) free_words(&c->column[i].words);
    free(c->column), free(c);
}

/* `told`: for each column its kind and its place in records that are `width` bytes wide. NULL: no memory. */
EXPORT coder *records_new(const int32_t *told, int32_t columns, int32_t width) {
    coder *c = calloc(1, sizeof *c);
    if (!c || !(c->column = calloc((size_t)columns + 1, sizeof(column)))) {
        free(c);
        return NULL;
    }
    c->columns = columns, c->width = width;
    for (int32_t i = 0; i < columns; i++) c->column[i] = (column){told[2 * i], told[2 * i + 1], no_words()};
    return c;
}

typedef struct {
    int64_t count, start;
    const uint8_t *valid; /* NULL: all are */
    const void *data, *letters;
    char *to;
    int32_t width;
} cells;

static inline int is_null(const cells *from, int64_t i) { return from->valid && !bit(from->valid, from->start + i); }

#define NUMBERS(name, type, smallest)                                                                                        \
    static int64_t name(const cells *from) {                                                                                 \
        const type *data = (const type *)from->data + from->start;                                                           \
        const int64_t count = from->count, width = from->width;                                                              \
        char *to = from->to;                                                                                                 \
        int64_t odd = 0;                                                                                                     \
        if (!from->valid)                                                                                                    \
            for (int64_t i = 0; i < count; i++, to += width) {                                                               \
                odd += data[i] == smallest;                                                                                  \
                memcpy(to, &data[i], sizeof(type));                                                                          \
            }                                                                                                                \
        else                                                                                                                 \
            for (int64_t i = 0; i < count; i++, to += width) {                                                               \
                int there = bit(from->valid, from->start + i);                                                               \
                type number = there ? data[i] : smallest;                                                                    \
                odd += there & (number == smallest);                                                                         \
                memcpy(to, &number, sizeof number);                                                                          \
            }                                                                                                                \
        return odd;                                                                                                          \
    }

NUMBERS(numbers4, int32_t, INT32_MIN)
NUMBERS(numbers8, int64_t, INT64_MIN)

/* Sixteen bytes, of which the lower half is all, or they have no place. */
static int64_t amounts(const cells *from) {
    const int64_t *data = (const int64_t *)from->data + 2 * from->start;
    char *to = from->to;
    int64_t odd = 0;
    for (int64_t i = 0; i < from->count; i++, to += from->width) {
        int64_t low = data[2 * i], high = data[2 * i + 1];
        if (is_null(from, i)) low = INT64_MIN;
        else if (high != low >> 63 || low == INT64_MIN) low = INT64_MIN, odd++;
        memcpy(to, &low, sizeof low);
    }
    return odd;
}

static int64_t flags(const cells *from) {
    char *to = from->to;
    for (int64_t i = 0; i < from->count; i++, to += from->width)
        *to = (char)(is_null(from, i) ? -1 : bit(from->data, from->start + i));
    return 0;
}

static void leave_empty(int32_t kind, const cells *from) {
    const int64_t smallest = INT64_MIN;
    const int32_t smallest4 = INT32_MIN;
    char *to = from->to;
    for (int64_t i = 0; i < from->count; i++, to += from->width) {
        if (kind == NUMBER4) memcpy(to, &smallest4, 4);
        else if (kind == TEXT) memset(to, 0xff, 2);
        else if (kind == FLAG) *to = -1;
        else memcpy(to, &smallest, 8);
    }
}

static int64_t texts(const cells *from, vocabulary *words) {
    const int32_t *ends = (const int32_t *)from->data + from->start;
    const char *letters = from->letters, *before = NULL;
    char *to = from->to;
    int64_t odd = 0, length_before = -1;
    int32_t number_before = NO_WORD;
    for (int64_t i = 0; i < from->count; i++, to += from->width) {
        int32_t number = NO_WORD;
        if (!is_null(from, i)) {
            const char *text = letters + ends[i];
            int64_t length = ends[i + 1] - ends[i];
            number = length == length_before && is_same(text, before, length) ? number_before : word_of(words, text, length);
            if (number < 0) return NO_MEMORY;
            odd += number == NO_WORD;
            before = text, length_before = length, number_before = number;
        }
        uint16_t word = (uint16_t)number;
        memcpy(to, &word, sizeof word);
    }
    return odd;
}

/* Writes a batch into `records`. `children`: which of its arrays is each column, -1 for none (null), -2 to leave it alone.
 * `odd` gets by column how many values have no place in the records; there stands what stands for null.
 * The batch is released. 0: no memory. */
EXPORT int32_t records_code(coder *c, struct ArrowArray *batch, const int32_t *children, char *records, int64_t *odd) {
    int32_t ok = 1;
    for (int32_t i = 0; ok && i < c->columns; i++) {
        column *col = &c->column[i];
        cells from = {.count = batch->length, .to = records + col->at, .width = c->width};
        odd[i] = 0;
        if (col->kind == BESIDE || children[i] == -2) continue;
        const struct ArrowArray *child = children[i] < 0 ? NULL : batch->children[children[i]];
        if (!child || child->null_count == child->length) {
            leave_empty(col->kind, &from);
            continue;
        }
        from.start = child->offset;
        from.valid = child->null_count ? child->buffers[0] : NULL;
        from.data = child->buffers[1];
        switch (col->kind) {
        case NUMBER4: odd[i] = numbers4(&from); break;
        case NUMBER8: odd[i] = numbers8(&from); break;
        case AMOUNT: odd[i] = amounts(&from); break;
        case FLAG: odd[i] = flags(&from); break;
        default:
            from.letters = child->buffers[2];
            odd[i] = texts(&from, &col->words);
            ok = odd[i] != NO_MEMORY;
        }
    }
    if (batch->release) batch->release(batch);
    return ok;
}

/* Of a column's words: how many there are, their characters with those that found no room, whether no more are taken;
 * where they end, and where their letters stand. */
EXPORT void records_words(const coder *c, int32_t column, int64_t *to) {
    const vocabulary *words = &c->column[column].words;
    to[0] = words->count, to[1] = words->characters, to[2] = words->is_closed;
    to[3] = (int64_t)(intptr_t)words->starts, to[4] = (int64_t)(intptr_t)words->letters;
}

/* Forget a column's words. */
EXPORT void records_forget(coder *c, int32_t column) {
    free_words(&c->column[column].words);
    c->column[column].words = no_words();
}

/* From now on a column takes no more words than these, nor of more characters. */
EXPORT void records_limit(coder *c, int32_t column, int64_t most_words, int64_t most_characters) {
    vocabulary *words = &c->column[column].words;
    words->most_words = most_words < NO_WORD ? most_words : NO_WORD, words->most_characters = most_characters;
}

static void spread(const char *from, int32_t width, int64_t count, int32_t size, char *to) {
    switch (size) {
    case 8: for (int64_t i = 0; i < count; i++) memcpy(to + 8 * i, from + i * width, 8); break;
    case 4: for (int64_t i = 0; i < count; i++) memcpy(to + 4 * i, from + i * width, 4); break;
    case 2: for (int64_t i = 0; i < count; i++) memcpy(to + 2 * i, from + i * width, 2); break;
    default: for (int64_t i = 0; i < count; i++) to[i] = from[i * width];
    }
}

/* Records back into columns: `to` has for each column where it begins; none of those that lie beside is looked at. */
EXPORT void records_split(const coder *c, const char *records, int64_t count, char *const *to) {
    static const int32_t SIZE[] = {[NUMBER4] = 4, [NUMBER8] = 8, [AMOUNT] = 8, [FLAG] = 1, [TEXT] = 2};
    enum { AT_ONCE = 512 }; /* so many records stay in the processor's cache while column after column is taken from them */
    for (int64_t start = 0; start < count; start += AT_ONCE) {
        int64_t some = count - start < AT_ONCE ? count - start : AT_ONCE;
        for (int32_t i = 0; i < c->columns; i++) {
            int32_t kind = c->column[i].kind;
            if (kind != BESIDE)
                spread(records + start * c->width + c->column[i].at, c->width, some, SIZE[kind], to[i] + start * SIZE[kind]);
        }
    }
}

typedef struct {
    const char *at, *end;
    int64_t key, place; /* of the record at `at`: its customer, and where it would stand if all were one behind the other */
    int32_t stretch;
} cursor;

static inline int comes_before(const cursor *a, const cursor *b) {
    return a->key < b->key || (a->key == b->key && a->stretch < b->stretch);
}

static void sift_down(cursor *heap, int32_t count, int32_t at) {
    cursor moved = heap[at];
    for (int32_t child; (child = 2 * at + 1) < count; at = child) {
        child += child + 1 < count && comes_before(&heap[child + 1], &heap[child]);
        if (!comes_before(&heap[child], &moved)) break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

static inline int64_t key_at(const char *record) {
    int64_t key;
    memcpy(&key, record, sizeof key);
    return key;
}

/* Sorted stretches of records as one: by the number at `key_place`, of equal ones those of an earlier stretch first.
 * `places` (or NULL) gets where each stood. 0: no memory. */
EXPORT int32_t records_interleave(const char *const *stretches, const int64_t *counts, int32_t count, int32_t width,
                                  int32_t key_place, char *to, int64_t *places) {
    cursor *heap = malloc(((size_t)count + 1) * sizeof *heap);
    if (!heap) return 0;
    int32_t left = 0;
    int64_t before = 0;
    for (int32_t i = 0; i < count; before += counts[i++])
        if (counts[i])
            heap[left++] = (cursor){stretches[i], stretches[i] + counts[i] * width, key_at(stretches[i] + key_place), before, i};
    for (int32_t i = left / 2; i-- > 0;) sift_down(heap, left, i);
    while (left) {
        cursor *first = heap;
        const cursor *next = left < 2 ? NULL : &heap[1 + (left > 2 && comes_before(&heap[2], &heap[1]))];
        const char *start = first->at;
        do {
            if (places) *places++ = first->place++;
            first->at += width;
            if (first->at == first->end) break;
            first->key = key_at(first->at + key_place);
        } while (!next || comes_before(first, next));
        memcpy(to, start, (size_t)(first->at - start));
        to += first->at - start;
        if (first->at == first->end) heap[0] = heap[--left];
        sift_down(heap, left, 0);
    }
    free(heap);
    return 1;
}

#define DISTINCT(name, type)                                                                                                 \
    static int32_t name(const type *numbers, int64_t count, type nothing, int32_t most, uint16_t *slots, uint32_t mask,         \
                        int16_t *indices, type *distinct) {                                                                     \
        int32_t found = 0, last = -1;                                                                                           \
        for (int64_t i = 0; i < count; i++) {                                                                                   \
            type number = numbers[i];                                                                                           \
            if (number == nothing) { indices[i] = 0; continue; }                                                                \
            if (last < 0 || distinct[last] != number) {                                                                         \
                uint32_t at = (uint32_t)((uint64_t)number * 0x9e3779b97f4a7c15u >> 40) & mask;                                  \
                while (slots[at] != NO_WORD && distinct[slots[at]] != number) at = (at + 1) & mask;                             \
                if (slots[at] == NO_WORD) {                                                                                     \
                    if (found == most) return -1;                                                                               \
                    distinct[found] = number, slots[at] = (uint16_t)found++;                                                    \
                }                                                                                                               \
                last = slots[at];                                                                                               \
            }                                                                                                                   \
            indices[i] = (int16_t)last;                                                                                         \
        }                                                                                                                       \
        return found;                                                                                                           \
    }

DISTINCT(distinct4, int32_t)
DISTINCT(distinct8, int64_t)

/* Numbers of `width` bytes as a dictionary: `distinct` gets each once, in the order in which they come, and has room for
 * `most`; `indices` which of them it is, 0 where `nothing` stands.
 * Gives how many are distinct; -1: more than `most` (32,768 at the most), -2: no memory. */
EXPORT int32_t records_distinct(const void *numbers, int32_t width, int64_t count, int64_t nothing, int32_t most,
                                int16_t *indices, void *distinct) {
    uint32_t room = 64;
    while (room < 2 * (uint32_t)most) room *= 2;
    uint16_t *slots = malloc(room * sizeof *slots);
    if (!slots) return -2;
    memset(slots, 0xff, room * sizeof *slots);
    int32_t found = width == 8
        ? distinct8(numbers, count, nothing, most, slots, room - 1, indices, distinct)
        : distinct4(numbers, count, (int32_t)nothing, most, slots, room - 1, indices, distinct);
    free(slots);
    return found;
}

/* library.VERSION: of what coder.py and this file tell each other. */
EXPORT int32_t records_version(void) { return 1; }
