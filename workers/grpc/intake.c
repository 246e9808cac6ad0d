/*
 * intake - see intake.h. Runs in the gRPC workers, on every thread that gRPC works on; panics when
 * memory runs out.
 */
#include "workers/grpc/intake.h"

#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/run/run.h"

#define SILENT_NS                                                                                  \
    30000000000u             /* a client with nothing but half calls may be silent for so long     \
                              */
#define STUCK_NS 5000000000u /* who holds much and finishes no call for so long may be cut off */
#define LOG_NS   1000000000u

#define FULL_NS 1000000000u
enum {
    SHARE_MIN = 65536, /* bytes that any connection may hold */
    FEW_CALLS = 8,
};

static struct {
    _Atomic(struct rpc_conn *) *by_fd;
    unsigned places;
    uint64_t message_max, limit;
    struct rpc_conn *all; /* the epoll thread's */
    _Atomic unsigned open, cuts;
    _Atomic uint64_t waiting, answers;
    _Atomic uint64_t logged_ns;
    _Atomic uint64_t share;       /* what a connection may hold when memory is scarce */
    _Atomic int epoll_fd;         /* of gRPC */
    _Atomic uint64_t rounds;      /* that gRPC has made: times that it asked what has come */
    _Atomic bool asking;          /* it does */
    TAILQ_HEAD(, rpc_conn) turns; /* those whose turn is over */
    pthread_mutex_t closing; /* guards turns; held while a descriptor is closed or cut; nothing else
                                is taken */
} intake = {
    .closing = PTHREAD_MUTEX_INITIALIZER,
    .epoll_fd = -1,
    .turns = TAILQ_HEAD_INITIALIZER(intake.turns),
};

/* Bytes that clients hold. */
static uint64_t held(void)
{
    return atomic_load_explicit(&intake.waiting, memory_order_relaxed) +
           atomic_load_explicit(&intake.answers, memory_order_relaxed);
}

/* What a connection may hold: any amount until half of the limit is taken, then a fair part of the
 * other half. */
static uint64_t share(void)
{
    if (held() <= intake.limit / 2)
        return UINT64_MAX;
    return atomic_load_explicit(&intake.share, memory_order_relaxed);
}

struct rpc_conn *rpc_intake_find(int fd)
{
    if (fd < 0 || (unsigned)fd >= intake.places)
        return NULL;
    return atomic_load_explicit(&intake.by_fd[fd], memory_order_acquire);
}

/* ---- Cutting off ---- */

/* At once: what it has sent and nobody has read yet is dropped too. */
static void disconnect(int fd)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    if (connect(fd, &none, sizeof none) != 0 && shutdown(fd, SHUT_RDWR) != 0)
        log_debug("cutting off a connection: %s", strerror(errno));
}

static void tell(const char *why)
{
    uint64_t now_ns = clock_ns();
    atomic_fetch_add(&intake.cuts, 1);
    if (now_ns - atomic_load(&intake.logged_ns) < LOG_NS)
        return;
    atomic_store(&intake.logged_ns, now_ns);
    log_warn("%s; its connection is cut off (%u so far)", why, atomic_load(&intake.cuts));
}

void rpc_intake_cut(struct rpc_conn *conn, const char *why)
{
    if (atomic_exchange(&conn->cut, true))
        return;
    tell(why);
    pthread_mutex_lock(&intake.closing);
    if (rpc_intake_find(conn->fd) == conn)
        disconnect(conn->fd);
    pthread_mutex_unlock(&intake.closing);
}

enum rpc_ending rpc_intake_ending(struct rpc_conn *conn)
{
    for (enum rpc_ending why = 0; conn && why < RPC_ENDINGS; why++) {
        unsigned ended = atomic_load(&conn->ended[why]);
        while (ended > 0)
            if (atomic_compare_exchange_weak(&conn->ended[why], &ended, ended - 1))
                return why;
    }
    return RPC_ENDINGS;
}

/* ---- Reading ---- */

/* Makes gRPC ask again at once, instead of waiting until something comes: it is not told how much
 * is left (TCP_INQ). */
static void have_it_ask_again(struct msghdr *message)
{
    message->msg_controllen = 0;
}

static void publish(struct rpc_conn *conn)
{
    uint64_t before = atomic_load_explicit(&conn->waiting, memory_order_relaxed);
    if (conn->frames.held == before)
        return;
    atomic_store_explicit(&conn->waiting, conn->frames.held, memory_order_relaxed);
    atomic_fetch_add_explicit(&intake.waiting, conn->frames.held - before, memory_order_relaxed);
}

static ssize_t end_calls(struct rpc_conn *conn, struct msghdr *message)
{
    struct rpc_frames *frames = &conn->frames;
    size_t len = rpc_frames_end(frames, message->msg_iov[0].iov_base, message->msg_iov[0].iov_len);
    for (unsigned why = 0; why < RPC_ENDINGS; why++) {
        atomic_fetch_add(&conn->ended[why], frames->ended[why]);
        frames->ended[why] = 0;
    }
    publish(conn);
    have_it_ask_again(message);
    message->msg_flags = 0;
    return (ssize_t)len;
}

static ssize_t fail(int error)
{
    errno = error;
    return -1;
}

/* ---- Turns ---- */

/* Makes epoll look at the socket again. The lock is held. */
static void report_again(struct rpc_conn *conn)
{
    if (syscall(SYS_epoll_ctl, conn->epoll_fd, EPOLL_CTL_MOD, conn->fd, &conn->event) != 0)
        log_debug("a connection's next turn: %s", strerror(errno));
}

/* Its turn is over. gRPC is told that nothing has come, and when the turn of the connection comes
 * again, that something has. Only while gRPC will ask again by itself can it be kept waiting. */
static void queue_up(struct rpc_conn *conn)
{
    pthread_mutex_lock(&intake.closing);
    if (intake.asking) {
        report_again(conn);
    } else if (!conn->queued) {
        TAILQ_INSERT_TAIL(&intake.turns, conn, turn_next);
        conn->queued = true;
    }
    pthread_mutex_unlock(&intake.closing);
}

static void leave_turns(struct rpc_conn *conn)
{
    if (conn->queued)
        TAILQ_REMOVE(&intake.turns, conn, turn_next);
    conn->queued = false;
}

bool rpc_intake_has_left(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
           (info.tcpi_state == TCP_CLOSE || info.tcpi_state == TCP_CLOSE_WAIT);
}

/* gRPC's next round: one connection of those that wait, beside all that have anything new. */
static void begin_round(void)
{
    pthread_mutex_lock(&intake.closing);
    struct rpc_conn *conn = TAILQ_FIRST(&intake.turns);
    intake.asking = true;
    atomic_fetch_add_explicit(&intake.rounds, 1, memory_order_relaxed);
    if (conn) {
        leave_turns(conn);
        report_again(conn);
    }
    pthread_mutex_unlock(&intake.closing);
}

/* For the whole program, as is epoll_wait(): gRPC says here how it waits for a connection. */
int epoll_ctl(int epoll_fd, int what, int fd, struct epoll_event *event)
{
    struct rpc_conn *conn = what == EPOLL_CTL_ADD ? rpc_intake_find(fd) : NULL;
    if (conn) {
        conn->event = *event;
        conn->epoll_fd = epoll_fd;
        atomic_store_explicit(&intake.epoll_fd, epoll_fd, memory_order_relaxed);
    }
    return (int)syscall(SYS_epoll_ctl, epoll_fd, what, fd, event);
}

int epoll_wait(int epoll_fd, struct epoll_event *events, int count, int timeout_ms)
{
    bool grpc = epoll_fd == atomic_load_explicit(&intake.epoll_fd, memory_order_relaxed);
    if (grpc)
        begin_round();
    int n = epoll_pwait(epoll_fd, events, count, timeout_ms, NULL);
    if (grpc)
        intake.asking = false;
    return n;
}

static bool may_read(struct rpc_conn *conn)
{
    uint64_t round = atomic_load_explicit(&intake.rounds, memory_order_relaxed);
    if (atomic_load_explicit(&conn->owed_ns, memory_order_relaxed) > 0)
        rpc_turn_owe(&conn->turn, atomic_exchange(&conn->owed_ns, 0));
    return rpc_turn_goes_on(&conn->turn, round, clock_ns) || conn->epoll_fd < 0;
}

/* ---- Reading ---- */

static void look_at(struct rpc_conn *conn, const struct msghdr *message, size_t len)
{
    uint64_t now_ns = clock_ns();
    atomic_store_explicit(&conn->read_ns, now_ns, memory_order_relaxed);
    conn->frames.share = share();
    uint64_t before_ns = conn->frames.cost_ns;
    size_t bytes = len;
    for (size_t i = 0; len > 0; i++) {
        size_t taken = message->msg_iov[i].iov_len < len ? message->msg_iov[i].iov_len : len;
        rpc_frames_take(&conn->frames, message->msg_iov[i].iov_base, taken, now_ns);
        len -= taken;
    }
    rpc_turn_spend(&conn->turn, bytes, conn->frames.cost_ns - before_ns, now_ns);
    publish(conn);
}

/* At most so many bytes, of which gRPC has more room. */
static ssize_t read_less(int fd, struct msghdr *message, size_t most)
{
    struct iovec part = message->msg_iov[0];
    struct msghdr less = *message;
    part.iov_len = part.iov_len < most ? part.iov_len : most;
    less.msg_iov = &part;
    less.msg_iovlen = 1;
    ssize_t len = syscall(SYS_recvmsg, fd, &less, 0);
    message->msg_flags = less.msg_flags;
    message->msg_controllen = less.msg_controllen;
    return len;
}

static ssize_t receive(struct rpc_conn *conn, int fd, struct msghdr *message)
{
    struct rpc_frames *frames = &conn->frames;
    bool ours = frames->endings > 0 && message->msg_iov[0].iov_len >= RPC_FRAME_HEAD;
    if (atomic_load_explicit(&conn->cut, memory_order_relaxed))
        return fail(ECONNRESET);
    if (ours && rpc_frames_rest(frames) == 0)
        return end_calls(conn, message);
    if (!may_read(conn)) {
        queue_up(conn);
        return fail(rpc_intake_has_left(fd) ? ECONNRESET : EAGAIN);
    }
    size_t most = conn->turn.room;
    if (ours && rpc_frames_rest(frames) < most) /* so that one of ours may follow */
        most = rpc_frames_rest(frames);
    ssize_t len = most < message->msg_iov[0].iov_len ? read_less(fd, message, most)
                                                     : syscall(SYS_recvmsg, fd, message, 0);
    if (len <= 0)
        return len;
    look_at(conn, message, (size_t)len);
    if (frames->fault) {
        rpc_intake_cut(conn, frames->fault);
        return fail(ECONNRESET);
    }
    if (frames->endings > 0)
        have_it_ask_again(message);
    return len;
}

/* For the whole program; nng's sockets come by here too. */
ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    struct rpc_conn *conn = flags == 0 ? rpc_intake_find(fd) : NULL;
    if (!conn || message->msg_iovlen == 0)
        return syscall(SYS_recvmsg, fd, message, flags);
    return receive(conn, fd, message);
}

int close(int fd)
{
    struct rpc_conn *conn = rpc_intake_find(fd);
    if (!conn)
        return (int)syscall(SYS_close, fd);
    pthread_mutex_lock(&intake.closing);
    atomic_store(&intake.by_fd[fd], NULL);
    leave_turns(conn);
    int result = (int)syscall(SYS_close, fd);
    pthread_mutex_unlock(&intake.closing);
    uint64_t waiting = atomic_exchange(&conn->waiting, 0);
    atomic_fetch_sub(&intake.waiting, waiting);
    atomic_fetch_sub(&intake.open, 1);
    atomic_store(&conn->closed, true);
    return result;
}

/* ---- The connections ---- */

struct rpc_conn *rpc_intake_add(int fd)
{
    struct rpc_conn *conn = calloc(1, sizeof *conn);
    if (!conn)
        panic("out of memory: a connection");
    if ((unsigned)fd >= intake.places)
        panic("descriptor %d, though only %u may be open", fd, intake.places);
    conn->fd = fd;
    conn->epoll_fd = -1;
    conn->read_ns = clock_ns();
    rpc_turn_open(&conn->turn);
    rpc_frames_open(&conn->frames, intake.message_max, conn->read_ns);
    conn->next = intake.all;
    intake.all = conn;
    atomic_fetch_add(&intake.open, 1);
    atomic_store_explicit(&intake.by_fd[fd], conn, memory_order_release);
    return conn;
}

unsigned rpc_intake_count(void)
{
    return atomic_load(&intake.open);
}

unsigned rpc_intake_cuts(void)
{
    return atomic_load(&intake.cuts);
}

uint64_t rpc_intake_waiting(void)
{
    return atomic_load_explicit(&intake.waiting, memory_order_relaxed);
}

void rpc_intake_answers(uint64_t bytes)
{
    atomic_store_explicit(&intake.answers, bytes, memory_order_relaxed);
}

bool rpc_intake_greedy(struct rpc_conn *conn, uint64_t bytes)
{
    uint64_t most = share();
    if (most == UINT64_MAX)
        return false;
    /* Who asks for much at once and had to be refused is refused for a while before the answer is
     * made, which may be a megabyte. */
    uint64_t now_ns = clock_ns();
    bool again = conn->calls > FEW_CALLS && now_ns < conn->full_ns + FULL_NS;
    bool greedy = conn->answers + bytes + atomic_load(&conn->waiting) > most;
    if (greedy)
        conn->full_ns = now_ns;
    return greedy || again;
}

static uint64_t holds(struct rpc_conn *conn)
{
    return atomic_load(&conn->cut) ? 0 : atomic_load(&conn->waiting) + conn->answers;
}

/* It has nothing but calls that it does not go on with. */
static bool silent(struct rpc_conn *conn, uint64_t now_ns)
{
    return conn->calls == 0 && atomic_load(&conn->waiting) > 0 &&
           now_ns > atomic_load(&conn->read_ns) + SILENT_NS;
}

/* It holds much, and finishes no call. */
static bool stuck(struct rpc_conn *conn, uint64_t now_ns)
{
    if (conn->done != conn->seen || holds(conn) <= SHARE_MIN) {
        conn->seen = conn->done;
        conn->seen_ns = now_ns;
    }
    return now_ns - conn->seen_ns > STUCK_NS;
}

/* Frees what is closed, cuts off who is silent, works out the share; returns the one that holds
 * most of those that are stuck. */
static struct rpc_conn *look_through(uint64_t now_ns)
{
    struct rpc_conn **place = &intake.all, *most = NULL;
    unsigned holders = 1; /* and one to come */
    while (*place) {
        struct rpc_conn *conn = *place;
        if (atomic_load(&conn->closed) && conn->calls == 0) {
            *place = conn->next;
            rpc_frames_close(&conn->frames);
            free(conn);
            continue;
        }
        holders += holds(conn) > SHARE_MIN;
        if (silent(conn, now_ns))
            rpc_intake_cut(conn, "a client does not go on with the calls that it has begun");
        if (stuck(conn, now_ns) && (!most || holds(conn) > holds(most)))
            most = conn;
        place = &conn->next;
    }
    uint64_t part = intake.limit / 2 / holders;
    atomic_store(&intake.share, part > SHARE_MIN ? part : SHARE_MIN);
    return most;
}

void rpc_intake_sweep(uint64_t now_ns)
{
    struct rpc_conn *most = look_through(now_ns);
    if (most && held() > intake.limit / 4 * 3)
        rpc_intake_cut(most, "a client holds memory for answers or calls that it does not take");
}

/* Whether the dynamic linker takes both from this program, as it does for gRPC. */
static bool in_force(void)
{
    return dlsym(RTLD_DEFAULT, "recvmsg") == (void *)recvmsg &&
           dlsym(RTLD_DEFAULT, "close") == (void *)close &&
           dlsym(RTLD_DEFAULT, "epoll_ctl") == (void *)epoll_ctl &&
           dlsym(RTLD_DEFAULT, "epoll_wait") == (void *)epoll_wait;
}

void rpc_intake_open(unsigned descriptors, uint64_t message_max, uint64_t limit)
{
    if (!in_force())
        run_child_fail(RUN_EXIT_FAILURE, "gRPC's reads do not go through this program's recvmsg()");
    intake.by_fd = calloc(descriptors, sizeof *intake.by_fd);
    if (!intake.by_fd)
        panic("out of memory: %u descriptors", descriptors);
    intake.places = descriptors;
    intake.message_max = message_max;
    intake.limit = limit;
    atomic_store(&intake.share, limit / 2);
}

void rpc_intake_close(void)
{
    while (intake.all) {
        struct rpc_conn *conn = intake.all;
        intake.all = conn->next;
        rpc_frames_close(&conn->frames);
        free(conn);
    }
    intake.places = 0;
    free(intake.by_fd);
}
