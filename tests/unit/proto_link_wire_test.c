/* What sendmsg() says of a peer that is gone: the truth, but to the link. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/link/wire.h"

/* Sends to a peer that has closed, over a socket of this name or a connection to it. */
static ssize_t send_to_the_dead(const char *name, bool from_listener, int *error_r)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char directory[] = "/tmp/strato-wire-XXXXXX";
    assert_non_null(mkdtemp(directory));
    snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", directory, name);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), dialer = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(connect(dialer, (struct sockaddr *)&address, sizeof address), 0);
    int accepted = accept(listener, NULL, NULL);
    int here = from_listener ? accepted : dialer;
    close(from_listener ? dialer : accepted);
    struct iovec part = {(char[]){"hello"}, 5};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t sent = sendmsg(here, &message, MSG_NOSIGNAL);
    *error_r = errno;
    close(here);
    close(listener);
    unlink(address.sun_path);
    rmdir(directory);
    return sent;
}

static void others_hear_the_truth(void **state)
{
    static const char *const names[] = {"http.sock", "linked", ".linkage"};
    int error;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(send_to_the_dead(names[i], true, &error), -1);
        assert_int_equal(error, EPIPE);
        assert_int_equal(send_to_the_dead(names[i], false, &error), -1);
        assert_int_equal(error, EPIPE);
    }
}

static void the_link_does_not(void **state)
{
    static const char *const names[] = {"store-disk.link", "store-memory.link.3"};
    int error;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(send_to_the_dead(names[i], true, &error), 5);
        assert_int_equal(send_to_the_dead(names[i], false, &error), 5);
    }
}

int main(void)
{
    char reason[100];
    /* A sanitizer has a sendmsg() too: without a name of wire.c its object would not be linked. */
    if (!wire_url_ok("ipc:///run/strato/store-disk.link", reason, sizeof reason))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_hear_the_truth),
        cmocka_unit_test(the_link_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
