/*
 * show - what was found, as a tree that is printed as JSON or as plain text.
 *
 * Text that comes from the inspected file is written with \xNN for every byte that is not printable
 * ASCII, and for the backslash, so that it cannot control a terminal and can be given back as a
 * KEY.
 */
#ifndef STRATO_STORE_INSPECT_SHOW_H
#define STRATO_STORE_INSPECT_SHOW_H

#include <jansson.h>

#include "proto/base/bytes.h"

/* What one inspection found. */
struct report {
    json_t *root;
    unsigned troubles; /* what makes no sense; only the first ones are in the tree */
};

void report_open(struct report *report);
void report_close(struct report *report);
/* Adds a line to "trouble". */
void report_trouble(struct report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* To standard output. False when it could not be written. */
bool report_print(const struct report *report, bool json);

/* A new member, borrowed from its parent. */
json_t *show_object(json_t *parent, const char *name);
json_t *show_array(json_t *parent, const char *name);
/* A new object at the end of an array, borrowed. In text the objects of an array are the rows of
 * a table, so they should have the same members. */
json_t *show_row(json_t *array);

/* A number above INT64_MAX becomes a string of its digits: JSON readers cannot hold it. */
void show_number(json_t *to, const char *name, uint64_t number);
void show_signed(json_t *to, const char *name, int64_t number);
void show_flag(json_t *to, const char *name, bool flag);
void show_text(json_t *to, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* At most limit bytes of it, escaped, and "..." when there are more. */
void show_bytes(json_t *to, const char *name, struct bytes bytes, size_t limit);
/* A time in ms since the epoch; 0: never. */
void show_time(json_t *to, const char *name, uint64_t ms);

/* The bytes that an escaped text stands for; false when a backslash is not followed by xNN. */
bool show_unescape(const char *text, struct buffer *bytes);

#endif
