/*
 * fault - what an error that Redis answered means for a request. Pure.
 *
 * With every one of them the command was not carried out, so whatever it was may be sent again.
 */
#ifndef STRATO_STORE_REDIS_FAULT_H
#define STRATO_STORE_REDIS_FAULT_H

#include "proto/base/bytes.h"
#include "proto/base/status.h"

enum redis_fault {
    FAULT_OTHER,      /* not foreseen */
    FAULT_MOVED,      /* another node has the slot; redis_fault_target() */
    FAULT_ASK,        /* another node has this key, while its slot is on its way there */
    FAULT_WAIT,       /* not now: the cluster is down or electing, a script runs */
    FAULT_ELSEWHERE,  /* not by this server: it loads its data, or is a replica without a master */
    FAULT_FULL,       /* maxmemory is reached */
    FAULT_READ_ONLY,  /* a replica */
    FAULT_SUSPENDED,  /* takes no writes for now: cannot save, or too few replicas */
    FAULT_LOGIN,      /* no or a wrong password */
    FAULT_ACCESS,     /* what it never does for us: no permission, no such command or database */
    FAULT_WRONG_TYPE, /* the key holds something else */
    FAULT_RANGE,      /* the sum leaves int64 */
    FAULT_TOO_LARGE,  /* the set would be larger than max_set, or the answer is than it may be */
    FAULT_COUNT
};

/* Classifies the text of an error, also of one raised within a script. Never logs. */
enum redis_fault redis_fault_of(struct bytes text);
/* What to answer when it is not waited out. */
enum status redis_fault_status(enum redis_fault fault);
/* For logs and metrics: "moved", "full". */
const char *redis_fault_name(enum redis_fault fault);

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
