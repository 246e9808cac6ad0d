/*
 * fuzz_conf - any text as a configuration: it is read or refused with a reason, and what was read
 * is the same after it has been written and read again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/conf/conf.h"

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
    return 0;
}
