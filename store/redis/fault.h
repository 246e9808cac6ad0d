/*
 * fault - what an error that Redis answered means for a request. Pure.
 *
 * With every one of them the command was not carried out, so whatever it was may be sent again.
 */
#ifndef STRATO_STORE_REDIS_FAULT_H
#define STRATO_STORE_REDIS_FAULT_H

#include "proto/base/bytes.h"
#include "proto/base/status.h"

/* FAULT_MOVED and so on: see the ERROR rows of figures.def, which count them. */
enum redis_fault {
#define ERROR(number, symbol, name) FAULT_##symbol = (number),
#include "proto/figures/figures.def"
    FAULT_COUNT
};

/* Classifies the text of an error, also of one raised within a script. Never logs. */
enum redis_fault redis_fault_of(struct bytes text);
/* What to answer when it is not waited out. */
enum status redis_fault_status(enum redis_fault fault);

enum { REDIS_TEXT_MAX = 256 };
/* The text of an error as it can be shown: one line of ASCII, at most size - 1 bytes, without the
 * words of the command, which Redis repeats when it does not know it. Returns out. */
const char *redis_fault_text(struct bytes text, char *out, size_t size);

enum { REDIS_HOST_MAX = 256 };

struct redis_target {
    unsigned slot;
    char host[REDIS_HOST_MAX]; /* empty: the host that answered */
    uint16_t port;
};

/* Whether it can be the name or address of a host. */
bool redis_host_valid(struct bytes host);
/* Reads "MOVED 3999 127.0.0.1:6381" or the same with ASK. False when it is garbled. */
bool redis_fault_target(struct bytes text, struct redis_target *target_r);

#endif
