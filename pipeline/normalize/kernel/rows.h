/* The rows of an answer, in the order of the declarations. */
#pragma once
#include "columns.h"
#include "kept.h"
#include "values.h"

static int set_aside(collector *c, int32_t table_, int32_t column_, int64_t row, const value *v, int is_read) {
    int32_t length = v->end - v->start;
    if (!ROOM(c->odds, 1) || !ROOM(c->kept, length) || c->kept.count + length > INT32_MAX) return refuse(c, NO_MEMORY);
    c->odds.at[c->odds.count++] = (odd){table_, column_, (int32_t)row, (int32_t)c->kept.count, length, is_read};
    memcpy(c->kept.at + c->kept.count, c->text + v->start, (size_t)length);
    c->kept.count += length;
    return 1;
}

static int put_string(collector *c, column *col, int64_t row, const value *v) {
    const char *p = c->text + v->start + 1, *end = c->text + v->end - 1;
    return v->escaped ? put_unescaped(c, col, row, p, end) : put_text(c, col, row, p, end - p);
}

static int is_minus_zero(const collector *c, const value *v) {
    return v->type == INTEGER && v->end - v->start == 2 && c->text[v->start] == '-' && c->text[v->start + 1] == '0';
}

/* JSON text that may have secrets, without them; 0 where that is for Python. */
static int put_scrubbed(collector *c, column *col, int64_t row, const char *p, const char *end) {
    if (end - p > MOST_SCRUBBED || !is_ascii(p, end)) return 0;
    char *start = text_room(c, col, row, (end - p) * REMOVED_LENGTH), *to = start; /* more than it can become */
    if (!start || scrub(p, &to, 0) != end) return 0;
    set_bit(col->valid, row, 1);
    col->offset[row + 1] = col->offset[row] + (int32_t)(to - start);
    return 1;
}

static int put_value(collector *c, int32_t table_, int32_t column_, int kind, column *col, int64_t row, const value *v) {
    const char *p = c->text + v->start, *end = c->text + v->end;
    int is_scalar = v->type != OBJECT_ && v->type != ARRAY;
    i128 number;
    if (is_null(v)) return put_null(col, kind, row);
    switch (kind) {
    case TEXT:
        if (v->type == STRING) return put_string(c, col, row, v);
        if (is_scalar && !is_minus_zero(c, v) && end - p <= LONGEST_NUMBER) return put_text(c, col, row, p, end - p);
        break;
    case OFFSET:
        if (v->escaped) return refuse(c, NOT_USUAL);
        if (v->type != STRING || !offset_length(p + 1, end - 1)) return put_null(col, kind, row);
        return put_text(c, col, row, end - 1 - offset_length(p + 1, end - 1), offset_length(p + 1, end - 1));
    case JSON_TEXT:
        if (as_dumped(p) != end) break;
        if (!has_hint(p, end)) return put_text(c, col, row, p, end - p);
        if (put_scrubbed(c, col, row, p, end)) return 1;
        break;
    case BOOL:
        if (v->type == TRUE_ || v->type == FALSE_) return put_number(col, kind, row, v->type == TRUE_);
        if (v->type == STRING && !v->escaped && read_bool(p + 1, end - 1, &number)) return put_number(col, kind, row, number);
        break;
    case INT: case DECIMAL:
        if (v->type == STRING && !v->escaped && read_number(kind, p + 1, end - 1, &number))
            return put_number(col, kind, row, number);
        if ((v->type == INTEGER || v->type == NUMBER) && read_number(kind, p, end, &number))
            return put_number(col, kind, row, number);
        if (kind == DECIMAL && v->type == NUMBER && read_rounded(p, end, &number))
            return put_number(col, kind, row, number) && set_aside(c, table_, column_, row, v, 1);
        break;
    default:
        if (v->type == STRING && !v->escaped && read_number(kind, p + 1, end - 1, &number))
            return put_number(col, kind, row, number);
    }
    put_null(col, kind, row);
    return set_aside(c, table_, column_, row, v, 0);
}

static const char *const TYPE_NAMES[] = {"null", "null", "boolean", "boolean", "integer", "number", "string", "object", "array"};

/* A map's value as text (compile.text_value). */
static int put_entry(collector *c, column *col, int64_t row, const value *v) {
    const char *p = c->text + v->start, *end = c->text + v->end;
    if (is_null(v)) return put_null(col, TEXT, row);
    if (v->type == STRING) return put_string(c, col, row, v);
    return as_dumped(p) == end ? put_text(c, col, row, p, end - p) : refuse(c, NOT_USUAL);
}

static const value NONE = {0, 0, -1, 0, MISSING, 0};

/* What a column reads: a slot of an object on the way to the row, or of a plain object inside it. */
static inline const value *read_path(const collector *c, const column_plan *col, int32_t depth) {
    int32_t one = c->chain[depth - col->steps].instance;
    const value *v = &NONE;
    for (int32_t i = 0; i < col->path_length; i++) {
        if (one < 0) return &NONE;
        v = &c->slots.at[c->instances.at[one].slots + col->path[i]];
        one = v->type == OBJECT_ ? v->first : -1;
    }
    return v;
}

static int note_unhashed(collector *c, int32_t table_, int32_t column_, int64_t row) {
    if (!ROOM(c->unhashed, 1)) return refuse(c, NO_MEMORY);
    c->unhashed.at[c->unhashed.count++] = (unhashed_cell){table_, column_, (int32_t)row, c->nth};
    return 1;
}

static inline int put(collector *c, int32_t number, int32_t at, const column_plan *col, int32_t depth, const entry *e) {
    table *t = &c->table[number];
    column *to = &t->column[at];
    int64_t row = t->rows;
    switch (col->op) {
    case READ: {
        const value *v = read_path(c, col, depth);
        return is_null(v) ? put_null(to, col->kind, row) : put_value(c, number, at, col->kind, to, row, v);
    }
    case COUNT: return put_number(to, INT, row, read_path(c, col, depth)->count);
    case ORDINAL: {
        int32_t ordinal = c->chain[depth - col->steps].ordinal;
        return ordinal < 0 ? put_null(to, INT, row) : put_number(to, INT, row, ordinal);
    }
    case KEY: return put_text(c, to, row, c->text + e->key, e->key_end - e->key);
    case VALUE: return put_entry(c, to, row, &e->value);
    case TYPE: return put_word(c, to, row, TYPE_NAMES[e->value.type], (int64_t)strlen(TYPE_NAMES[e->value.type]));
    case WORD: return put_text(c, to, row, c->plan->words + col->text.start, col->text.length);
    case ROW: {
        if (c->chain[depth].instance < 0) return put_word(c, to, row, "{}", 2);
        const instance *here = &c->instances.at[c->chain[depth].instance];
        value whole = {here->start, here->end, -1, 0, OBJECT_, 0};
        return put_value(c, number, at, JSON_TEXT, to, row, &whole);
    }
    case BODY_HASH: return put_word(c, to, row, c->hash, 16) && (!c->waits || note_unhashed(c, number, at, row));
    default: return put_null(to, col->kind, row);
    }
}

static int append_row(collector *c, const place *place, int32_t depth, const entry *e) {
    if (place->whens) {
        int there = 0, one = c->chain[depth].instance;
        for (int32_t i = 0; one >= 0 && i < place->whens; i++)
            there |= !is_null(&c->slots.at[c->instances.at[one].slots + place->when[i]]);
        if (!there) return 1;
    }
    if (!row_room(c, place->table)) return 0;
    table *t = &c->table[place->table];
    for (int32_t i = 0; i < place->columns; i++)
        if (!put(c, place->table, i, &place->column[i], depth, e)) return 0;
    t->nth[t->rows++] = c->nth;
    return 1;
}

static int walk(collector *c, int32_t number, int32_t depth, int64_t row);

static int walk_list(collector *c, int32_t number, const value *v, int32_t depth, int64_t row) {
    const node *n = &c->plan->node[number];
    int is_outer = n->flags & OUTER;
    if (is_null(v) && !is_outer) return 1;
    if (depth + 1 >= MAX_DEPTH) return refuse(c, TOO_DEEP);
    int32_t one = is_null(v) ? -1 : v->first, ordinal = 0;
    if (one < 0) { /* no elements */
        c->chain[depth + 1].instance = -1;
        c->chain[depth + 1].ordinal = 0;
        return !is_outer || walk(c, number, depth + 1, row);
    }
    for (; one >= 0; one = c->instances.at[one].next, ordinal++) {
        int is_there = c->instances.at[one].node >= 0;
        if (!is_there && !is_outer) continue;
        c->chain[depth + 1].instance = is_there ? one : -1;
        c->chain[depth + 1].ordinal = ordinal;
        if (!walk(c, number, depth + 1, row)) return 0;
    }
    return 1;
}

static int walk_map(collector *c, const node *n, const value *v, int32_t depth) {
    if (depth + 1 >= MAX_DEPTH) return refuse(c, TOO_DEEP);
    if (v->type != OBJECT_) return 1;
    for (int32_t i = v->first; i >= 0; i = c->entries.at[i].next) {
        const entry *e = &c->entries.at[i];
        if (e->ordinal < 0) continue;
        c->chain[depth + 1].instance = -1;
        c->chain[depth + 1].ordinal = e->ordinal;
        for (int32_t j = 0; j < n->places; j++)
            if (!append_row(c, &n->place[j], depth + 1, e)) return 0;
    }
    return 1;
}

/* The unknown keys of an object, by name; `row` keeps them. */
static int tell(collector *c, int32_t one, int64_t row) {
    int32_t found[MAX_UNKNOWN + 1], count = sorted_unknowns(c, one, found);
    for (int32_t i = 0; i < count; i++) {
        const unknown *u = &c->unknowns.at[found[i]];
        if (u->leak) continue;
        int32_t key = u->key_end - u->key, length = u->end - u->start;
        if (!ROOM(c->tolds, 1) || !ROOM(c->kept, key + length) || c->kept.count + key + length > INT32_MAX)
            return refuse(c, NO_MEMORY);
        c->tolds.at[c->tolds.count++] =
            (told){c->nth, c->instances.at[one].node, (int32_t)row, (int32_t)c->kept.count, key, length, u->type,
                   is_kept_as_written(c->text + u->start, c->text + u->end)};
        memcpy(c->kept.at + c->kept.count, c->text + u->key, (size_t)key);
        memcpy(c->kept.at + c->kept.count + key, c->text + u->start, (size_t)length);
        c->kept.count += key + length;
    }
    return 1;
}

/* And those of the objects inside that have no rows of their own, which are opened with it. */
static int tell_all(collector *c, int32_t one, int64_t row) {
    if (one < 0) return 1;
    if (c->instances.at[one].unknowns >= 0 && !tell(c, one, row)) return 0;
    const node *n = &c->plan->node[c->instances.at[one].node];
    for (int32_t i = 0; i < n->slots; i++) {
        const value *v = &c->slots.at[c->instances.at[one].slots + i];
        int32_t inner = n->slot[i].node;
        if (inner < 0 || v->type != OBJECT_ || c->plan->node[inner].form != OBJECT || c->plan->node[inner].places) continue;
        if (!tell_all(c, v->first, row)) return 0;
    }
    return 1;
}

static int walk_object(collector *c, int32_t number, const value *v, int32_t depth, int64_t row) {
    if (v->type != OBJECT_ || !(c->plan->node[number].places || v->count)) return 1;
    if (depth + 1 >= MAX_DEPTH) return refuse(c, TOO_DEEP);
    c->chain[depth + 1].instance = v->first;
    c->chain[depth + 1].ordinal = -1;
    return walk(c, number, depth + 1, row);
}

/* The rows of an object, and of all in it, in the order of the declarations (compile._Writer._object). `row`: of the
 * nearest object around that has some. */
static int walk(collector *c, int32_t number, int32_t depth, int64_t row) {
    const node *n = &c->plan->node[number];
    int32_t one = c->chain[depth].instance;
    if (n->places) row = c->table[n->place[0].table].rows;
    if (c->unknowns.count && (n->places || n->form == LIST) && !tell_all(c, one, row)) return 0;
    for (int32_t i = 0; i < n->places; i++)
        if (!append_row(c, &n->place[i], depth, NULL)) return 0;
    for (int32_t i = 0; i < n->slots; i++) {
        int32_t inner = n->slot[i].node;
        if (inner < 0 || !(c->plan->node[inner].flags & HAS_ROWS)) continue;
        const node *child = &c->plan->node[inner];
        const value *v = one < 0 ? &NONE : &c->slots.at[c->instances.at[one].slots + i];
        int went = child->form == LIST ? walk_list(c, inner, v, depth, row)
                 : child->form == OBJECT ? walk_object(c, inner, v, depth, row) : walk_map(c, child, v, depth);
        if (!went) return 0;
    }
    return 1;
}
