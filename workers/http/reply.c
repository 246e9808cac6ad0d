/*
 * reply - see reply.h. Runs in the http workers; fails only by panic when memory runs out.
 */
#include "workers/http/reply.h"

#include <stdio.h>
#include <time.h>

enum { HEAD_MAX = 1024 }; /* more than the longest of each part together, but for what is echoed */

/* What every answer begins with. No cache may keep one: the next may differ. */
#define HEAD_OF(code, text) "HTTP/1.1 " #code " " text "\r\nCache-Control: no-store\r\n"
#define LINE(code, text)                                                                           \
    {                                                                                              \
        code, sizeof HEAD_OF(code, text) - 1, HEAD_OF(code, text)                                  \
    }

static const struct status_line {
    int status;
    size_t len;
    const char *line;
} status_lines[] = {
    LINE(200, "OK"),
    LINE(204, "No Content"),
    LINE(404, "Not Found"),
    LINE(400, "Bad Request"),
    LINE(403, "Forbidden"),
    LINE(405, "Method Not Allowed"),
    LINE(408, "Request Timeout"),
    LINE(409, "Conflict"),
    LINE(411, "Length Required"),
    LINE(412, "Precondition Failed"),
    LINE(413, "Content Too Large"),
    LINE(414, "URI Too Long"),
    LINE(415, "Unsupported Media Type"),
    LINE(417, "Expectation Failed"),
    LINE(431, "Request Header Fields Too Large"),
    LINE(501, "Not Implemented"),
    LINE(503, "Service Unavailable"),
    LINE(504, "Gateway Timeout"),
    LINE(505, "HTTP Version Not Supported"),
    LINE(507, "Insufficient Storage"),
    LINE(502, "Bad Gateway"),
    LINE(500, "Internal Server Error"), /* last: also for what is not here */
};
enum { STATUS_LINES = sizeof status_lines / sizeof *status_lines };

void http_reply_date(uint64_t now_s, char date_r[HTTP_DATE_LEN + 1])
{
    time_t now = (time_t)now_s;
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(date_r, HTTP_DATE_LEN + 1, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &utc);
}

size_t http_reply_length(const struct http_body *body)
{
    return body->parts[0].len + body->parts[1].len + body->parts[2].len + body->unsent;
}

static uint8_t *put(uint8_t *at, const char *text, size_t len)
{
    memcpy(at, text, len);
    return at + len;
}

#define PUT(at, literal) put(at, literal, sizeof(literal) - 1)

static uint8_t *put_number(uint8_t *at, uint64_t number)
{
    char digits[20];
    size_t n = sizeof digits;
    do
        digits[--n] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    return put(at, digits + n, sizeof digits - n);
}

static uint8_t *put_status(uint8_t *at, int status)
{
    int i = 0;
    while (i < STATUS_LINES - 1 && status_lines[i].status != status)
        i++;
    return put(at, status_lines[i].line, status_lines[i].len);
}

static uint8_t *put_bytes(uint8_t *at, struct bytes text)
{
    return put(at, (const char *)text.data, text.len);
}

/* What a browser wants to know before a page may read the answer, or ask at all. */
static uint8_t *put_cors(uint8_t *at, const struct http_body *body, const struct http_style *style)
{
    at = PUT(at, "Vary: Origin\r\n");
    if (style->origin.len == 0)
        return at;
    at = PUT(at, "Access-Control-Allow-Origin: ");
    at = put_bytes(at, style->origin);
    at = PUT(at, "\r\nAccess-Control-Expose-Headers: Allow, Retry-After, Accept-Encoding\r\n");
    if (!body->preflight)
        return at;
    at = PUT(at, "Access-Control-Allow-Methods: ");
    at = put(at, body->allow, strlen(body->allow));
    at = PUT(at,
             "\r\nAccess-Control-Max-Age: 600\r\nAccess-Control-Allow-Private-Network: true\r\n");
    if (body->request_headers.len > 0) {
        at = PUT(at, "Access-Control-Allow-Headers: ");
        at = put_bytes(at, body->request_headers);
        at = PUT(at, "\r\n");
    }
    return at;
}

void http_reply_head(struct buffer *out, const struct http_body *body,
                     const struct http_style *style)
{
    buffer_reserve(out, HEAD_MAX + style->origin.len + body->request_headers.len);
    uint8_t *at = out->data + out->len;
    at = put_status(at, body->status);
    at = put(at, style->date, HTTP_DATE_LEN);
    if (body->type) {
        at = PUT(at, "Content-Type: ");
        at = put(at, body->type, strlen(body->type));
        at = PUT(at, "\r\n");
    }
    if (body->status != 204) {
        at = PUT(at, "Content-Length: ");
        at = put_number(at, http_reply_length(body));
        at = PUT(at, "\r\n");
    }
    if (body->allow[0]) {
        at = PUT(at, "Allow: ");
        at = put(at, body->allow, strlen(body->allow));
        at = PUT(at, "\r\n");
    }
    if (style->vary)
        at = put_cors(at, body, style);
    if (body->status == 415)
        at = PUT(at, "Accept-Encoding: identity\r\n");
    if (body->status == 503)
        at = PUT(at, "Retry-After: 1\r\n");
    if (style->close)
        at = PUT(at, "Connection: close\r\n");
    else if (style->keep_alive)
        at = PUT(at, "Connection: keep-alive\r\n");
    at = PUT(at, "\r\n");
    out->len = (size_t)(at - out->data);
}
