/*
 * child - what every child does the same way: takes up what the supervisor left for it, reports,
 * notices that it shall stop. Workers and stores; one per process, so it keeps its state in file
 * variables.
 *
 * Fails by telling the supervisor why ("fail TEXT") and exiting.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/coverage.h"
#include "proto/base/failpoint.h"
#include "proto/base/os.h"
#include "proto/base/text.h"
#include "proto/run/epoch.h"
#include "proto/run/run.h"

static int signal_fd = -1;
static bool stopping, service_stops;
static uint64_t last_beat_ms;

/* One line to the supervisor; a supervisor that does not read is no reason to wait. */
static void report(const char *line)
{
    if (write(RUN_FD_STATUS, line, strlen(line)) < 0 && errno == EPIPE)
        stopping = true;
}

void run_child_fail(int code, const char *format, ...)
{
    char text[RUN_STATUS_MAX - 8];
    char line[RUN_STATUS_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *p = text; *p; p++)
        if (*p == '\n')
            *p = ' ';
    snprintf(line, sizeof line, "fail %s\n", text);
    log_error("%s", text);
    report(line);
    exit(code);
}

void run_child_ready(void)
{
    report("ready\n");
}

void run_child_beat(uint64_t now_ms)
{
    uint64_t start_ms = run_start_ms();
    uint64_t interval_ms = start_ms < RUN_START_MS ? start_ms / 12 : RUN_BEAT_MS / 2;
    if (signal_fd < 0 || now_ms - last_beat_ms < interval_ms)
        return;
    last_beat_ms = now_ms;
    report("beat\n");
    coverage_keep();
}

static bool is_store(const char *name)
{
    for (unsigned i = 0; i < BACKEND_COUNT; i++)
        if (strncmp(name, "store-", 6) == 0 && strcmp(name + 6, backend_name((enum backend)i)) == 0)
            return true;
    return false;
}

/* Sets number and channel of a worker from its name; false when the name is none of a worker. */
static bool take_worker(struct run_child *child)
{
    for (enum protocol i = 0; i < PROTOCOL_COUNT; i++) {
        unsigned workers = protocol_workers(&child->conf, i);
        size_t len = strlen(protocol_name(i));
        uint64_t number;
        if (strncmp(child->name, protocol_name(i), len) != 0 || child->name[len] != '-' ||
            workers == 0 || !text_number(child->name + len + 1, 0, workers - 1, &number))
            continue;
        child->protocol = i;
        child->number = (unsigned)number;
        child->channel = RUN_LANES * run_worker_number(i, child->number) + child->lane;
        return true;
    }
    return false;
}

static void take_arguments(struct run_child *child, int argc, char **argv)
{
    uint64_t lane = 0;
    if (argc == 2 && is_store(child->name)) {
        struct stat figures; /* which it does not know; this number may be one of our own then */
        int fd = run_store_figures_fd(run_channel_count(&child->conf));
        child->parent_is_0_2 = fstat(fd, &figures) != 0 || !S_ISREG(figures.st_mode);
        return;
    }
    bool good = argc == 3 && text_number(argv[2], 0, RUN_LANES - 1, &lane);
    child->lane = (unsigned)lane;
    if (!good || !take_worker(child))
        run_child_fail(RUN_EXIT_CONFIG, "%s: the supervisor gave no usable name and lane", argv[0]);
}

static void take_conf(struct run_child *child)
{
    struct buffer problems = {0};
    if (conf_read_fd(&child->conf, RUN_FD_CONFIG, &problems) != STATUS_OK)
        run_child_fail(RUN_EXIT_CONFIG, "%.*s", (int)problems.len, (const char *)problems.data);
    buffer_free(&problems);
}

/* A process that the supervisor did not start must find out before it touches a descriptor. */
static void check_descriptors(const char *program)
{
    for (int fd = RUN_FD_CONFIG; fd <= RUN_FD_DOORBELL; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        fprintf(stderr, "%s is started by stratod, not by hand\n", program);
        exit(RUN_EXIT_CONFIG);
    }
}

/* Counts the listening sockets, before anything else can be open at those numbers. */
static unsigned count_listeners(void)
{
    unsigned count = 0;
    for (; count < CONF_LISTEN_MAX; count++) {
        int listening = 0;
        socklen_t len = sizeof listening;
        if (getsockopt(run_listen_fd(count), SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 ||
            !listening)
            break;
    }
    return count;
}

static void watch(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLHUP, .data.fd = fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        run_child_fail(RUN_EXIT_FAILURE, "epoll_ctl: %s", strerror(errno));
}

/* Blocked before any thread is started, so that every thread inherits it. */
static int open_stop_fd(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (signal_fd < 0 || epoll_fd < 0)
        run_child_fail(RUN_EXIT_FAILURE, "no descriptor for signals: %s", strerror(errno));
    watch(epoll_fd, signal_fd);
    watch(epoll_fd, RUN_FD_LIFE);
    return epoll_fd;
}

void run_child_start(struct run_child *child, int argc, char **argv)
{
    *child = (struct run_child){.name = argc > 1 ? argv[1] : ""};
    os_begin();
    check_descriptors(argv[0]);
    child->listen_count = count_listeners();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, child->name);
    log_open(child->name, LOG_INFO, false);
    child->stop_fd = open_stop_fd();
    take_conf(child);
    log_open(child->name, child->conf.log_level, child->conf.log_json);
    take_arguments(child, argc, argv);
    failpoint_arm(child->name);
    epoch_take();
    if (run_child_stopping(child))
        exit(RUN_EXIT_OK);
}

static void take_signals(void)
{
    struct signalfd_siginfo info;
    while (read(signal_fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGTERM) {
            stopping = true;
            service_stops = info.ssi_code == SI_QUEUE && info.ssi_int == RUN_STOP_SERVICE;
        } else if (info.ssi_pid == (uint32_t)getppid() && info.ssi_int >= LOG_DEBUG &&
                   info.ssi_int <= LOG_ERROR)
            log_set_level((enum log_level)info.ssi_int);
    }
}

bool run_child_stopping(struct run_child *child)
{
    struct epoll_event events[2];
    int count = epoll_wait(child->stop_fd, events, 2, 0);
    for (int i = 0; i < count; i++) {
        if (events[i].data.fd == signal_fd)
            take_signals();
        else
            stopping = service_stops = true;
    }
    return stopping;
}

bool run_child_service_stops(void)
{
    return service_stops;
}
