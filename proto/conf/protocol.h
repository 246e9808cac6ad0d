/*
 * protocol - the protocols that Strato speaks: one row each. From it come the workers' names and
 * numbers, what a reload restarts, listening, limits. A new one is a row here, a struct
 * conf_protocol in struct conf, its keys in table.c, and a program.
 */
#ifndef STRATO_PROTO_CONF_PROTOCOL_H
#define STRATO_PROTO_CONF_PROTOCOL_H

#include "proto/conf/conf.h"

enum protocol { PROTOCOL_HTTP, PROTOCOL_GRPC, PROTOCOL_COUNT };

struct protocol_info {
    const char *name;  /* "http": section of the configuration; its workers are http-0 and so on */
    const char *title; /* "HTTP" */
    const char *program; /* of its workers */
    size_t conf;         /* where its struct conf_protocol is in struct conf */
    unsigned roll;       /* CONF_ROLL_HTTP */
    /* Worker numbers, of which channel numbers are made: first, first + step, ... They stay for
     * ever: at an upgrade workers of both releases use the same channels. */
    unsigned first, step;
    bool has_roster; /* its workers are given RUN_FD_ROSTER */
};

extern const struct protocol_info protocols[PROTOCOL_COUNT];

static inline const char *protocol_name(enum protocol protocol)
{
    return protocols[protocol].name;
}
static inline struct conf_protocol *protocol_conf(struct conf *conf, enum protocol protocol)
{
    return (struct conf_protocol *)((char *)conf + protocols[protocol].conf);
}
static inline const struct conf_protocol *protocol_of(const struct conf *conf,
                                                      enum protocol protocol)
{
    return (const struct conf_protocol *)((const char *)conf + protocols[protocol].conf);
}
/* Its workers; 0 when it is not enabled. */
static inline unsigned protocol_workers(const struct conf *conf, enum protocol protocol)
{
    const struct conf_protocol *own = protocol_of(conf, protocol);
    return own->enabled ? own->workers : 0;
}
/* The one of that name; PROTOCOL_COUNT when there is none. */
enum protocol protocol_find(const char *name);

#endif
