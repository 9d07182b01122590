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
