/*
 * ask - a request to the supervisor over its control socket, and the rows of its answer.
 */
#ifndef STRATO_SUPERVISOR_STRATOCTL_ASK_H
#define STRATO_SUPERVISOR_STRATOCTL_ASK_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

/*
 * Sends a request line and reads the answer to its end; blocks until then. Notes are printed on
 * standard output as they come, unless json. Only root, ourselves and the owner of the run_dir are
 * believed; while too many ask, it is tried again for some seconds. rows_r, if not NULL, takes an
 * array of the rows, owned by the caller. False after printing the reason on standard error.
 */
bool ask(const char *socket_path, const char *request, bool json, json_t **rows_r);
/* The same; *uid_r is the user that stratod runs as. */
bool ask_as(const char *socket_path, const char *request, bool json, json_t **rows_r, uid_t *uid_r);
/* Asks for the processes. *fd_r is a descriptor of their figures, to be closed; -1: an older
 * stratod gives none. */
bool ask_status(const char *socket_path, bool json, json_t **rows_r, int *fd_r);
/* The run_dir that a control socket is in: by its path, and not by what an answer says. */
void ask_directory(const char *socket_path, char *directory, size_t size);

#endif
