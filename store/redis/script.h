/*
 * script - operations that take a message, as scripts: the rows of scripts.def. Pure.
 */
#ifndef STRATO_STORE_REDIS_SCRIPT_H
#define STRATO_STORE_REDIS_SCRIPT_H

#include <hiredis/hiredis.h>

#include "proto/api/message.h"
#include "store/redis/command.h"

/* Whether there is a script for it. */
bool redis_script_has(enum op op);
/* A request as the command that carries it out. Its words are in the request, in pool, which is
 * reset, or constants. False: the message does not parse. */
bool redis_script_make(struct redis_command *command, const struct request *request,
                       struct bytes key, const struct redis_terms *terms, struct api_pool *pool);
/* What the script returned, as the reply; its value is in pool, which is reset. STATUS_INTERNAL for
 * what the row does not promise. */
struct reply redis_script_answer(enum op op, const redisReply *answer, struct api_pool *pool);

#endif
