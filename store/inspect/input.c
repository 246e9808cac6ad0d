/*
 * input - see input.h. strato-inspect; fails with a reason, never ends the process.
 */
#include "store/inspect/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

bool input_open(struct input *input, const char *path, char *reason, size_t reason_size)
{
    struct stat info;
    /* Without O_NONBLOCK the open of a pipe would wait for a writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &info) != 0) {
        snprintf(reason, reason_size, "cannot open %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    if (!S_ISREG(info.st_mode)) {
        snprintf(reason, reason_size, "%s is neither a file nor a memfd", path);
        close(fd);
        return false;
    }
    *input = (struct input){fd, (uint64_t)info.st_size};
    return true;
}

bool input_measure(struct input *input)
{
    struct stat info;
    if (fstat(input->fd, &info) != 0)
        return false;
    input->size = (uint64_t)info.st_size;
    return true;
}

void input_close(struct input *input)
{
    close(input->fd);
    input->fd = -1;
}

bool input_read(const struct input *input, uint64_t offset, void *to, size_t len)
{
    if (offset > input->size || len > input->size - offset)
        return false;
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(input->fd, (uint8_t *)to + done, len - done, (off_t)(offset + done));
        if (n <= 0 && !(n < 0 && errno == EINTR))
            return false;
        if (n > 0)
            done += (size_t)n;
    }
    return true;
}
