/* Columns while they grow, in Arrow's layout. */
#pragma once
#include "reading.h"

static const int WIDTH[] = {[INT] = 8, [DECIMAL] = 16, [INSTANT] = 8, [LOCAL] = 8, [DATE] = 4};

static inline int is_text(int kind) { return kind == TEXT || kind == JSON_TEXT || kind == OFFSET; }

static int column_room(column *col, int kind, int64_t room) {
    uint8_t *valid = realloc(col->valid, (size_t)room / 8);
    if (!valid) return 0;
    col->valid = valid;
    if (is_text(kind)) {
        int32_t *offset = realloc(col->offset, (size_t)(room + 1) * sizeof *offset);
        if (!offset) return 0;
        col->offset = offset;
        offset[0] = 0;
        return 1;
    }
    uint8_t *data = realloc(col->data, kind == BOOL ? (size_t)room / 8 : (size_t)room * (size_t)WIDTH[kind]);
    if (!data) return 0;
    col->data = data;
    return 1;
}

static int row_room(collector *c, int32_t number) {
    table *t = &c->table[number];
    if (t->rows < t->room) return 1;
    int64_t room = t->room ? 2 * t->room : 64;
    int32_t *nth = realloc(t->nth, (size_t)room * sizeof *nth);
    if (!nth) return refuse(c, NO_MEMORY);
    t->nth = nth;
    for (int32_t i = 0; i < c->plan->widths[number]; i++)
        if (!column_room(&t->column[i], c->plan->kinds[number][i], room)) return refuse(c, NO_MEMORY);
    t->room = room;
    return 1;
}

/* Bits are set one behind the other; those behind the last one are 0, whatever stood there: so equal rows are equal bytes. */
static inline void set_bit(uint8_t *bits, int64_t at, int on) {
    int place = (int)(at & 7);
    bits[at >> 3] = (uint8_t)((bits[at >> 3] & ((1 << place) - 1)) | (on != 0) << place);
}

/* A number's bytes at its row; little-endian: library.py sees to it. Each width by itself, for these are short copies. */
static inline void set_number(column *col, int kind, int64_t row, i128 number) {
    if (kind == BOOL) set_bit(col->data, row, number != 0);
    else if (WIDTH[kind] == 16) memcpy(col->data + row * 16, &number, 16);
    else if (WIDTH[kind] == 8) memcpy(col->data + row * 8, &number, 8);
    else memcpy(col->data + row * 4, &number, 4);
}

static inline int put_null(column *col, int kind, int64_t row) {
    set_bit(col->valid, row, 0);
    if (is_text(kind)) col->offset[row + 1] = col->offset[row];
    else set_number(col, kind, row, 0);
    return 1;
}

static inline int put_number(column *col, int kind, int64_t row, i128 number) {
    set_bit(col->valid, row, 1);
    set_number(col, kind, row, number);
    return 1;
}

static char *text_room(collector *c, column *col, int64_t row, int64_t length) {
    int64_t used = col->offset[row];
    if (used + length > INT32_MAX) { refuse(c, NO_MEMORY); return NULL; }
    int64_t wanted = used + length + PADDING;
    uint8_t *data = wanted <= col->room ? col->data : grown(col->data, &col->room, wanted, 1);
    if (!data) { refuse(c, NO_MEMORY); return NULL; }
    col->data = data;
    return (char *)data + used;
}

/* Most texts are short, and both sides have PADDING bytes behind them. */
static inline void copy_padded(char *to, const char *from, int64_t length) {
    if (length > 4 * PADDING) memcpy(to, from, (size_t)length);
    else for (int64_t i = 0; i < length; i += PADDING) memcpy(to + i, from + i, PADDING);
}

/* A text with PADDING bytes behind it: of the answer, or of the plan. */
static int put_text(collector *c, column *col, int64_t row, const char *text, int64_t length) {
    char *to = text_room(c, col, row, length);
    if (!to) return 0;
    copy_padded(to, text, length);
    set_bit(col->valid, row, 1);
    col->offset[row + 1] = col->offset[row] + (int32_t)length;
    return 1;
}

/* Any other. */
static int put_word(collector *c, column *col, int64_t row, const char *text, int64_t length) {
    char *to = text_room(c, col, row, length);
    if (!to) return 0;
    memcpy(to, text, (size_t)length);
    set_bit(col->valid, row, 1);
    col->offset[row + 1] = col->offset[row] + (int32_t)length;
    return 1;
}

static char *utf8(char *to, uint32_t code) {
    if (code < 0x80) *to++ = (char)code;
    else if (code < 0x800) { *to++ = (char)(0xc0 | code >> 6); *to++ = (char)(0x80 | (code & 63)); }
    else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 63));
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    }
    return to;
}

/* A string's characters, its escapes undone; never longer than as it is written. */
static int put_unescaped(collector *c, column *col, int64_t row, const char *p, const char *end) {
    char *start = text_room(c, col, row, end - p), *to = start;
    if (!to) return 0;
    while (p < end) {
        if (*p != '\\') { *to++ = *p++; continue; }
        const char *behind = escape(p); /* checked when it was read */
        switch (p[1]) {
        case 'b': *to++ = '\b'; break;
        case 'f': *to++ = '\f'; break;
        case 'n': *to++ = '\n'; break;
        case 'r': *to++ = '\r'; break;
        case 't': *to++ = '\t'; break;
        case 'u': {
            uint32_t code = (uint32_t)hex4(p + 2);
            if (behind - p == 12) code = 0x10000 + ((code - 0xd800) << 10) + ((uint32_t)hex4(p + 8) - 0xdc00);
            to = utf8(to, code);
            break;
        }
        default: *to++ = p[1];
        }
        p = behind;
    }
    set_bit(col->valid, row, 1);
    col->offset[row + 1] = col->offset[row] + (int32_t)(to - start);
    return 1;
}
