/*
 * listen - lists of addresses: 127.0.0.1:8081, [::1]:8081, unix:/run/strato/http.sock. Any process;
 * pure.
 *
 * Fails by a text that says what is allowed.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/un.h>

#include "proto/base/text.h"
#include "proto/conf/key.h"

static const char scheme[] = "unix:";

/* Cuts ":PORT" off the end of text, a number up to 65535. */
static bool cut_port(char *text, uint16_t *port_r)
{
    uint64_t number;
    char *colon = strrchr(text, ':');
    if (!colon || !text_number(colon + 1, 0, UINT16_MAX, &number))
        return false;
    *colon = '\0';
    *port_r = (uint16_t)number;
    return true;
}

/* A path, or @NAME in the abstract namespace, which ends without a NUL. */
static unsigned read_unix(const char *path, struct sockaddr_un *address)
{
    size_t len = strlen(path);
    if ((*path != '/' && *path != '@') || len < 2 || len >= sizeof address->sun_path ||
        path[len - 1] == '/')
        return 0;
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, len);
    if (*path == '/')
        return (unsigned)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    address->sun_path[0] = '\0';
    return (unsigned)(offsetof(struct sockaddr_un, sun_path) + len);
}

unsigned conf_address(const char *text, struct sockaddr_storage *address_r)
{
    char host[CONF_ADDRESS_MAX];
    uint16_t port;
    memset(address_r, 0, sizeof *address_r);
    if (strncmp(text, scheme, sizeof scheme - 1) == 0)
        return read_unix(text + sizeof scheme - 1, (struct sockaddr_un *)address_r);
    if (snprintf(host, sizeof host, "%s", text) >= (int)sizeof host || !cut_port(host, &port))
        return 0;
    struct sockaddr_in *v4 = (struct sockaddr_in *)address_r;
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        return sizeof *v4;
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address_r;
    size_t len = strlen(host);
    if (len < 2 || host[0] != '[' || host[len - 1] != ']')
        return 0;
    host[len - 1] = '\0';
    if (inet_pton(AF_INET6, host + 1, &v6->sin6_addr) != 1)
        return 0;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    return sizeof *v6;
}

bool conf_listen_next(const char **list, char *address_r)
{
    const char *start = *list + strspn(*list, ", ");
    size_t len = strcspn(start, ", ");
    *list = start + len;
    if (len >= CONF_ADDRESS_MAX) /* no address is so long: an empty one is refused */
        len = 0;
    memcpy(address_r, start, len);
    address_r[len] = '\0';
    return *list > start;
}

/* ---- What overlaps ---- */

/* 0.0.0.0 and [::]: every address of the machine. */
static bool is_everything(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return ((const struct sockaddr_in *)address)->sin_addr.s_addr == INADDR_ANY;
    return address->ss_family == AF_INET6 &&
           IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

/* In network order; it stands at the same place in both kinds of address. 0 for unix sockets. */
static uint16_t port_of(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_UNIX ? 0 : ((const struct sockaddr_in *)address)->sin_port;
}

/* Whether one address takes what the other wants; [::] takes IPv4 too, unless v6only. */
static bool takes(const struct sockaddr_storage *one, const struct sockaddr_storage *other,
                  bool v6only)
{
    bool family = one->ss_family == other->ss_family || (one->ss_family == AF_INET6 && !v6only);
    return is_everything(one) && family && other->ss_family != AF_UNIX;
}

static bool overlap(const char *a, const char *b, bool v6only)
{
    struct sockaddr_storage one, other;
    unsigned one_len = conf_address(a, &one), other_len = conf_address(b, &other);
    if (one_len == other_len && memcmp(&one, &other, one_len) == 0)
        return one.ss_family == AF_UNIX || port_of(&one) != 0; /* each port 0 is another one */
    uint16_t port = port_of(&one);
    return port != 0 && port == port_of(&other) &&
           (takes(&one, &other, v6only) || takes(&other, &one, v6only));
}

bool conf_listen_overlap(const char *list, const char *other_list)
{
    char one[CONF_ADDRESS_MAX] = "", other[CONF_ADDRESS_MAX] = "";
    while (conf_listen_next(&list, one))
        for (const char *at = other_list; conf_listen_next(&at, other);)
            if (overlap(one, other, false))
                return true;
    return false;
}

bool conf_listen_v6only(const char *list, const char *address)
{
    char other[CONF_ADDRESS_MAX] = "";
    struct sockaddr_storage mine, theirs;
    conf_address(address, &mine);
    while (mine.ss_family == AF_INET6 && conf_listen_next(&list, other))
        if (conf_address(other, &theirs) > 0 && theirs.ss_family == AF_INET &&
            port_of(&theirs) == port_of(&mine) && port_of(&mine) != 0)
            return true;
    return false;
}

/* ---- Reading ---- */

/* Addresses of many machines at once: no connection can be made to one. */
static bool is_group(const struct sockaddr_storage *address)
{
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)address)->sin6_addr;
    uint32_t v4 = 0;
    if (address->ss_family == AF_INET)
        v4 = ((const struct sockaddr_in *)address)->sin_addr.s_addr;
    else if (address->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(v6))
        memcpy(&v4, v6->s6_addr + 12, sizeof v4);
    return IN_MULTICAST(ntohl(v4)) || v4 == INADDR_BROADCAST ||
           (address->ss_family == AF_INET6 && IN6_IS_ADDR_MULTICAST(v6));
}

static bool is_new(const struct buffer *list, const char *address, struct buffer *why)
{
    char before[CONF_ADDRESS_MAX] = "";
    for (const char *at = (const char *)list->data; at && conf_listen_next(&at, before);) {
        if (!overlap(before, address, true))
            continue;
        buffer_append_format(why, "has %s and %s, which are one or overlap", before, address);
        return false;
    }
    return true;
}

static bool add(struct buffer *list, const char *address, struct buffer *why)
{
    struct sockaddr_storage parsed;
    if (conf_address(address, &parsed) == 0) {
        buffer_append_text(why, "must be ADDRESS:PORT in numbers, such as 127.0.0.1:8081, "
                                "0.0.0.0:8081 or [::1]:8081, or unix:/PATH of at most 107 bytes; "
                                "several with commas between them");
        return false;
    }
    if (is_group(&parsed)) {
        buffer_append_format(why,
                             "has %s, an address of multicast or broadcast, which nobody can "
                             "connect to",
                             address);
        return false;
    }
    if (!is_new(list, address, why))
        return false;
    if (list->len > 0)
        list->len--; /* the NUL */
    buffer_append_format(list, "%s%s", list->len > 0 ? ", " : "", address);
    buffer_append(list, "", 1);
    return true;
}

bool conf_listen_parse(const char *text, char *field, struct buffer *why)
{
    char address[CONF_ADDRESS_MAX] = "";
    struct buffer list = {0};
    unsigned count = 0;
    bool good = true;
    for (const char *at = text; good && conf_listen_next(&at, address); count++)
        good = add(&list, address, why);
    if (good && count == 0)
        good = add(&list, "", why);
    if (good && (count > CONF_LISTEN_MAX || list.len > CONF_TEXT_MAX)) {
        buffer_append_format(why, "has too many addresses: at most %d, and %d bytes in all",
                             CONF_LISTEN_MAX, CONF_TEXT_MAX - 1);
        good = false;
    }
    if (good) {
        memset(field, 0, CONF_TEXT_MAX); /* equal configurations are equal byte by byte */
        memcpy(field, list.data, list.len);
    }
    buffer_free(&list);
    return good;
}
