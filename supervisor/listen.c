/*
 * listen - see listen.h. The supervisor, before it starts a worker and when it reloads.
 *
 * Fails with one line: which address cannot be listened on, and why.
 */
#include "supervisor/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "supervisor/notify.h"

enum { BACKLOG = 4096 };

/* ---- Names ---- */

static void name_unix(const struct sockaddr_un *address, socklen_t len, char *text)
{
    size_t path = len > offsetof(struct sockaddr_un, sun_path)
                      ? len - offsetof(struct sockaddr_un, sun_path)
                      : 0;
    if (path == 0)
        return;
    bool abstract = address->sun_path[0] == '\0';
    snprintf(text, CONF_ADDRESS_MAX, "unix:%s%.*s", abstract ? "@" : "", (int)(path - abstract),
             address->sun_path + abstract);
}

/* Writes the address that a socket really has, with the port taken for port 0. */
static void name_socket(int fd, char *text)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    char host[INET6_ADDRSTRLEN + 16], port[8];
    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        return; /* then the text stays as configured */
    if (address.ss_family == AF_UNIX)
        name_unix((const struct sockaddr_un *)&address, len, text);
    else if (getnameinfo((struct sockaddr *)&address, len, host, sizeof host, port, sizeof port,
                         NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(text, CONF_ADDRESS_MAX, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

/* Workers are told the addresses as they are; those that cannot be written down are left out. */
static void write_list(const struct listeners *listeners, char *list)
{
    struct sockaddr_storage address;
    size_t len = 0;
    for (unsigned i = 0; i < listeners->count; i++) {
        const char *text = listeners->at[i].text;
        if (conf_address(text, &address) == 0 || strpbrk(text, ", ") ||
            len + strlen(text) + 2 >= CONF_TEXT_MAX)
            continue;
        if (len == 0)
            memset(list, 0, CONF_TEXT_MAX);
        len += (size_t)snprintf(list + len, CONF_TEXT_MAX - len, "%s%s", len > 0 ? ", " : "", text);
    }
}

void listen_describe(enum protocol protocol, const struct listeners *listeners, struct buffer *text)
{
    for (unsigned i = 0; i < listeners->count; i++) {
        const struct listener *listener = &listeners->at[i];
        bool url = protocol == PROTOCOL_HTTP && strncmp(listener->text, "unix:", 5) != 0;
        buffer_append_format(text, "%s%s%s%s", i > 0 ? " and " : "", url ? "http://" : "",
                             listener->text, listener->away ? " (not there yet)" : "");
    }
}

/* ---- Unix sockets ---- */

static const char *path_of(const char *text)
{
    return strncmp(text, "unix:/", 6) == 0 ? text + 5 : NULL;
}

/* Removes the file of a socket on which nobody listens; errno EADDRINUSE when somebody does, or
 * when it is no socket. */
static bool remove_stale(const struct sockaddr_un *address, socklen_t len)
{
    struct stat info;
    if (lstat(address->sun_path, &info) < 0)
        return errno == ENOENT;
    errno = EADDRINUSE;
    if (!S_ISSOCK(info.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool stale =
        fd >= 0 && connect(fd, (const struct sockaddr *)address, len) < 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    if (stale)
        return unlink(address->sun_path) == 0 || errno == ENOENT;
    errno = EADDRINUSE;
    return false;
}

static bool set_owner(const char *path, const struct conf_protocol *conf)
{
    return (conf->socket_gid == CONF_NO_GROUP || lchown(path, (uid_t)-1, conf->socket_gid) == 0) &&
           chmod(path, conf->socket_mode) == 0;
}

/* Removes the file if it still is the one that we made. */
static void remove_own(const struct listener *listener)
{
    struct stat info;
    const char *path = path_of(listener->text);
    if (path && listener->inode != 0 && lstat(path, &info) == 0 && info.st_ino == listener->inode &&
        info.st_dev == listener->device)
        unlink(path);
}

/* Nobody may connect before the permissions are right: listen() comes after this. */
static bool bind_unix(struct listener *listener, const struct sockaddr_un *address, socklen_t len,
                      const struct conf_protocol *conf)
{
    struct stat info;
    bool file = address->sun_path[0] != '\0';
    if (file && !remove_stale(address, len))
        return false;
    mode_t before = umask(0777 & ~(mode_t)conf->socket_mode);
    bool bound = bind(listener->fd, (const struct sockaddr *)address, len) == 0;
    int error = errno;
    umask(before);
    errno = error;
    if (!bound || !file)
        return bound;
    if (lstat(address->sun_path, &info) == 0) {
        listener->device = info.st_dev;
        listener->inode = info.st_ino;
    }
    return set_owner(address->sun_path, conf);
}

static bool file_is_there(const struct listener *listener)
{
    struct stat info;
    return listener->inode == 0 ||
           (lstat(path_of(listener->text), &info) == 0 && info.st_ino == listener->inode &&
            info.st_dev == listener->device);
}

bool listen_lost(const struct listeners *listeners)
{
    struct stat info;
    bool lost = false;
    for (unsigned i = 0; i < listeners->count; i++)
        lost |= listeners->at[i].inode != 0 && lstat(path_of(listeners->at[i].text), &info) < 0 &&
                errno == ENOENT;
    return lost;
}

void listen_set_modes(const struct listeners *listeners, const struct conf_protocol *conf)
{
    for (unsigned i = 0; i < listeners->count; i++) {
        const struct listener *listener = &listeners->at[i];
        if (listener->inode != 0 && file_is_there(listener) &&
            !set_owner(path_of(listener->text), conf))
            log_warn("%s keeps its group or permissions: %s", listener->text, strerror(errno));
    }
}

/* ---- Addresses of the network ---- */

static bool bind_free(int fd, const struct sockaddr_storage *address, socklen_t len)
{
    int on = 1;
    bool v6 = address->ss_family == AF_INET6;
    if (setsockopt(fd, v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_FREEBIND : IP_FREEBIND, &on, sizeof on) ==
            0 &&
        bind(fd, (const struct sockaddr *)address, len) == 0)
        return true;
    errno = EADDRNOTAVAIL;
    return false;
}

static bool bind_network(struct listener *listener, const struct sockaddr_storage *address,
                         socklen_t len)
{
    int on = 1, v6only = listener->v6only;
    if (setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        (v6only && setsockopt(listener->fd, SOL_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only) < 0))
        return false;
    if (bind(listener->fd, (const struct sockaddr *)address, len) == 0)
        return true;
    if (errno != EADDRNOTAVAIL)
        return false;
    listener->away = bind_free(listener->fd, address, len);
    return listener->away;
}

/* Whether an interface has the address now. */
static bool is_there(const struct listener *listener)
{
    struct sockaddr_storage address;
    socklen_t len = conf_address(listener->text, &address);
    int fd = len > 0 ? socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    ((struct sockaddr_in *)&address)->sin_port = 0; /* at the same place for both families */
    bool there =
        fd >= 0 && (bind(fd, (struct sockaddr *)&address, len) == 0 || errno != EADDRNOTAVAIL);
    if (fd >= 0)
        close(fd);
    return there;
}

bool listen_look(enum protocol protocol, struct listeners *listeners)
{
    bool away = false;
    for (unsigned i = 0; i < listeners->count; i++) {
        struct listener *listener = &listeners->at[i];
        if (listener->away && is_there(listener)) {
            listener->away = false;
            log_info("[%s] listen: the address of %s is there now", protocol_name(protocol),
                     listener->text);
        }
        away |= listener->away;
    }
    return away;
}

/* ---- Opening ---- */

static bool bind_any(struct listener *listener, const struct conf_protocol *conf)
{
    struct sockaddr_storage address;
    socklen_t len = conf_address(listener->wanted, &address);
    listener->fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0)
        return false;
    if (address.ss_family == AF_UNIX)
        return bind_unix(listener, (const struct sockaddr_un *)&address, len, conf) &&
               listen(listener->fd, BACKLOG) == 0;
    return bind_network(listener, &address, len) && listen(listener->fd, BACKLOG) == 0;
}

static enum status open_one(enum protocol protocol, const struct conf_protocol *conf,
                            struct listener *listener, struct buffer *why)
{
    memcpy(listener->text, listener->wanted, sizeof listener->text);
    if (bind_any(listener, conf)) {
        name_socket(listener->fd, listener->text);
        if (listener->away)
            log_warn("[%s] listen: no interface has the address of %s yet; connections come once "
                     "one has",
                     protocol_name(protocol), listener->text);
        return STATUS_OK;
    }
    int error = errno;
    buffer_append_format(why, "cannot listen on %s ([%s] listen): %s", listener->wanted,
                         protocol_name(protocol), strerror(error));
    if (path_of(listener->wanted) && error == ENOENT)
        buffer_append_text(why, "; the directory must be there");
    remove_own(listener);
    if (listener->fd >= 0)
        close(listener->fd);
    errno = error;
    return STATUS_UNAVAILABLE;
}

static const struct listener *find(const struct listeners *listeners, const struct listener *wanted)
{
    for (unsigned i = 0; i < listeners->count; i++) {
        const struct listener *listener = &listeners->at[i];
        if (strcmp(listener->wanted, wanted->wanted) == 0 && listener->v6only == wanted->v6only &&
            file_is_there(listener))
            return listener;
    }
    return NULL;
}

static unsigned port_of(const char *text)
{
    struct sockaddr_storage address;
    bool network = conf_address(text, &address) > 0 && address.ss_family != AF_UNIX;
    return network ? ntohs(((struct sockaddr_in *)&address)->sin_port) : 0; /* as for IPv6 */
}

/*
 * When it is ourselves who have the port: the sockets of now serve until those of the new
 * configuration do, and SO_REUSEPORT, which would let both have it, lets a second stratod of the
 * same user have it too. Returns STATUS_UNAVAILABLE; errno stays.
 */
static enum status blame_own(const struct listeners *now, const struct listener *listener,
                             struct buffer *why)
{
    int error = errno;
    unsigned port = error == EADDRINUSE ? port_of(listener->wanted) : 0;
    for (unsigned i = 0; now && port > 0 && i < PROTOCOL_COUNT; i++)
        for (unsigned j = 0; j < now[i].count; j++)
            if (port_of(now[i].at[j].text) == port)
                buffer_append_format(why,
                                     "; this stratod itself listens on %s ([%s]) until the change "
                                     "is made: restart it for this change",
                                     now[i].at[j].text, protocol_name((enum protocol)i));
    errno = error;
    return STATUS_UNAVAILABLE;
}

static enum status open_all(enum protocol protocol, const struct conf_protocol *conf,
                            const struct listeners *now, struct listeners *new, struct buffer *why)
{
    char address[CONF_ADDRESS_MAX] = "";
    for (const char *at = conf->listen; conf_listen_next(&at, address);) {
        struct listener listener = {.fd = -1};
        memcpy(listener.wanted, address, sizeof address);
        listener.v6only = conf_listen_v6only(conf->listen, address);
        const struct listener *same = now ? find(&now[protocol], &listener) : NULL;
        if (same)
            listener = *same;
        else if (open_one(protocol, conf, &listener, why) != STATUS_OK)
            return blame_own(now, &listener, why);
        new->at[new->count++] = listener;
    }
    return STATUS_OK;
}

enum status listen_open(enum protocol protocol, struct conf_protocol *conf,
                        const struct listeners *now, struct listeners *new_r, struct buffer *why)
{
    *new_r = (struct listeners){0};
    enum status status = open_all(protocol, conf, now, new_r, why);
    int error = errno;
    if (status == STATUS_OK)
        write_list(new_r, conf->listen);
    else
        listen_close(new_r, now ? &now[protocol] : NULL);
    errno = error;
    return status;
}

static bool holds(const struct listeners *listeners, int fd)
{
    for (unsigned i = 0; listeners && i < listeners->count; i++)
        if (listeners->at[i].fd == fd)
            return true;
    return false;
}

void listen_close(struct listeners *listeners, const struct listeners *kept)
{
    for (unsigned i = 0; i < listeners->count; i++) {
        if (holds(kept, listeners->at[i].fd))
            continue;
        remove_own(&listeners->at[i]);
        close(listeners->at[i].fd);
    }
    listeners->count = 0;
}

/* ---- From systemd ---- */

/* A socket unit's descriptors have the name that FileDescriptorName= gives them, else the name of
 * the unit. */
static int next_handed(enum protocol protocol)
{
    static const char *const before[] = {"strato-", "strato-", "", ""};
    static const char *const behind[] = {"", ".socket", "", ".socket"};
    char name[64];
    int fd = -1;
    for (size_t i = 0; i < sizeof before / sizeof before[0] && fd < 0; i++) {
        snprintf(name, sizeof name, "%s%s%s", before[i], protocol_name(protocol), behind[i]);
        fd = notify_kept(name);
    }
    return fd;
}

static bool take_handed(enum protocol protocol, int fd, struct listeners *listeners)
{
    struct listener listener = {.fd = fd};
    int listening = 0;
    socklen_t len = sizeof listening;
    snprintf(listener.text, sizeof listener.text, "a socket of systemd");
    name_socket(fd, listener.text);
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 || !listening ||
        fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        log_warn("strato-%s: systemd gave something that does not listen", protocol_name(protocol));
        return false;
    }
    if (listeners->count == CONF_LISTEN_MAX) {
        log_error("strato-%s: %s is not served: at most %d sockets are", protocol_name(protocol),
                  listener.text, CONF_LISTEN_MAX);
        return false;
    }
    log_info("strato-%s listens on %s", protocol_name(protocol), listener.text);
    listeners->at[listeners->count++] = listener;
    return true;
}

bool listen_handed(enum protocol protocol, struct conf_protocol *conf, struct listeners *new_r)
{
    *new_r = (struct listeners){0};
    for (int fd; (fd = next_handed(protocol)) >= 0;)
        if (!take_handed(protocol, fd, new_r))
            close(fd);
    if (new_r->count > 0)
        write_list(new_r, conf->listen);
    return new_r->count > 0;
}

bool listen_is_handed(const struct listeners *listeners)
{
    return listeners->count > 0 && !*listeners->at[0].wanted;
}
