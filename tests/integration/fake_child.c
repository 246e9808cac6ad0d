/*
 * fake_child - stands in for strato-store and the workers in tests of the supervisor: it keeps the
 * contract of run.h and does nothing else, or breaks it as it is told.
 *
 * The file named by STRATO_FAKE has lines "NAME ACTION"; who is not named there works well.
 */
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/run/run.h"

static bool told(const char *name, const char *action)
{
    char line[128], wanted[128];
    const char *path = getenv("STRATO_FAKE");
    FILE *file = path ? fopen(path, "re") : NULL;
    bool found = false;
    snprintf(wanted, sizeof wanted, "%s %s\n", name, action);
    while (file && !found && fgets(line, sizeof line, file))
        found = strcmp(line, wanted) == 0;
    if (file)
        fclose(file);
    return found;
}

/* Whether a line "NAME dislike TEXT" names a text that the configuration has in it. */
static bool dislikes(const char *name)
{
    char line[128], wanted[64], conf[65536] = "";
    const char *path = getenv("STRATO_FAKE");
    FILE *file = path ? fopen(path, "re") : NULL;
    bool found = false;
    int len = snprintf(wanted, sizeof wanted, "%s dislike ", name);
    if (pread(RUN_FD_CONFIG, conf, sizeof conf - 1, 0) < 0)
        conf[0] = '\0';
    while (file && !found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        found = strncmp(line, wanted, (size_t)len) == 0 && strstr(conf, line + len);
    }
    if (file)
        fclose(file);
    return found;
}

/* Logs the numbers of all open descriptors as the supervisor left them. */
static void log_descriptors(void)
{
    char text[1024] = "descriptors";
    DIR *directory = opendir("/proc/self/fd");
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        size_t len = strlen(text);
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(directory))
            snprintf(text + len, sizeof text - len, " %s", entry->d_name);
    }
    if (directory)
        closedir(directory);
    fprintf(stderr, "%s\n", text);
}

int main(int argc, char **argv)
{
    static struct run_child child;
    log_descriptors();
    run_child_start(&child, argc, argv);
    if (told(child.name, "fail"))
        run_child_fail(RUN_EXIT_FAILURE, "told to fail");
    if (told(child.name, "refuse") || dislikes(child.name))
        run_child_fail(RUN_EXIT_CONFIG, "told to refuse");
    if (told(child.name, "crash"))
        kill(getpid(), SIGABRT);
    if (told(child.name, "babble"))
        dprintf(RUN_FD_STATUS, "%03000d\nnonsense\nfail \n", 1);
    if (told(child.name, "paint")) {
        static const char paint[] = "red \033[31m bare \x9b"
                                    "31m c1 \xc2\x9b"
                                    "31m turned \xe2\x80\xae";
        fprintf(stderr, "painted %s\n", paint);
        dprintf(RUN_FD_STATUS, "unknown %s\n", paint);
        run_child_fail(RUN_EXIT_FAILURE, "failed %s", paint);
    }
    log_debug("this is debugging");
    log_info("lane %u channel %u", child.lane, child.channel);
    run_child_ready();
    bool flood = told(child.name, "flood");
    for (long i = 0; flood && !run_child_stopping(&child); i++) {
        char line[512];
        memset(line, 'x', sizeof line);
        line[sizeof line - 1] = '\n';
        (void)!write(RUN_FD_STATUS, line, sizeof line);
        (void)!write(STDERR_FILENO, line, sizeof line);
        if (i % 100 == 0)
            run_child_beat(clock_ms());
    }
    bool silent = told(child.name, "silent"), stubborn = told(child.name, "stubborn");
    struct pollfd stop = {.fd = child.stop_fd, .events = POLLIN};
    while (!run_child_stopping(&child) || stubborn) {
        if (!silent)
            run_child_beat(clock_ms());
        poll(&stop, stubborn ? 0 : 1, 100);
    }
    log_info("stopping");
    return RUN_EXIT_OK;
}
