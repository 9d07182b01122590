/* Reading JSON: checked as strictly as msgspec does, and looked into no further than it must be. */
#pragma once
#include "answer.h"
#ifdef __SSE2__
#include <emmintrin.h>
#else
/* Of a string's bytes, those that stand for themselves: all but the quote, the backslash and control characters. */
static const uint8_t IS_PLAIN[256] = {[0x20 ... 0x21] = 1, [0x23 ... 0x5b] = 1, [0x5d ... 0xff] = 1};
#endif

static inline int is_digit(char c) { return (unsigned char)(c - '0') < 10; }

static inline const char *blanks(const char *p) {
    if ((uint8_t)*p > ' ') return p;
    while (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r') p++;
    return p;
}

static int hex4(const char *p) {
    int number = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0) return -1;
        number = number << 4 | digit;
    }
    return number;
}

/* The end of what a backslash begins, NULL where that is nothing. A surrogate must have its other half. */
static const char *escape(const char *p) {
    switch (p[1]) {
    case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't': return p + 2;
    case 'u': break;
    default: return NULL;
    }
    int unit = hex4(p + 2);
    if (unit < 0 || (unit >= 0xdc00 && unit < 0xe000)) return NULL;
    if (unit < 0xd800 || unit >= 0xe000) return p + 6;
    if (p[6] != '\\' || p[7] != 'u') return NULL;
    int low = hex4(p + 8);
    return low >= 0xdc00 && low < 0xe000 ? p + 12 : NULL;
}

/* The first byte that does not stand for itself. A text has PADDING bytes behind it, so that many may be looked at at once. */
static inline const char *past_plain(const char *p) {
#ifdef __SSE2__
    for (;; p += 16) {
        __m128i some = _mm_loadu_si128((const __m128i *)p);
        __m128i is_control = _mm_cmpeq_epi8(_mm_min_epu8(some, _mm_set1_epi8(0x1f)), some);
        __m128i is_mark = _mm_or_si128(_mm_cmpeq_epi8(some, _mm_set1_epi8('"')), _mm_cmpeq_epi8(some, _mm_set1_epi8('\\')));
        int found = _mm_movemask_epi8(_mm_or_si128(is_control, is_mark));
        if (found) return p + __builtin_ctz((unsigned)found);
    }
#else
    while (IS_PLAIN[(uint8_t)*p]) p++;
    return p;
#endif
}

/* From behind the opening quote to the closing one. */
static const char *string(const char *p, uint8_t *escaped) {
    *escaped = 0;
    for (;;) {
        p = past_plain(p);
        if (*p == '"') return p;
        if (*p != '\\') return NULL;
        *escaped = 1;
        if (!(p = escape(p))) return NULL;
    }
}

static const char *number(const char *p, uint8_t *type) {
    *type = INTEGER;
    if (*p == '-') p++;
    if (*p == '0') p++;
    else if (!is_digit(*p)) return NULL;
    else while (is_digit(*p)) p++;
    if (*p == '.') {
        *type = NUMBER;
        if (!is_digit(*++p)) return NULL;
        while (is_digit(*p)) p++;
    }
    if (*p == 'e' || *p == 'E') {
        *type = NUMBER;
        p++;
        if (*p == '+' || *p == '-') p++;
        if (!is_digit(*p)) return NULL;
        while (is_digit(*p)) p++;
    }
    return p;
}

static const char *skip(collector *c, const char *p, value *v, int depth);

static const char *skip_many(collector *c, const char *p, value *v, int depth, char close) {
    v->count = 0;
    if (depth > MAX_DEPTH) { refuse(c, TOO_DEEP); return NULL; }
    p = blanks(p + 1);
    if (*p == close) return p + 1;
    for (;;) {
        value inner;
        if (close == '}') {
            if (*p != '"' || !(p = string(p + 1, &inner.escaped))) return NULL;
            p = blanks(p + 1);
            if (*p != ':') return NULL;
            p = blanks(p + 1);
        }
        if (!(p = skip(c, p, &inner, depth + 1))) return NULL;
        v->count++;
        p = blanks(p);
        if (*p == close) return p + 1;
        if (*p != ',') return NULL;
        p = blanks(p + 1);
    }
}

/* Any value: checked, its place noted, not looked into. */
static const char *skip(collector *c, const char *p, value *v, int depth) {
    v->start = (int32_t)(p - c->text);
    v->escaped = 0;
    v->first = -1;
    v->count = 0;
    switch (*p) {
    case '"':
        v->type = STRING;
        if ((p = string(p + 1, &v->escaped))) p++;
        break;
    case '{':
        v->type = OBJECT_;
        p = skip_many(c, p, v, depth, '}');
        v->count = v->count > 0; /* as a list of one */
        break;
    case '[': v->type = ARRAY; p = skip_many(c, p, v, depth, ']'); break;
    case 't': v->type = TRUE_; p = strncmp(p, "true", 4) ? NULL : p + 4; break;
    case 'f': v->type = FALSE_; p = strncmp(p, "false", 5) ? NULL : p + 5; break;
    case 'n': v->type = NUL; p = strncmp(p, "null", 4) ? NULL : p + 4; break;
    default: p = number(p, &v->type);
    }
    if (p) v->end = (int32_t)(p - c->text);
    return p;
}
