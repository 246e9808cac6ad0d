/*
 * fuzz_ctl - whatever comes over the control socket, in pieces: it is answered with lines of JSON
 * of which the last is a result, or dropped; and no process is touched.
 *
 * An input is pieces, each a byte that says its length and what to do after it, then its bytes.
 */
#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "supervisor/command.h"
#include "supervisor/fleet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { PIECE_MAX = 63, HANG_UP = 64, WAIT = 128, ANSWER_MAX = 65536 };

static struct supervisor s;
static struct conf conf;

/* Slots as if two workers and a store were there, with the text of a hostile one; no process. */
static void set_up(void)
{
    static char directory[] = "/tmp/fuzz-ctl-XXXXXX";
    struct buffer why = {0};
    if (!mkdtemp(directory))
        abort();
    conf_defaults(&conf, true);
    snprintf(conf.run_dir, sizeof conf.run_dir, "%s", directory);
    conf.http.workers = 2;
    memset(&s.shared, 0xff, sizeof s.shared);
    memset(s.shared.listen, 0, sizeof s.shared.listen);
    log_open("fuzz", LOG_ERROR, false);
    s.conf = &conf;
    s.program = "fuzz";
    s.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    s.world = (struct slot_world){&conf, &s.shared, "/nowhere"};
    s.ctl.epoll_fd = s.epoll_fd;
    s.ctl.handler = command_take;
    s.ctl.context = &s;
    ctl_open(&s.ctl);
    if (ctl_listen(&s.ctl, conf.run_dir, &why) != STATUS_OK)
        abort();
}

static void reset(void)
{
    memset(s.slots, 0, sizeof s.slots);
    for (unsigned r = 0; r < ROLE_COUNT; r++)
        for (unsigned i = 0; i < roles[r].limit; i++)
            if (roles[r].wanted(&roles[r], &conf, i)) {
                struct slot *slot = fleet_slot(&s, &roles[r], i);
                slot_init(slot, &roles[r], i);
                slot->waiting = false;
                snprintf(slot->reason, sizeof slot->reason, "\x9b\"\\\xc3\xa9\xff\n\xe2\x80\xae");
            }
    s.phase = RUNNING;
    s.rolling = s.reload_asked = false;
}

static int dial(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%.90s/" CONTROL_SOCKET, conf.run_dir);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        abort();
    return fd;
}

/* Everything that the supervisor's loop would do now. */
static void turn(uint64_t now_ms)
{
    struct epoll_event events[8];
    log_set_level((enum log_level)(LOG_ERROR + 1)); /* nothing; a request may have changed it */
    for (int n; (n = epoll_wait(s.epoll_fd, events, 8, 0)) > 0;)
        for (int i = 0; i < n; i++)
            ctl_event(&s.ctl, events[i].data.u64 & 0xff, now_ms);
    ctl_check(&s.ctl, now_ms);
    command_step(&s, now_ms);
}

static void must_be_answer(char *text, size_t len)
{
    bool ended = false;
    text[len] = '\0';
    for (char *line = text, *end; *line; line = end + 1) {
        if (ended || !(end = strchr(line, '\n')))
            abort(); /* something after the end, or half a line */
        json_t *row = json_loadb(line, (size_t)(end - line), 0, NULL);
        if (!json_is_object(row))
            abort();
        ended = json_object_get(row, "result") != NULL;
        json_decref(row);
    }
}

static void read_answer(int fd)
{
    static char text[ANSWER_MAX + 1];
    size_t len = 0;
    ssize_t n;
    while (len < ANSWER_MAX && (n = recv(fd, text + len, ANSWER_MAX - len, 0)) > 0)
        len += (size_t)n;
    must_be_answer(text, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint64_t now_ms = 1000;
    if (!s.program)
        set_up();
    reset();
    int fd = dial();
    turn(now_ms);
    for (size_t at = 0; at < len && s.phase == RUNNING;) {
        uint8_t what = data[at++];
        size_t piece = what & PIECE_MAX;
        if (piece > len - at)
            piece = len - at;
        (void)!send(fd, data + at, piece, MSG_NOSIGNAL);
        at += piece;
        if (what & WAIT)
            now_ms += CTL_PATIENCE_MS / 2;
        turn(now_ms);
        if (what & HANG_UP)
            break;
    }
    s.rolling = false;
    turn(now_ms);
    read_answer(fd);
    close(fd);
    turn(now_ms);
    turn(now_ms + 2 * CTL_PATIENCE_MS);
    for (unsigned i = 0; i < CTL_CONNECTIONS; i++) /* what waits for the end, or its turn */
        if (s.ctl.connections[i].state != CTL_FREE)
            abort();
    return 0;
}
