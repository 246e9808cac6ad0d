/*
 * inspect - what strato-inspect can look at. Each function reads what is open, adds what it finds
 * to the report, and changes nothing. Nothing that it reads is believed: every offset, length and
 * count is checked before it is used, and what makes no sense becomes a line of "trouble".
 *
 * What a running process writes meanwhile is no trouble: it is looked at again, and figures that
 * are of no single moment are said to be so.
 */
#ifndef STRATO_STORE_INSPECT_INSPECT_H
#define STRATO_STORE_INSPECT_INSPECT_H

#include "store/inspect/input.h"
#include "store/inspect/show.h"

struct inspect_options {
    bool check;          /* also read what takes long: values with their checksums, every page */
    bool all;            /* show every waiting submission and every saved result */
    const char *service; /* one record is wanted: its service ("kv"); else NULL */
    uint16_t namespace;  /* that it is in */
    struct bytes key;    /* and its key */
};

void inspect_arena(const struct input *input, const struct inspect_options *options,
                   struct report *report);
void inspect_channel(const struct input *input, const struct inspect_options *options,
                     struct report *report);
/* data.mdb of a data directory, or a snapshot. */
void inspect_database(const struct input *input, const struct inspect_options *options,
                      struct report *report);

/* "http-0", lane 0: whose channel this is. */
void inspect_show_worker(json_t *to, uint32_t channel);
/* SERVICE_COUNT when there is none of that name. */
unsigned inspect_service(const char *name);
/* Writes "cache, counter, ...". */
void inspect_service_names(char *text, size_t size);
/* A value as its service keeps it: a number, a flag, how many items, and its first bytes. */
void inspect_show_value(json_t *to, unsigned service, struct bytes value, uint64_t whole_len);

#endif
