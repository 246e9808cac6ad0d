/* Files of strato.ini: lines, sections, includes; each problem with its file and line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/conf/conf.h"

static char directory[64];
static struct conf conf;

static int remove_one(const char *path, const struct stat *stat_, int type, struct FTW *ftw)
{
    (void)stat_, (void)type, (void)ftw;
    return remove(path);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/strato-conf-XXXXXX");
    conf_defaults(&conf, false);
    return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return chdir("/") == 0 ? nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS) : -1;
}

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* Loads main.ini with this text; the problems must be exactly these. */
static void expect(const char *text, const char *problems_wanted)
{
    struct buffer problems = {0};
    write_file("main.ini", text);
    conf_defaults(&conf, false);
    enum status status = conf_load(&conf, "main.ini", &problems);
    buffer_append(&problems, "", 1);
    assert_string_equal((char *)problems.data, problems_wanted);
    assert_int_equal(status, *problems_wanted ? STATUS_INVALID : STATUS_OK);
    buffer_free(&problems);
}

static void comments_and_blanks(void **state)
{
    (void)state;
    expect("\xef\xbb\xbf; first\r\n"
           "  # second\n"
           "\n"
           "[memory]   ; the arena\r\n"
           "\t size\t=\t64M\t; not so small\r\n"
           "[redis]\n"
           "   url = redis://u:a;b#c@h:1\n"
           "[http]\n"
           "workers=3;no comment without a blank before it\n",
           "main.ini:9: workers must be auto or a number from 1 to 32\n");
    assert_int_equal(conf.memory_size, 64 << 20);
    assert_string_equal(conf.redis_url, "redis://u:a;b#c@h:1");
}

static void every_problem(void **state)
{
    (void)state;
    expect("early = 1\n"
           "[http\n"
           "[strato] x\n"
           "[stratos]\n"
           "run_dir = /ignored\n"
           "[Memory]\n"
           "[planet]\n"
           "[http]\n"
           "what is this\n"
           "= 5\n"
           "worker = 3\n"
           "workers = many\n"
           "idle_timeout = 60\n"
           "workers = 4\n"
           "[strato]\n"
           "log_level = ${STRATO_TEST_NOT_SET}\n"
           "max_value =\n",
           "main.ini:1: early stands before the first [section]\n"
           "main.ini:2: a section is written [name]\n"
           "main.ini:3: a section is written [name]\n"
           "main.ini:4: unknown section [stratos]; did you mean [strato]?\n"
           "main.ini:6: unknown section [Memory]; did you mean [memory]?\n"
           "main.ini:7: unknown section [planet]; there are [strato] [services] [http] [grpc] "
           "[memory] [disk] [redis]\n"
           "main.ini:9: a line is [section], key = value or a comment\n"
           "main.ini:10: a line is [section], key = value or a comment\n"
           "main.ini:11: unknown key worker in [http]; did you mean workers?\n"
           "main.ini:12: workers must be auto or a number from 1 to 32\n"
           "main.ini:13: idle_timeout must be a time with its unit (ms, s, m or h) from 1s to 1h\n"
           "main.ini:14: workers is set twice in this file, first on line 12\n"
           "main.ini:16: log_level needs the environment variable STRATO_TEST_NOT_SET, which is "
           "not set\n"
           "main.ini:17: max_value must be a size (bytes, or with K, M, G or T) from 1K to 64M\n");
}

/* inih cuts at 200 bytes; we do not. */
static void long_lines(void **state)
{
    (void)state;
    char text[4096], path[600];
    memset(path, 'p', sizeof path);
    path[0] = '/';
    for (unsigned len = 150; len <= 511; len++) {
        snprintf(text, sizeof text, "[disk]\npath   =   %.*s   ; %s\nsync = off\n", (int)len, path,
                 "a comment with = in it");
        expect(text, "");
        assert_int_equal(strlen(conf.disk_path), len);
        assert_int_equal(conf.disk_sync, SYNC_OFF);
    }
    snprintf(text, sizeof text, "[disk]\npath = %.*s\n", 512, path);
    expect(text, "main.ini:2: path is too long: at most 511 bytes\n");
    snprintf(text, sizeof text, "[disk]\nppppppppp = %0900d\n%.*s = 1\n", 0, 300, path);
    expect(text, "main.ini:2: unknown key ppppppppp in [disk]; there are path map_size sync "
                 "sync_interval\n"
                 "main.ini:3: the key is too long\n");
    snprintf(text, sizeof text, "[disk]\npath = %01100d\n[%0300d]\nsync = off\n", 0, 0);
    struct buffer problems = {0};
    write_file("main.ini", text);
    assert_int_equal(conf_load(&conf, "main.ini", &problems), STATUS_INVALID);
    buffer_append(&problems, "", 1);
    assert_ptr_equal(strstr((char *)problems.data, "main.ini:2: the line is longer than 1023 "),
                     problems.data);
    assert_non_null(strstr((char *)problems.data, "main.ini:3: unknown section ["));
    buffer_free(&problems);
}

static void binary(void **state)
{
    (void)state;
    struct buffer problems = {0};
    FILE *file = fopen("main.ini", "w");
    assert_non_null(file);
    fwrite("[http]\nwork\0ers = 3\n", 1, 20, file);
    for (int i = 0; i < (1 << 20); i++)
        putc('x', file);
    fclose(file);
    assert_int_equal(conf_load(&conf, "main.ini", &problems), STATUS_INVALID);
    buffer_append(&problems, "", 1);
    assert_string_equal((char *)problems.data,
                        "main.ini:2: the line contains a zero byte\n"
                        "main.ini:3: the file is larger than 1M; reading stops here\n");
    buffer_free(&problems);
}

static void many_problems(void **state)
{
    (void)state;
    struct buffer text = {0}, problems = {0};
    for (int i = 0; i < 1000; i++)
        buffer_append_text(&text, "x\n");
    buffer_append(&text, "", 1);
    write_file("main.ini", (char *)text.data);
    assert_int_equal(conf_load(&conf, "main.ini", &problems), STATUS_INVALID);
    buffer_append(&problems, "", 1);
    assert_non_null(strstr((char *)problems.data, "main.ini:100: "));
    assert_null(strstr((char *)problems.data, "main.ini:101: "));
    assert_non_null(strstr((char *)problems.data, "main.ini: and 900 more problems\n"));
    buffer_free(&text);
    buffer_free(&problems);
}

static void no_file(void **state)
{
    (void)state;
    struct buffer problems = {0};
    assert_int_equal(conf_load(&conf, "none.ini", &problems), STATUS_INVALID);
    assert_int_equal(conf_load(&conf, ".", &problems), STATUS_INVALID);
    assert_int_equal(mkfifo("pipe", 0600), 0);
    assert_int_equal(conf_load(&conf, "pipe", &problems), STATUS_INVALID); /* and no waiting */
    buffer_append(&problems, "", 1);
    assert_string_equal((char *)problems.data, "none.ini: No such file or directory\n"
                                               ".: is not a file\n"
                                               "pipe: is not a file\n");
    buffer_free(&problems);
}

static void includes_override_in_order(void **state)
{
    (void)state;
    assert_int_equal(mkdir("conf.d", 0700), 0);
    write_file("conf.d/20.ini", "[http]\nworkers = 20\n[memory]\nsize = 20M\n");
    write_file("conf.d/10.ini", "[http]\nworkers = 10\nidle_timeout = 10s\n");
    write_file("conf.d/30.txt", "[http]\nworkers = 30\n");
    expect("[strato]\ninclude = conf.d/*.ini\n[http]\nworkers = 1\nidle_timeout = 1s\n"
           "max_connections = 7\n",
           "");
    assert_int_equal(conf.http.workers, 20);
    assert_int_equal(conf.http.idle_timeout_ms, 10000);
    assert_int_equal(conf.http.max_connections, 7);
    assert_int_equal(conf.memory_size, 20 << 20);
    expect("[strato]\ninclude = nothing.d/*.ini\n", "");
}

static void includes_name_their_file(void **state)
{
    (void)state;
    assert_int_equal(mkdir("conf.d", 0700), 0);
    write_file("conf.d/10.ini", "[strato]\ninclude = deeper.ini\n");
    write_file("conf.d/deeper.ini",
               "[http]\nworkers = 0\n[strato]\nmax_value = 64M\n[memory]\nsize = 8M\n");
    expect("[strato]\ninclude = conf.d/1*.ini\nmax_value = 1K\nbackend = memory\n",
           "./conf.d/deeper.ini:2: workers must be auto or a number from 1 to 32\n"
           "./conf.d/deeper.ini:4: max_value must be at most a quarter of [memory] size\n");
}

static void includes_are_bounded(void **state)
{
    (void)state;
    char name[32], text[64];
    expect("[strato]\ninclude = gone.ini\n", "main.ini:2: include gone.ini: no such file\n");
    expect("[strato]\ninclude = *.ini\n",
           "main.ini:2: include ./main.ini: the file includes itself\n");
    write_file("other.ini", "[strato]\ninclude = main.ini\n");
    expect("[strato]\ninclude = other.ini\n",
           "./other.ini:2: include ./main.ini: the file includes itself\n");
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "deep%d.ini", i);
        snprintf(text, sizeof text, "[strato]\ninclude = deep%d.ini\n", i + 1);
        write_file(name, text);
    }
    expect("[strato]\ninclude = deep0.ini\n",
           "./deep6.ini:2: include ./deep7.ini: too many files (at most 64, 8 deep)\n");
    assert_int_equal(mkdir("many", 0700), 0);
    for (int i = 0; i < 64; i++) {
        snprintf(name, sizeof name, "many/%02d.ini", i);
        write_file(name, "");
    }
    expect("[strato]\ninclude = many/*\n",
           "main.ini:2: include ./many/63.ini: too many files (at most 64, 8 deep)\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(comments_and_blanks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_problem, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(binary, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_problems, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(includes_override_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(includes_name_their_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(includes_are_bounded, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
