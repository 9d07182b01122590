/* Values that columns take as they stand. What is not among these is for blocks/fit.py. */
#pragma once
#include "json.h"

static int read_int(const char *p, const char *end, i128 *number) {
    int minus = *p == '-';
    int64_t found = 0;
    p += minus;
    if (p == end || end - p > 18) return 0;
    for (; p < end && is_digit(*p); p++) found = found * 10 + (*p - '0');
    if (p < end && *p == '.' && p + 1 < end)
        for (p++; p < end && *p == '0'; p++) {}
    *number = minus ? -found : found;
    return p == end;
}

static int read_exponent(const char *p, const char *end, int32_t *exponent) {
    int minus = *p == '-';
    if (*p == '-' || *p == '+') p++;
    if (p == end || end - p > 4) return 0;
    for (*exponent = 0; p < end; p++) {
        if (!is_digit(*p)) return 0;
        *exponent = *exponent * 10 + (*p - '0');
    }
    if (minus) *exponent = -*exponent;
    return 1;
}

/* A number of few digits without an exponent, which most are, in 64 bits; 0 where it is none. */
static int read_short_decimal(const char *p, const char *end, i128 *number) {
    static const int64_t TENS[DECIMALS + 1] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000};
    int minus = *p == '-';
    int64_t found = 0, decimals = 0;
    p += minus;
    if (end - p > 18 || p == end || !is_digit(*p)) return 0;
    for (; p < end && is_digit(*p); p++) found = found * 10 + (*p - '0');
    if (p < end) {
        decimals = end - p - 1;
        if (*p++ != '.' || decimals < 1 || decimals > DECIMALS) return 0;
        for (; p < end && is_digit(*p); p++) found = found * 10 + (*p - '0');
        if (p < end) return 0;
    }
    *number = (i128)(minus ? -found : found) * TENS[DECIMALS - decimals];
    return 1;
}

static int scaled(i128 *number, int32_t by) {
    static const i128 LIMIT = (i128)10000000000000000000u * 10000000000000000000u; /* 10^38 */
    if (!*number) return 1;
    for (; by > 0; by--) {
        if (*number >= LIMIT / 10) return 0;
        *number *= 10;
    }
    for (; by < 0; by++) {
        if (*number % 10) return 0;
        *number /= 10;
    }
    return 1;
}

/* The same with digits dropped: to the nearest, of two as near to the even one. */
static int rounded(i128 *number, int32_t by) {
    i128 unit = 1;
    if (by >= 0 || by <= -MAX_DIGITS) return 0;
    for (; by < 0; by++) unit *= 10;
    i128 rest = *number % unit;
    *number /= unit;
    *number += rest > unit - rest || (rest == unit - rest && *number % 2);
    return 1;
}

/* A number as JSON writes it, times 10^9. */
static int read_scaled(const char *p, const char *end, i128 *number, int (*scale)(i128 *, int32_t)) {
    int minus = *p == '-', digits = 0, decimals = 0;
    int32_t exponent = 0;
    i128 found = 0;
    p += minus;
    if (p == end || end - p > LONGEST_NUMBER || !is_digit(*p)) return 0;
    for (; p < end && is_digit(*p); p++) {
        found = found * 10 + (*p - '0');
        if (found && ++digits >= MAX_DIGITS) return 0;
    }
    if (p < end && *p == '.') {
        if (++p == end || !is_digit(*p)) return 0;
        for (; p < end && is_digit(*p); p++, decimals++) {
            found = found * 10 + (*p - '0');
            if (found && ++digits >= MAX_DIGITS) return 0;
        }
    }
    if (p < end && (*p != 'e' && *p != 'E')) return 0;
    if (p < end && (p + 1 == end || !read_exponent(p + 1, end, &exponent))) return 0;
    if (!scale(&found, exponent - decimals + DECIMALS)) return 0;
    *number = minus ? -found : found;
    return 1;
}

/* 0 where that is no whole number of at most 38 digits. */
static int read_decimal(const char *p, const char *end, i128 *number) {
    return read_short_decimal(p, end, number) || read_scaled(p, end, number, scaled);
}

/* 0 where it has too many digits before the point, or far too many behind it. */
static int read_rounded(const char *p, const char *end, i128 *number) { return read_scaled(p, end, number, rounded); }

static int two(const char *p) { return is_digit(p[0]) && is_digit(p[1]) ? (p[0] - '0') * 10 + p[1] - '0' : -1; }

/* Days since 1970 of `YYYY-MM-DD`, in the years that readers know. */
static int read_date(const char *p, int32_t *days) {
    int century = two(p), year = century < 0 ? -1 : two(p + 2), month, day;
    if (year < 0 || p[4] != '-' || (month = two(p + 5)) < 1 || month > 12 || p[7] != '-' || (day = two(p + 8)) < 1) return 0;
    year += century * 100;
    if (year < 1) return 0;
    static const int8_t LENGTH[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > LENGTH[month - 1] + (is_leap && month == 2)) return 0;
    int y = year - (month <= 2), era = y / 400, of_era = y - era * 400;
    int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    *days = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
    return 1;
}

/* Microseconds of `YYYY-MM-DD[T ]HH:MM[:SS[.ffffff]]` from the start; gives where it ends, NULL where it is none. */
static const char *read_time(const char *p, const char *end, int64_t *micros) {
    int32_t days;
    if (end - p < 16 || !read_date(p, &days) || (p[10] != 'T' && p[10] != ' ')) return NULL;
    int hour = two(p + 11), minute = two(p + 14), second = 0;
    if (hour < 0 || hour > 23 || p[13] != ':' || minute < 0 || minute > 59) return NULL;
    int64_t fraction = 0;
    p += 16;
    if (p < end && *p == ':') {
        if (end - p < 3 || (second = two(p + 1)) < 0 || second > 59) return NULL;
        p += 3;
        if (p < end && *p == '.') {
            int digits = 0;
            for (p++; p < end && is_digit(*p); p++, digits++) fraction = fraction * 10 + (*p - '0');
            if (digits < 1 || digits > 6) return NULL;
            for (; digits < 6; digits++) fraction *= 10;
        }
    }
    *micros = ((int64_t)days * 86400 + hour * 3600 + minute * 60 + second) * 1000000 + fraction;
    return p;
}

/* The length of `Z`, `+05:30` or `+0530` at the very end of a text; 0: none. */
static int offset_length(const char *start, const char *end) {
    if (end - start >= 1 && end[-1] == 'Z') return 1;
    for (int length = 5; length <= 6; length++) {
        const char *p = end - length;
        if (p < start || (*p != '+' && *p != '-')) continue;
        if (two(p + 1) >= 0 && two(end - 2) >= 0 && (length == 5 || p[3] == ':')) return length;
    }
    return 0;
}

static const int64_t FIRST_MICRO = -62135596800000000, LAST_MICRO = 253402300799999999; /* of the years 1 to 9999 */

static int read_instant(const char *start, const char *end, i128 *number) {
    int64_t micros, minutes = 0;
    const char *p = read_time(start, end, &micros);
    int length = p ? offset_length(p, end) : 0;
    if (!length || end - p != length) return 0;
    if (length > 1) {
        int hours = two(p + 1), rest = two(end - 2);
        if (hours > 23 || rest > 59) return 0;
        minutes = (*p == '-' ? -1 : 1) * (hours * 60 + rest);
    }
    *number = micros - minutes * 60000000;
    return *number >= FIRST_MICRO && *number <= LAST_MICRO;
}

static int read_bool(const char *p, const char *end, i128 *number) {
    static const char *const WORDS[] = {"false", "true"};
    for (int i = 0; i < 2; i++) {
        int j = 0;
        while (WORDS[i][j] && p + j < end && (p[j] | 0x20) == WORDS[i][j]) j++;
        if (!WORDS[i][j] && p + j == end) { *number = i; return 1; }
    }
    return 0;
}

static int read_number(int kind, const char *p, const char *end, i128 *number) {
    int64_t micros;
    int32_t days;
    switch (kind) {
    case INT: return read_int(p, end, number);
    case DECIMAL: return read_decimal(p, end, number);
    case BOOL: return read_bool(p, end, number);
    case INSTANT: return read_instant(p, end, number);
    case LOCAL:
        if (read_time(p, end, &micros) != end) return 0;
        *number = micros;
        return 1;
    case DATE:
        if (end - p != 10 || !read_date(p, &days)) return 0;
        *number = days;
        return 1;
    default: return 0;
    }
}
