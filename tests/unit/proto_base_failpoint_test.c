/*
 * failpoint: kills the named process, once, at the named point, the COUNT-th time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/failpoint.h"

static char path[] = "/tmp/strato-failpoint-XXXXXX";

static void arm(const char *line)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(line, file);
    fclose(file);
    assert_int_equal(setenv("STRATO_FAILPOINT", path, 1), 0);
}

/* How a child named "store" ends that passes the point "here" three times: a wait status. */
static int run_child(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        failpoint_arm("store");
        for (int i = 0; i < 3; i++) {
            failpoint("there");
            failpoint("here");
        }
        _exit(7);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void assert_killed(int status)
{
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void assert_lived(int status)
{
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void kills_once_and_removes_the_file(void **state)
{
    (void)state;
    arm("store here 1\n");
    assert_killed(run_child());
    assert_int_not_equal(access(path, F_OK), 0);
    assert_lived(run_child());
}

static void counts_passes(void **state)
{
    (void)state;
    arm("store here 3\n");
    assert_killed(run_child());
    arm("store here 4\n");
    assert_lived(run_child());
    arm("store elsewhere 1\n");
    assert_lived(run_child());
}

static void leaves_another_processs_file_alone(void **state)
{
    (void)state;
    arm("http-0 here 1\n");
    assert_lived(run_child());
    assert_int_equal(access(path, F_OK), 0);
}

static void ignores_a_file_that_makes_no_sense(void **state)
{
    (void)state;
    static const char *const lines[] = {"", "\n", "store", "store here", "store here x", "store  "};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        arm(lines[i]);
        assert_lived(run_child());
    }
    unsetenv("STRATO_FAILPOINT");
    assert_lived(run_child());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kills_once_and_removes_the_file),
        cmocka_unit_test(counts_passes),
        cmocka_unit_test(leaves_another_processs_file_alone),
        cmocka_unit_test(ignores_a_file_that_makes_no_sense),
    };
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
