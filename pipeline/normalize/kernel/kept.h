/* JSON text that is kept as it is written. */
#pragma once
#include "json.h"

static const char *const HINTS[] = {"filepath", "file_path", "s3token", "s3_token", "x-amz-", "awsaccesskeyid",
                                    "sig", "x-goog-", "key-pair"}; /* secrets._HINTS */

static int has_hint(const char *p, const char *end) {
    for (; p < end; p++) {
        if ((uint8_t)*p == 0xe2 && !strncmp(p, "\xe2\x84\xaa", 3)) return 1; /* a Kelvin sign: Python's lower() makes a k of it */
        char first = (char)(*p | 0x20);
        if (first != 'f' && first != 's' && first != 'x' && first != 'a' && first != 'k') continue;
        for (size_t i = 0; i < sizeof HINTS / sizeof *HINTS; i++) {
            const char *hint = HINTS[i];
            int j = 0;
            while (hint[j] && p + j < end && (p[j] >= 'A' && p[j] <= 'Z' ? p[j] | 0x20 : p[j]) == hint[j]) j++;
            if (!hint[j]) return 1;
        }
    }
    return 0;
}

static const char *as_dumped(const char *p);

static const char *object_as_dumped(const char *p) {
    const char *keys[KEYS_COMPARED];
    size_t lengths[KEYS_COMPARED];
    int count = 0;
    uint8_t escaped;
    for (p++; *p != '}'; p++) {
        if (*p != '"' || count == KEYS_COMPARED) return NULL;
        const char *key = p + 1;
        p = string(key, &escaped);
        size_t length = (size_t)(p - key);
        for (int i = 0; i < count; i++)
            if (lengths[i] == length && !memcmp(keys[i], key, length)) return NULL;
        keys[count] = key;
        lengths[count++] = length;
        if (escaped || p[1] != ':' || !(p = as_dumped(p + 2))) return NULL;
        if (*p == '}') break;
        if (*p != ',') return NULL;
    }
    return p + 1;
}

/* The end of a checked value that `jsontext.dump` would write just so: no blanks, no escapes, no key twice, no -0. */
static const char *as_dumped(const char *p) {
    uint8_t what;
    const char *start = p;
    switch (*p) {
    case '{': return object_as_dumped(p);
    case '[':
        for (p++; *p != ']'; p++) {
            if (!(p = as_dumped(p))) return NULL;
            if (*p == ']') break;
            if (*p != ',') return NULL;
        }
        return p + 1;
    case '"':
        p = string(p + 1, &what);
        return what ? NULL : p + 1;
    case 't': case 'n': return p + 4;
    case 'f': return p + 5;
    case ' ': case '\t': case '\n': case '\r': return NULL;
    default:
        p = number(p, &what);
        return !p || p - start > LONGEST_NUMBER || (what == INTEGER && p - start == 2 && start[0] == '-' && start[1] == '0')
                   ? NULL : p;
    }
}

/* Whether a checked value is kept just as it is written: `jsontext.dump` would write it so, and there is nothing secret in it. */
static int is_kept_as_written(const char *p, const char *end) { return as_dumped(p) == end && !has_hint(p, end); }

/* The same text without what is secret, as secrets.without_secrets has it. */

static const char REMOVED[] = "\"(secret removed)\"";
enum { REMOVED_LENGTH = sizeof REMOVED - 1, MOST_SCRUBBED = 16 << 10 };

static inline char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c; }

static const char *behind_word(const char *p, const char *end, const char *word) {
    for (; *word; p++, word++)
        if (p == end || lower(*p) != *word) return NULL;
    return p;
}

/* secrets.SIGNED, from a ? or & on. */
static int is_signed_query(const char *p, const char *end) {
    static const char *const WORDS[] = {"key-pair-id=", "signature=", "sig="};
    for (int i = 0; i < 3; i++)
        if (behind_word(p + 1, end, WORDS[i])) return 1;
    const char *start = behind_word(p + 1, end, "x-goog-"), *q = start;
    while (q && q < end && (is_digit(*q) || *q == '_' || (lower(*q) >= 'a' && lower(*q) <= 'z'))) q++;
    return q && q > start && q < end && *q == '=';
}

static int is_signed(const char *p, const char *end) {
    for (; p < end; p++) {
        char first = lower(*p);
        if (first == 'x' && behind_word(p, end, "x-amz-")) return 1;
        if (first == 'a' && behind_word(p, end, "awsaccesskeyid=")) return 1;
        if ((first == '?' || first == '&') && is_signed_query(p, end)) return 1;
    }
    return 0;
}

/* secrets._is_secret */
static int is_secret(const char *p, const char *end) {
    static const char *const WORDS[] = {"filepath", "securefilepath", "s3token"};
    char last[16];
    int length = 0;
    for (; p < end; p++) {
        if (*p == '.') length = 0;
        else if (*p != '_' && length < 16) last[length++] = lower(*p);
    }
    for (int i = 0; i < 3; i++)
        if (length == (int)strlen(WORDS[i]) && !memcmp(last, WORDS[i], (size_t)length)) return 1;
    return 0;
}

static const char *scrub(const char *p, char **to, int in_secret);

static const char *scrub_many(const char *p, char **to) {
    char close = *p == '{' ? '}' : ']';
    int is_map = *p == '{';
    uint8_t escaped;
    for (*(*to)++ = *p++; *p != close;) {
        int in_secret = 0;
        if (is_map) {
            const char *key = p + 1;
            p = string(key, &escaped);
            if (is_signed(key, p)) return NULL;
            in_secret = is_secret(key, p);
            p += 2; /* the quote and the colon */
            memcpy(*to, key - 1, (size_t)(p - key + 1));
            *to += p - key + 1;
        }
        if (!(p = scrub(p, to, in_secret))) return NULL;
        if (*p == ',') *(*to)++ = *p++;
    }
    *(*to)++ = close;
    return p + 1;
}

/* Writes a value that is `as_dumped`, of ASCII; gives where it ends, NULL where that is for Python. */
static const char *scrub(const char *p, char **to, int in_secret) {
    uint8_t what;
    if (*p == '"') {
        const char *end = string(p + 1, &what) + 1;
        int is_gone = (in_secret && end - p > 2) || is_signed(p + 1, end - 1);
        size_t length = is_gone ? REMOVED_LENGTH : (size_t)(end - p);
        memcpy(*to, is_gone ? REMOVED : p, length);
        *to += length;
        return end;
    }
    if (in_secret) return NULL;
    if (*p == '{' || *p == '[') return scrub_many(p, to);
    const char *end = as_dumped(p);
    memcpy(*to, p, (size_t)(end - p));
    *to += end - p;
    return end;
}

static int is_ascii(const char *p, const char *end) {
    for (; p < end; p++)
        if (*p & 0x80) return 0;
    return 1;
}
