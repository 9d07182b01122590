/* An answer read as the plan says: each object's values in its slots. */
#pragma once
#include "json.h"

static inline int is_name(const plan *p, const slot_plan *slot, const char *name, int32_t length) {
    return slot->name.length == length && !memcmp(p->words + slot->name.start, name, (size_t)length);
}

/* Equal bytes; both have PADDING bytes behind them. */
static inline int is_same(const char *one, const char *other, int32_t length) {
    uint64_t a, b;
    for (; length > 8; one += 8, other += 8, length -= 8)
        if (memcpy(&a, one, 8), memcpy(&b, other, 8), a != b) return 0;
    memcpy(&a, one, 8), memcpy(&b, other, 8);
    return !length || !((a ^ b) << (64 - 8 * length)); /* little-endian: library.py sees to it */
}

static int32_t slot_of(const plan *p, const node *n, int32_t before, const char *name, int32_t length) {
    for (uint32_t h = hashed(name, length);; h++) {
        int32_t slot = n->bucket[h & (uint32_t)n->mask];
        if (slot < 0) return -1;
        if (is_name(p, &n->slot[slot], name, length)) {
            n->next[before] = slot;
            return slot;
        }
    }
}

/* The slot of the key that followed last time, where it is that again, with its quote: then nobody need look for its end. */
static int32_t guess(const collector *c, const node *n, int32_t before, const char *name) {
    int32_t slot = n->next[before];
    if (slot >= n->slots) return -1;
    const word *known = &n->slot[slot].name;
    if (c->text + c->length - name <= known->length || name[known->length] != '"') return -1;
    return is_same(c->plan->words + known->start, name, known->length) ? slot : -1;
}

static const char *planned(collector *c, const char *p, int32_t number, value *v, int depth);

/* `setX: true` beside a key x is a leak of the API's own, and dropped (Collector.keys). */
static int is_leak(const char *name, int32_t length, const value *v) {
    return length > 3 && !memcmp(name, "set", 3) && name[3] >= 'A' && name[3] <= 'Z' &&
           (v->type == TRUE_ || v->type == FALSE_);
}

static inline int is_null(const value *v) { return v->type <= NUL; }

/* Another spelling stands for the known one where that says nothing; where both say something, no answer is usual. */
static int resolve_spellings(collector *c, const node *n, value *slots) {
    for (int32_t i = 0; i < n->slots; i++) {
        int32_t own = n->slot[i].known_as;
        if (own < 0 || slots[i].type == MISSING) continue;
        if (!is_null(&slots[own])) return refuse(c, NOT_USUAL);
        slots[own] = slots[i];
    }
    return 1;
}

/* Kept with its object. Where it came before, or may have, no answer is usual. */
static int new_unknown(collector *c, int32_t one, const char *name, int32_t length, const value *v, int leak) {
    if (!ROOM(c->unknowns, 1)) return refuse(c, NO_MEMORY);
    int32_t made = (int32_t)c->unknowns.count, key = (int32_t)(name - c->text), count = 0;
    instance *here = &c->instances.at[one];
    for (int32_t i = here->unknowns; i >= 0; i = c->unknowns.at[i].next) {
        const unknown *u = &c->unknowns.at[i];
        if (++count > MAX_UNKNOWN) return refuse(c, NOT_USUAL);
        if (u->key_end - u->key == length && !memcmp(c->text + u->key, name, (size_t)length)) return refuse(c, NOT_USUAL);
    }
    c->unknowns.at[made] = (unknown){key, key + length, v->start, v->end, v->type, leak, here->unknowns};
    c->unknowns.count++;
    here->unknowns = made;
    return 1;
}

static const char *member(collector *c, const char *p, const node *n, int32_t one, int32_t *before, int depth) {
    uint8_t escaped = 0;
    if (*p != '"') return NULL;
    const char *name = p + 1;
    int32_t length, slot = guess(c, n, *before, name);
    if (slot >= 0) {
        length = n->slot[slot].name.length;
        p = name + length;
    } else {
        if (!(p = string(name, &escaped))) return NULL;
        length = (int32_t)(p - name);
        slot = escaped ? -1 : slot_of(c->plan, n, *before, name, length);
    }
    p = blanks(p + 1);
    if (*p != ':') return NULL;
    p = blanks(p + 1);
    value v;
    if (slot < 0) {
        if (!(p = skip(c, p, &v, depth))) return NULL;
        if (escaped) { refuse(c, NOT_USUAL); return NULL; } /* it may be another one's twin */
        int leak = is_leak(name, length, &v);
        return (leak && depth > 1) || new_unknown(c, one, name, length, &v, leak) ? p : NULL; /* at the top it is hashed */
    }
    int32_t at = c->instances.at[one].slots + slot, inner = n->slot[slot].node;
    if (c->slots.at[at].type != MISSING || n->slot[slot].flags & OTHER_SPELLING) { refuse(c, NOT_USUAL); return NULL; } /* or twice */
    *before = slot;
    if (inner < 0) return skip(c, p, &c->slots.at[at], depth);
    if ((p = planned(c, p, inner, &v, depth))) c->slots.at[at] = v; /* which may have moved */
    return p;
}

static int32_t new_instance(collector *c, int32_t number) {
    int32_t slots = number < 0 ? 0 : c->plan->node[number].slots;
    if (!ROOM(c->instances, 1) || !ROOM(c->slots, slots)) return refuse(c, NO_MEMORY) - 1;
    int32_t made = (int32_t)c->instances.count++;
    c->instances.at[made] = (instance){number, 0, 0, 0, (int32_t)c->slots.count, -1, -1};
    memset(c->slots.at + c->slots.count, 0, (size_t)slots * sizeof(value));
    c->slots.count += slots;
    return made;
}

/* An object of the plan's. Its number among the instances goes to `made`. */
static const char *object(collector *c, const char *p, int32_t number, int32_t *made, int depth) {
    const node *n = &c->plan->node[number];
    const char *start = p;
    int32_t one = *made = new_instance(c, number), members = 0, before = n->slots;
    if (one < 0) return NULL;
    if (depth > MAX_DEPTH) { refuse(c, TOO_DEEP); return NULL; }
    p = blanks(p + 1);
    if (*p == '}') p++;
    else for (;; p = blanks(p + 1)) {
        if (!(p = member(c, p, n, one, &before, depth + 1))) return NULL;
        members++;
        p = blanks(p);
        if (*p == '}') { p++; break; }
        if (*p != ',') return NULL;
    }
    if (!resolve_spellings(c, n, c->slots.at + c->instances.at[one].slots)) return NULL;
    instance *here = &c->instances.at[one];
    here->start = (int32_t)(start - c->text);
    here->end = (int32_t)(p - c->text);
    here->members = members;
    return p;
}

static const char *list(collector *c, const char *p, int32_t number, value *v, int depth) {
    int32_t last = -1;
    p = blanks(p + 1);
    if (*p == ']') return p + 1;
    for (;; p = blanks(p + 1)) {
        int32_t one;
        if (*p == '{') {
            if (!(p = object(c, p, number, &one, depth + 1))) return NULL;
        } else if (!strncmp(p, "null", 4)) {
            p += 4;
            if ((one = new_instance(c, -1)) < 0) return NULL;
        } else { refuse(c, NOT_USUAL); return NULL; }
        if (last < 0) v->first = one;
        else c->instances.at[last].next = one;
        last = one;
        v->count++;
        p = blanks(p);
        if (*p == ']') return p + 1;
        if (*p != ',') return NULL;
    }
}

static int new_entry(collector *c, value *v, int32_t *last, const entry *made) {
    if (!ROOM(c->entries, 1)) return refuse(c, NO_MEMORY);
    int32_t one = (int32_t)c->entries.count++;
    c->entries.at[one] = *made;
    if (*last < 0) v->first = one;
    else c->entries.at[*last].next = one;
    *last = one;
    return 1;
}

/* The elements of an entry that is a list, each as an entry of its own. */
static const char *entry_list(collector *c, const char *p, value *v, int32_t *last, entry made, int depth) {
    p = blanks(p + 1);
    if (*p == ']') {
        made.ordinal = -1; /* a key without rows */
        return new_entry(c, v, last, &made) ? p + 1 : NULL;
    }
    for (made.ordinal = 0;; made.ordinal++, p = blanks(p + 1)) {
        if (!(p = skip(c, p, &made.value, depth + 1)) || !new_entry(c, v, last, &made)) return NULL;
        p = blanks(p);
        if (*p == ']') return p + 1;
        if (*p != ',') return NULL;
    }
}

/* Whether a map's newest key came before. The keys of one map are compared one by one: there are few. */
static int came_before(const collector *c, const value *v, const char *name, int32_t length) {
    for (int32_t i = v->first; i >= 0; i = c->entries.at[i].next) {
        const entry *e = &c->entries.at[i];
        if (e->key_end - e->key == length && !memcmp(c->text + e->key, name, (size_t)length)) return 1;
    }
    return 0;
}

static const char *map(collector *c, const char *p, int32_t form, value *v, int depth) {
    int32_t last = -1;
    p = blanks(p + 1);
    if (*p == '}') return p + 1;
    for (;; p = blanks(p + 1)) {
        uint8_t escaped;
        if (*p != '"') return NULL;
        const char *name = p + 1;
        if (!(p = string(name, &escaped))) return NULL;
        int32_t length = (int32_t)(p - name);
        /* an escaped key may be another one's twin */
        if (escaped || v->count > 256 || came_before(c, v, name, length)) { refuse(c, NOT_USUAL); return NULL; }
        p = blanks(p + 1);
        if (*p != ':') return NULL;
        p = blanks(p + 1);
        int32_t key = (int32_t)(name - c->text);
        entry made = {key, key + length, 0, -1, {0}};
        if (form == MAP_OF_LISTS && *p == '[') {
            if (!(p = entry_list(c, p, v, &last, made, depth))) return NULL;
        } else if (!(p = skip(c, p, &made.value, depth + 1)) || !new_entry(c, v, &last, &made)) return NULL;
        v->count++;
        p = blanks(p);
        if (*p == '}') return p + 1;
        if (*p != ',') return NULL;
    }
}

/* What stands at a node of the plan. `[]` where an object should be says nothing. */
static const char *planned(collector *c, const char *p, int32_t number, value *v, int depth) {
    const node *n = &c->plan->node[number];
    *v = (value){(int32_t)(p - c->text), 0, -1, 0, MISSING, 0};
    if (depth > MAX_DEPTH) { refuse(c, TOO_DEEP); return NULL; }
    if (*p == '{') {
        v->type = OBJECT_;
        if (n->form == OBJECT || n->form == LIST) {
            if (!(p = object(c, p, number, &v->first, depth))) return NULL;
            v->count = c->instances.at[v->first].members > 0;
        } else p = map(c, p, n->form, v, depth);
    } else if (*p == '[' && n->form == LIST) {
        v->type = ARRAY;
        p = list(c, p, number, v, depth);
    } else if (*p == '[' && *blanks(p + 1) == ']') {
        v->type = ARRAY;
        p = blanks(p + 1) + 1;
    } else if (!strncmp(p, "null", 4)) {
        v->type = NUL;
        p += 4;
    } else { refuse(c, NOT_USUAL); return NULL; }
    if (p) v->end = (int32_t)(p - c->text);
    return p;
}

static inline int is_ascii_32(const uint8_t *p) {
    uint64_t four[4];
    memcpy(four, p, 32);
    return !((four[0] | four[1] | four[2] | four[3]) & 0x8080808080808080u);
}

static int is_utf8(const uint8_t *p, const uint8_t *end) {
    while (p < end) {
        uint64_t eight;
        while (end - p >= 32 && is_ascii_32(p)) p += 32;
        while (end - p >= 8 && (memcpy(&eight, p, 8), !(eight & 0x8080808080808080u))) p += 8;
        if (p == end || *p < 0x80) { p += p < end; continue; }
        int more = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : 1;
        if (*p < 0xc2 || *p > 0xf4 || end - p <= more) return 0;
        uint8_t least = *p == 0xe0 ? 0xa0 : *p == 0xf0 ? 0x90 : 0x80, most = *p == 0xed ? 0x9f : *p == 0xf4 ? 0x8f : 0xbf;
        if (p[1] < least || p[1] > most) return 0;
        for (int i = 2; i <= more; i++)
            if ((p[i] & 0xc0) != 0x80) return 0;
        p += more + 1;
    }
    return 1;
}
