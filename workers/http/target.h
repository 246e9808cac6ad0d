/*
 * target - the request target: path, key and query. Pure; decodes in place, allocates nothing.
 */
#ifndef STRATO_WORKERS_HTTP_TARGET_H
#define STRATO_WORKERS_HTTP_TARGET_H

#include <stdbool.h>

#include "proto/base/bytes.h"

/* A run of bytes that may be changed in place. */
struct http_text {
    uint8_t *data;
    size_t len;
};

/* The host of "http://host/path", with its port; empty for a target without. */
struct bytes http_target_host(struct http_text target);

/* Splits "/path?query" or "http://host/path?query" at the question mark; query_r->data is NULL
 * without one. False when it is neither form. */
bool http_target_split(struct http_text target, struct http_text *path_r,
                       struct http_text *query_r);

/* Replaces %XX by the byte it means and, if plus, + by a space. False on a bad escape. */
bool http_percent_decode(struct http_text *text, bool plus);

enum http_parameter {
    HTTP_PARAMETER_VALUE,
    HTTP_PARAMETER_TTL,
    HTTP_PARAMETER_INCREMENT,
    HTTP_PARAMETER_ITEM,
    HTTP_PARAMETER_KEY,
    HTTP_PARAMETER_COUNT
};

/* The parameters that some request knows; data is NULL for one that was not given. Of several with
 * the same name the first is there, and twice says so. */
struct http_query {
    struct bytes value, ttl, increment, item, key;
    unsigned twice; /* of those that were given more than once: 1 << enum http_parameter */
};

/* Its name. */
const char *http_parameter_name(enum http_parameter parameter);

/* Whether a query, not yet decoded, has a parameter "key". */
bool http_query_has_key(struct http_text query);

/* Takes the next parameter off a query and decodes it in place. 1; 0: there is no more; -1: a bad
 * escape. */
int http_query_next(struct http_text *query, struct bytes *name_r, struct bytes *value_r);

/* Decodes the query in place; parameters of other names are ignored. False on a bad escape. */
bool http_query_parse(struct http_text query, struct http_query *query_r);

#endif
