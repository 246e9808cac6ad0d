/*
 * input - a file or memfd that is looked at and never changed.
 *
 * It is read with pread(): a mapping would kill the reader when the file is cut short, and would
 * allocate the pages of an arena that were not used yet.
 */
#ifndef STRATO_STORE_INSPECT_INPUT_H
#define STRATO_STORE_INSPECT_INPUT_H

#include "proto/base/bytes.h"

struct input {
    int fd;
    uint64_t size; /* when it was measured last */
};

/* Opens a regular file or a memfd (/proc/PID/fd/N) for reading. False and why not. */
bool input_open(struct input *input, const char *path, char *reason, size_t reason_size);
/* Takes up the size that it has now. False when that cannot be found out. */
bool input_measure(struct input *input);
void input_close(struct input *input);

/* Reads exactly len bytes. False when they are not all inside, or cannot be read. */
bool input_read(const struct input *input, uint64_t offset, void *to, size_t len);

#endif
