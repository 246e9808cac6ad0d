/*
 * ask - see ask.h. stratoctl. Fails by a line on standard error that names the socket.
 */
#include "supervisor/stratoctl/ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static bool failed(const char *path, const char *why)
{
    fprintf(stderr, "stratoctl: %s: %s\n", path, why);
    return false;
}

static int dial(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        failed(path, "too long for the path of a socket");
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    bool absent = errno == ENOENT || errno == ECONNREFUSED;
    failed(path,
           absent ? "no stratod is running here (another socket: --socket PATH)" : strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Takes one row. 0: go on; 1: the end, all is well; -1: the end, it failed. */
static int take_row(json_t *row, bool json, json_t *rows)
{
    const char *note = json_string_value(json_object_get(row, "note"));
    const char *result = json_string_value(json_object_get(row, "result"));
    const char *error = json_string_value(json_object_get(row, "error"));
    if (result && strcmp(result, "ok") == 0)
        return 1;
    if (result) {
        fprintf(stderr, "stratoctl: %s\n", error ? error : "it failed");
        return -1;
    }
    if (note && !json)
        printf("%s\n", note);
    else
        json_array_append(rows, row);
    return 0;
}

static bool read_answer(FILE *file, const char *path, bool json, json_t *rows)
{
    char *line = NULL;
    size_t size = 0;
    int end = 0;
    while (end == 0 && getline(&line, &size, file) >= 0) {
        json_t *row = json_loads(line, 0, NULL);
        end = row ? take_row(row, json, rows) : 0;
        json_decref(row);
    }
    free(line);
    if (end == 0)
        return failed(path, "stratod ended before it had answered");
    return end > 0;
}

bool ask(const char *socket_path, const char *request, bool json, json_t **rows_r)
{
    int fd = dial(socket_path);
    if (fd < 0)
        return false;
    json_t *rows = json_array();
    FILE *file = fdopen(fd, "r");
    /* One that is turned away is answered all the same, so the outcome of sending says little. */
    bool sent = dprintf(fd, "%s\n", request) > 0;
    bool done = file && read_answer(file, socket_path, json, rows);
    if (!sent && !file)
        failed(socket_path, strerror(errno));
    if (file)
        fclose(file);
    if (rows_r && done)
        *rows_r = rows;
    else
        json_decref(rows);
    return done;
}
