/*
 * utf8 - see utf8.h. Any process; cannot fail.
 */
#include "workers/grpc/utf8.h"

/* Skips plain ASCII, eight bytes at a time. */
static size_t skip_ascii(struct bytes text, size_t at)
{
    uint64_t word;
    for (; text.len - at >= sizeof word; at += sizeof word) {
        memcpy(&word, text.data + at, sizeof word);
        if (word & 0x8080808080808080u)
            break;
    }
    while (at < text.len && text.data[at] < 0x80)
        at++;
    return at;
}

/* Length of the character at p, which has room bytes; 0 if it is none. */
static size_t character(const uint8_t *p, size_t room)
{
    /* By first byte: length, and the range of the second byte. */
    static const struct {
        uint8_t first, last, len, low, high;
    } forms[] = {
        {0xc2, 0xdf, 2, 0x80, 0xbf}, {0xe0, 0xe0, 3, 0xa0, 0xbf}, {0xe1, 0xec, 3, 0x80, 0xbf},
        {0xed, 0xed, 3, 0x80, 0x9f}, {0xee, 0xef, 3, 0x80, 0xbf}, {0xf0, 0xf0, 4, 0x90, 0xbf},
        {0xf1, 0xf3, 4, 0x80, 0xbf}, {0xf4, 0xf4, 4, 0x80, 0x8f},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        size_t len = forms[i].len;
        if (p[0] < forms[i].first || p[0] > forms[i].last)
            continue;
        if (room < len || p[1] < forms[i].low || p[1] > forms[i].high)
            return 0;
        for (size_t k = 2; k < len; k++)
            if ((p[k] & 0xc0) != 0x80)
                return 0;
        return len;
    }
    return 0;
}

bool rpc_utf8(struct bytes text)
{
    for (size_t at = skip_ascii(text, 0); at < text.len; at = skip_ascii(text, at)) {
        size_t len = character(text.data + at, text.len - at);
        if (len == 0)
            return false;
        at += len;
    }
    return true;
}
