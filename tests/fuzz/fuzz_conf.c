/*
 * fuzz_conf - any text as a configuration: it is read or refused with a reason, and what was read
 * is the same after it has been written and read again. The same text as a list of addresses, as
 * the url of Redis, as a value that may not be meant, and as what the kernel says of cgroups.
 */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/conf/key.h"
#include "proto/conf/machine.h"
#include "proto/conf/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static enum status read_bytes(struct conf *conf, const void *data, size_t len,
                              struct buffer *problems)
{
    int fd = memfd_create("fuzz", 0);
    if (fd < 0 || write(fd, data, len) != (ssize_t)len)
        abort();
    enum status status = conf_read_fd(conf, fd, problems);
    close(fd);
    return status;
}

/* What is taken is made of addresses, and is the same when it is read again. */
static void try_list(const char *text)
{
    char list[CONF_TEXT_MAX], again[CONF_TEXT_MAX], address[CONF_ADDRESS_MAX];
    struct sockaddr_storage parsed;
    struct buffer why = {0};
    if (!conf_listen_parse(text, list, &why)) {
        if (why.len == 0)
            abort();
    } else {
        for (const char *at = list; conf_listen_next(&at, address);)
            if (conf_address(address, &parsed) == 0)
                abort();
        if (!conf_listen_parse(list, again, &why) || strcmp(list, again) != 0)
            abort();
        if (!conf_listen_overlap(list, list) && !strstr(list, ":0"))
            abort();
    }
    buffer_free(&why);
}

static void try_url(const char *text)
{
    struct conf_url url;
    const char *why = NULL;
    bool good = conf_url_parse(text, &url, &why);
    if (good && (url.port == 0 || !*url.host || strpbrk(url.host, " \"'{}$<>/")))
        abort();
    if (!good && (!why || !*why))
        abort();
}

static void try_letter(const char *text, size_t len)
{
    struct buffer why = {0};
    if (conf_letter(&conf_keys[len % CONF_KEY_COUNT], text, &why) != (why.len == 0))
        abort();
    buffer_free(&why);
}

/* A descriptor of a memfd, found by a name in a directory. */
static int make_file(const char *directory, const char *name)
{
    char path[128], target[64];
    int fd = memfd_create(name, 0);
    snprintf(path, sizeof path, "%s/%s", directory, name);
    snprintf(target, sizeof target, "/proc/self/fd/%d", fd);
    if (fd < 0 || symlink(target, path) != 0)
        abort();
    return fd;
}

static void fill(int fd, const void *data, size_t len)
{
    if (ftruncate(fd, 0) != 0 || pwrite(fd, data, len, 0) != (ssize_t)len)
        abort();
}

static void try_machine(const uint8_t *data, size_t len)
{
    static char directory[] = "/tmp/strato-fuzz-XXXXXX";
    static int paths = -1, mounts;
    struct machine found;
    if (paths < 0) {
        if (!mkdtemp(directory))
            abort();
        paths = make_file(directory, "cgroup");
        mounts = make_file(directory, "mountinfo");
    }
    size_t half = len / 2;
    fill(paths, data, half);
    fill(mounts, data + half, len - half);
    machine_look(directory, &found);
    if (found.cpus == 0)
        abort();
}

static void try_parts(const uint8_t *data, size_t len)
{
    char text[CONF_TEXT_MAX];
    size_t n = len < sizeof text - 1 ? len : sizeof text - 1;
    memcpy(text, data, n);
    text[n] = '\0';
    try_list(text);
    try_url(text);
    try_letter(text, len);
    if (len % 16 == 0) /* files are slow */
        try_machine(data, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct conf first, second;
    struct buffer problems = {0}, text = {0}, again = {0};
    enum status status = read_bytes(&first, data, len, &problems);
    if ((status == STATUS_OK) != (problems.len == 0))
        abort();
    if (status == STATUS_OK) {
        conf_write(&first, &text);
        if (read_bytes(&second, text.data, text.len, &problems) != STATUS_OK)
            abort();
        conf_write(&second, &again);
        if (!bytes_equal(buffer_bytes(&text), buffer_bytes(&again)))
            abort();
    }
    buffer_free(&problems);
    buffer_free(&text);
    buffer_free(&again);
    try_parts(data, len);
    return 0;
}
