/*
 * child - see child.h. The supervisor; between fork() and execve() the child itself.
 *
 * A program that cannot be executed says so on the status pipe like any child that cannot start.
 */
#include "supervisor/child.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/os.h"

/* What a child may say in the log of all, beyond what it has to. Debugging is asked for. */
enum {
    WORDS_PER_S = 1,
    WORDS_BURST = 10,
    LOG_BYTES_PER_S = 256 << 10,
    LOG_BYTES_BURST = 1 << 20,
    LOG_DEBUG_TIMES = 16,
};

/* ---- In the new process, before it becomes another program ---- */

_Noreturn static void give_up(int status_fd, const char *what, const char *path)
{
    char line[RUN_STATUS_MAX];
    int len =
        snprintf(line, sizeof line, "fail cannot %s %.300s: %s\n", what, path, strerror(errno));
    if (write(status_fd, line, (size_t)len) < 0)
        _exit(RUN_EXIT_FAILURE);
    _exit(RUN_EXIT_CONFIG);
}

/* Signals as a fresh process has them, but those that a terminal sends to the whole group. */
static void reset_signals(void)
{
    sigset_t none;
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The first number that no child knows a descriptor by. */
static int above_targets(const struct fd_map *map)
{
    int above = 0;
    for (unsigned i = 0; i < map->count; i++)
        if (map->entries[i].target >= above)
            above = map->entries[i].target + 1;
    return above;
}

/*
 * Two steps, because a target number may be another entry's source: first copies of all sources
 * above every target, then from there to the targets. Only dup2() leaves a descriptor open on
 * exec, so all else is closed then.
 */
static bool place_descriptors(const struct fd_map *map)
{
    int copies[sizeof map->entries / sizeof map->entries[0]];
    int above = above_targets(map);
    for (unsigned i = 0; i < map->count; i++)
        if ((copies[i] = fcntl(map->entries[i].source, F_DUPFD_CLOEXEC, above)) < 0)
            return false;
    os_close_on_exec(3);
    for (unsigned i = 0; i < map->count; i++)
        if (dup2(copies[i], map->entries[i].target) < 0)
            return false;
    return true;
}

static void execute(const char *path, int executable, char **arguments)
{
    if (executable >= 0)
        execveat(executable, "", arguments, environ, AT_EMPTY_PATH);
    else
        execv(path, arguments);
}

_Noreturn static void become(const struct child_plan *plan, const struct fd_map *map, int status_fd,
                             pid_t supervisor)
{
    char path[1024], lane[16];
    snprintf(path, sizeof path, "%s/%s", plan->directory, plan->program);
    snprintf(lane, sizeof lane, "%u", plan->lane);
    char *arguments[] = {(char *)plan->program, (char *)plan->name, plan->has_lane ? lane : NULL,
                         NULL};
    reset_signals();
    setpgid(0, 0); /* what a terminal or a shell sends to our group is for the supervisor */
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* where it is forbidden, the life pipe does it */
    if (getppid() != supervisor)
        _exit(RUN_EXIT_FAILURE);
    int told = fcntl(status_fd, F_DUPFD_CLOEXEC, above_targets(map)); /* out of their way */
    int executable =
        plan->executable < 0 ? -1 : fcntl(plan->executable, F_DUPFD_CLOEXEC, above_targets(map));
    if (told < 0 || !place_descriptors(map)) {
        bool few = errno == EINVAL || errno == EMFILE; /* EINVAL: above the limit */
        give_up(told < 0 ? status_fd : told,
                few ? "open enough files (ulimit -Hn) for" : "place the descriptors of",
                plan->name);
    }
    status_fd = told;
    execute(path, executable, arguments);
    give_up(status_fd, "execute", path);
}

/* ---- In the supervisor ---- */

static enum status failed(struct buffer *why, const char *what)
{
    buffer_append_format(why, "%s: %s", what, strerror(errno));
    return STATUS_UNAVAILABLE;
}

static void close_pipe(const int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

/* Neither end may ever make the other's process wait, but for log lines: those are not lost. */
static enum status make_pipes(int status[2], int log[2], struct buffer *why)
{
    if (pipe2(status, O_CLOEXEC | O_NONBLOCK) < 0)
        return failed(why, "pipe");
    if (pipe2(log, O_CLOEXEC) < 0) {
        close_pipe(status);
        return failed(why, "pipe");
    }
    fcntl(log[0], F_SETFL, O_NONBLOCK);
    return STATUS_OK;
}

static pid_t launch(const struct child_plan *plan, const int status[2], const int log[2])
{
    struct fd_map map = *plan->map;
    pid_t supervisor = getpid();
    fd_map_add(&map, plan->shared->config, RUN_FD_CONFIG);
    fd_map_add(&map, status[1], RUN_FD_STATUS);
    fd_map_add(&map, plan->shared->life_read, RUN_FD_LIFE);
    fd_map_add(&map, plan->shared->null, STDIN_FILENO);
    fd_map_add(&map, log[1], STDOUT_FILENO);
    fd_map_add(&map, log[1], STDERR_FILENO);
    pid_t pid = fork();
    if (pid == 0)
        become(plan, &map, status[1], supervisor);
    return pid;
}

/* The file that a child started now executes; -1 when it cannot be opened, as the child will say.
 */
static int open_program(const struct child_plan *plan)
{
    char path[1024];
    if (plan->executable >= 0)
        return fcntl(plan->executable, F_DUPFD_CLOEXEC, 0);
    snprintf(path, sizeof path, "%s/%s", plan->directory, plan->program);
    return open(path, O_PATH | O_CLOEXEC);
}

enum status child_start(struct child *child, const struct child_plan *plan, uint64_t now_ms,
                        struct buffer *why)
{
    int status[2], log[2];
    if (make_pipes(status, log, why) != STATUS_OK)
        return STATUS_UNAVAILABLE;
    pid_t pid = launch(plan, status, log);
    if (pid < 0) {
        close_pipe(status);
        close_pipe(log);
        return failed(why, "fork");
    }
    close(status[1]);
    close(log[1]);
    child->state = CHILD_STARTING;
    child->pid = pid;
    child->lane = plan->lane;
    child->serial = plan->serial;
    child->was_ready = false;
    child->started_ms = child->heard_ms = now_ms;
    child->ready_ms = 0;
    child->program = open_program(plan);
    *child->fail = *child->last_line = '\0';
    child->words = child->logged = (struct policy_rate){0};
    lines_open(&child->status, status[0]);
    lines_open(&child->log, log[0]);
    return STATUS_OK;
}

static void tell_dropped(struct policy_rate *rate, const char *name, const char *what)
{
    if (rate->dropped > 0)
        log_warn("%s: %" PRIu64 " %s", name, rate->dropped, what);
    rate->dropped = 0;
}

bool child_told(struct child *child, const char *name, const char *line, uint64_t now_ms)
{
    child->heard_ms = now_ms;
    if (strncmp(line, "fail ", 5) == 0) {
        snprintf(child->fail, sizeof child->fail, "%.*s", RUN_STATUS_MAX - 1, line + 5);
    } else if (strcmp(line, "ready") == 0) {
        bool first = !child->was_ready;
        child->was_ready = true;
        if (first)
            child->ready_ms = now_ms;
        if (child->state == CHILD_STARTING)
            child->state = CHILD_READY;
        return first;
    } else if (strcmp(line, "beat") != 0 &&
               policy_allows(&child->words, 1, WORDS_PER_S, WORDS_BURST, now_ms)) {
        log_warn("%s says something unknown: %.100s", name, line);
        tell_dropped(&child->words, name, "more words that mean nothing were dropped");
    }
    return false;
}

void child_logged(struct child *child, const char *name, const char *line, uint64_t now_ms)
{
    unsigned times = child->level == LOG_DEBUG ? LOG_DEBUG_TIMES : 1;
    if (log_level_of(line) > LOG_INFO)
        snprintf(child->last_line, sizeof child->last_line, "%s", line);
    if (!policy_allows(&child->logged, strlen(line) + 1, times * LOG_BYTES_PER_S,
                       times * LOG_BYTES_BURST, now_ms))
        return;
    tell_dropped(&child->logged, name, "log lines were dropped: it logs too much");
    lines_relay(line);
}

struct last_words {
    struct child *child;
    const char *name;
    uint64_t now_ms;
};

static void keep_line(void *context, char *line)
{
    const struct last_words *last = context;
    child_logged(last->child, last->name, line, last->now_ms);
}

static void keep_fail(void *context, char *line)
{
    struct child *child = context;
    if (strncmp(line, "fail ", 5) == 0)
        snprintf(child->fail, sizeof child->fail, "%.*s", RUN_STATUS_MAX - 1, line + 5);
}

void child_end(struct child *child, const char *name, int wait_status, uint64_t now_ms,
               char *reason, size_t size)
{
    char how[64];
    struct last_words last = {child, name, now_ms};
    lines_close(&child->status, keep_fail, child);
    lines_close(&child->log, keep_line, &last);
    tell_dropped(&child->logged, name, "log lines were dropped: it logged too much");
    tell_dropped(&child->words, name, "more words that mean nothing were dropped");
    if (WIFSIGNALED(wait_status))
        snprintf(how, sizeof how, "killed by signal %d (%s)", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)));
    else
        snprintf(how, sizeof how, "exit code %d", WEXITSTATUS(wait_status));
    const char *words = *child->fail ? child->fail : child->last_line;
    snprintf(reason, size, "%s%s%s", how, *words ? ": " : "", words);
    if (child->program >= 0)
        close(child->program);
    child->program = -1;
    child->state = CHILD_NONE;
}
