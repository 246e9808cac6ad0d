/*
 * announce - see announce.h. The supervisor. Cannot fail.
 */
#include "supervisor/announce.h"

#include "proto/base/text.h"

void announce_addresses(const struct conf *conf, const struct shared *shared, struct buffer *text)
{
    const char *between = "";
    for (enum protocol i = 0; i < PROTOCOL_COUNT; i++) {
        if (!protocol_of(conf, i)->enabled)
            continue;
        buffer_append_format(text, "%s%s on ", between, protocols[i].title);
        listen_describe(i, &shared->listen[i], text);
        between = ", ";
    }
}

/* A wildcard is no address that a client can use. */
static void advise(const char *listen)
{
    const char *port = strrchr(listen, ':');
    const char *host = strncmp(listen, "0.0.0.0:", 8) == 0 ? "127.0.0.1"
                       : strncmp(listen, "[::]:", 5) == 0  ? "[::1]"
                                                           : NULL;
    if (strncmp(listen, "unix:/", 6) == 0)
        printf("try: curl --unix-socket %s -X PUT 'http://localhost/sets/fruit?item=apple'\n",
               listen + 5);
    else if (port)
        printf("try: curl -X PUT 'http://%s%s/sets/fruit?item=apple'\n", host ? host : listen,
               host ? port : "");
}

void announce_ready(const struct conf *conf, const struct shared *shared)
{
    struct buffer text = {0};
    announce_addresses(conf, shared, &text);
    if (conf->log_json) {
        log_always("strato is ready: %.*s", (int)text.len, (const char *)text.data);
    } else {
        printf("strato is ready: %.*s\n", (int)text.len, (const char *)text.data);
        if (conf->http.enabled)
            advise(shared->listen[PROTOCOL_HTTP].at[0].text);
        fflush(stdout);
    }
    buffer_free(&text);
}

void announce_failure(const char *program, bool json, const struct buffer *why)
{
    size_t len = why->len > 0 && why->data[why->len - 1] == '\n' ? why->len - 1 : why->len;
    if (json) {
        log_error("%.*s", (int)len, (const char *)why->data);
        return;
    }
    fprintf(stderr, "%s: ", program);
    text_print(stderr, why->data, len);
    fputc('\n', stderr);
}

void announce_lines(enum log_level level, const struct buffer *text)
{
    for (size_t at = 0; at < text->len;) {
        const char *line = (const char *)text->data + at;
        const char *end = memchr(line, '\n', text->len - at);
        size_t len = end ? (size_t)(end - line) : text->len - at;
        log_write(level, "%.*s", (int)len, line);
        at += len + 1;
    }
}
