/*
 * ask - a request to the supervisor over its control socket, and the rows of its answer.
 */
#ifndef STRATO_SUPERVISOR_STRATOCTL_ASK_H
#define STRATO_SUPERVISOR_STRATOCTL_ASK_H

#include <jansson.h>
#include <stdbool.h>

/*
 * Sends a request line and reads the answer to its end; blocks until then. Notes are printed on
 * standard output as they come, unless json. rows_r, if not NULL, takes an array of the rows, owned
 * by the caller. False after printing the reason on standard error.
 */
bool ask(const char *socket_path, const char *request, bool json, json_t **rows_r);

#endif
