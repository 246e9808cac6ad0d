/*
 * json - see json.h. Runs in workers; fails only by panic when memory runs out.
 */
#include "workers/core/json.h"

/* ---- Looking at a text ---- */

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Whether one of eight bytes is a control character, a quote, a backslash or above 127. */
static bool word_is_special(uint64_t word)
{
    uint64_t quote = word ^ EACH('"'), backslash = word ^ EACH('\\');
    uint64_t control = word - EACH(0x20); /* borrows only matter when the answer is yes anyway */
    return ((word | (control & ~word) | ((quote - EACH(1)) & ~quote) |
             ((backslash - EACH(1)) & ~backslash)) &
            EACH(0x80)) != 0;
}

static bool byte_is_special(uint8_t c)
{
    return c < 0x20 || c == '"' || c == '\\' || c >= 0x80;
}

enum {
    BLOCK = 16,
    PIECE_BLOCKS = 50, /* of which none adds more than 5 to a byte */
};

/* The same of a block. As signed numbers control characters and all above 127 are below a blank. */
static bool block_is_special(const uint8_t *block)
{
    int8_t bytes __attribute__((vector_size(BLOCK)));
    uint64_t halves __attribute__((vector_size(BLOCK)));
    memcpy(&bytes, block, sizeof bytes);
    halves = (__typeof__(halves))((bytes < ' ') | (bytes == '"') | (bytes == '\\'));
    return (halves[0] | halves[1]) != 0;
}

size_t core_json_plain_prefix(struct bytes text)
{
    size_t i = 0;
    while (i + BLOCK <= text.len && !block_is_special(text.data + i))
        i += BLOCK;
    bool in_last = text.len >= BLOCK && i + BLOCK > text.len;
    if (in_last && !block_is_special(text.data + text.len - BLOCK))
        return text.len;
    while (i < text.len && !byte_is_special(text.data[i]))
        i++;
    return i;
}

size_t core_utf8_sequence(const uint8_t *s, size_t left)
{
    uint8_t first = s[0], low = 0x80, high = 0xbf;
    size_t len;
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf)
        len = 2;
    else if (first >= 0xe0 && first <= 0xef)
        len = 3;
    else if (first >= 0xf0 && first <= 0xf4)
        len = 4;
    else
        return 0;
    if (left < len)
        return 0;
    if (first == 0xe0)
        low = 0xa0;
    else if (first == 0xed)
        high = 0x9f;
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

/* Eight bytes at a time where they are ASCII. */
enum core_json_form core_json_form(struct bytes text)
{
    enum core_json_form form = CORE_JSON_PLAIN;
    for (size_t i = core_json_plain_prefix(text); i < text.len;) {
        uint64_t word;
        if (i + sizeof word <= text.len) {
            memcpy(&word, text.data + i, sizeof word);
            if ((word & EACH(0x80)) == 0) {
                if (form == CORE_JSON_PLAIN && word_is_special(word))
                    form = CORE_JSON_ESCAPE;
                i += sizeof word;
                continue;
            }
        }
        if (text.data[i] < 0x80 && byte_is_special(text.data[i]))
            form = CORE_JSON_ESCAPE;
        size_t n = core_utf8_sequence(text.data + i, text.len - i);
        if (n == 0)
            return CORE_JSON_BASE64;
        i += n;
    }
    return form;
}

/* ---- Writing ---- */

/* What each byte becomes, for a loop without branches. */
static struct escape {
    uint8_t text[7];
    uint8_t len;
} escapes[256];

static void fill_escapes(void)
{
    static const char digits[] = "0123456789abcdef";
    static const char letters[0x20] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    for (unsigned c = 0; c < 256; c++) {
        struct escape *escape = &escapes[c];
        *escape = (struct escape){{(uint8_t)c}, 1};
        if (c == '"' || c == '\\')
            *escape = (struct escape){{'\\', (uint8_t)c}, 2};
        else if (c < 0x20 && letters[c])
            *escape = (struct escape){{'\\', (uint8_t)letters[c]}, 2};
        else if (c < 0x20)
            *escape = (struct escape){
                {'\\', 'u', '0', '0', (uint8_t)digits[c >> 4], (uint8_t)digits[c & 15]}, 6};
    }
}

static const struct escape *escape_table(void)
{
    if (escapes[0].len == 0)
        fill_escapes();
    return escapes;
}

/* How many bytes the blocks of a text, at most PIECE_BLOCKS, are longer when they are escaped. */
static size_t added_to_blocks(const uint8_t *data, size_t blocks)
{
    uint8_t added __attribute__((vector_size(BLOCK))) = {0};
    size_t sum = 0;
    for (size_t i = 0; i < blocks; i++) {
        __typeof__(added) c;
        memcpy(&c, data + i * BLOCK, sizeof c);
        __typeof__(added) lettered =
            (__typeof__(added))((c == '\b') | (c == '\t') | (c == '\n') | (c == '\f') |
                                (c == '\r') | (c == '"') | (c == '\\'));
        __typeof__(added) control = (__typeof__(added))(c < 0x20) & ~lettered;
        added += (control & 5) + (lettered & 1);
    }
    for (unsigned i = 0; i < BLOCK; i++)
        sum += added[i];
    return sum;
}

/* As fast as it can be: HEAD asks for nothing else. */
static size_t escaped_length(struct bytes text)
{
    const struct escape *table = escape_table();
    size_t length = text.len / BLOCK * BLOCK;
    for (size_t at = 0; at + BLOCK <= text.len; at += PIECE_BLOCKS * BLOCK) {
        size_t blocks = (text.len - at) / BLOCK;
        length += added_to_blocks(text.data + at, blocks < PIECE_BLOCKS ? blocks : PIECE_BLOCKS);
    }
    for (size_t i = text.len / BLOCK * BLOCK; i < text.len; i++)
        length += table[text.data[i]].len;
    return length;
}

size_t core_json_length(struct bytes text, enum core_json_form form)
{
    if (form == CORE_JSON_BASE64)
        return (text.len + 2) / 3 * 4;
    return form == CORE_JSON_PLAIN ? text.len : escaped_length(text);
}

static void append_escaped(struct buffer *out, struct bytes text)
{
    const struct escape *table = escape_table();
    enum { PIECE = 4096 }; /* room is made for the worst of each piece, not of the whole */
    for (size_t at = 0; at < text.len; at += PIECE) {
        size_t end = text.len - at < PIECE ? text.len : at + PIECE;
        buffer_reserve(out, 6 * (end - at) + sizeof(struct escape));
        uint8_t *p = out->data + out->len;
        for (size_t i = at; i < end; i++) {
            const struct escape *escape = &table[text.data[i]];
            memcpy(p, escape, sizeof *escape); /* more than there may be: the next writes over it */
            p += escape->len;
        }
        out->len = (size_t)(p - out->data);
    }
}

static void append_base64(struct buffer *out, struct bytes text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    buffer_reserve(out, (text.len + 2) / 3 * 4);
    uint8_t *p = out->data + out->len;
    for (size_t i = 0; i < text.len; i += 3) {
        size_t left = text.len - i;
        uint32_t bits = (uint32_t)text.data[i] << 16;
        bits |= left > 1 ? (uint32_t)text.data[i + 1] << 8 : 0;
        bits |= left > 2 ? (uint32_t)text.data[i + 2] : 0;
        *p++ = (uint8_t)digits[bits >> 18];
        *p++ = (uint8_t)digits[bits >> 12 & 63];
        *p++ = (uint8_t)(left > 1 ? digits[bits >> 6 & 63] : '=');
        *p++ = (uint8_t)(left > 2 ? digits[bits & 63] : '=');
    }
    out->len = (size_t)(p - out->data);
}

void core_json_append(struct buffer *out, struct bytes text, enum core_json_form form)
{
    if (form == CORE_JSON_PLAIN)
        buffer_append(out, text.data, text.len);
    else if (form == CORE_JSON_ESCAPE)
        append_escaped(out, text);
    else
        append_base64(out, text);
}

void core_json_member(struct buffer *out, const char *name, struct bytes text)
{
    enum core_json_form form = core_json_form(text);
    buffer_append(out, "\"", 1);
    buffer_append_text(out, name);
    buffer_append_text(out, form == CORE_JSON_BASE64 ? "_base64\":\"" : "\":\"");
    core_json_append(out, text, form);
    buffer_append(out, "\"", 1);
}
