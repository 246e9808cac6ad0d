/* Defaults, rules over several keys, writing and reading back, the sample file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/conf/conf.h"

static struct conf conf;

static int reset(void **state)
{
    (void)state;
    conf_defaults(&conf, false);
    return 0;
}

static void set(const char *section, const char *key, const char *value)
{
    struct buffer problems = {0};
    assert_int_equal(conf_set(&conf, section, key, value, "test", &problems), STATUS_OK);
}

static void check(const char *problems_wanted)
{
    struct buffer problems = {0};
    enum status status = conf_check(&conf, "here", &problems);
    buffer_append(&problems, "", 1);
    assert_string_equal((char *)problems.data, problems_wanted);
    assert_int_equal(status, *problems_wanted ? STATUS_INVALID : STATUS_OK);
    buffer_free(&problems);
}

static void defaults(void **state)
{
    (void)state;
    struct conf here;
    char cwd[CONF_TEXT_MAX], expected[2 * CONF_TEXT_MAX];
    check("");
    assert_string_equal(conf.run_dir, "/run/strato");
    assert_string_equal(conf.data_dir, "/var/lib/strato");
    assert_int_equal(conf.log_level, LOG_INFO);
    assert_int_equal(conf.request_timeout_ms, 5000);
    assert_int_equal(conf.drain_timeout_ms, 10000);
    assert_int_equal(conf.max_value, 1 << 20);
    assert_true(conf.http.enabled);
    assert_true(conf.grpc.enabled);
    assert_string_equal(conf.http.listen, "127.0.0.1:8081");
    assert_string_equal(conf.grpc.listen, "127.0.0.1:8080");
    assert_int_equal(conf.http.idle_timeout_ms, 60000);
    assert_int_equal(conf.http.max_connections, 10000);
    assert_int_equal(conf.memory_size, 256 << 20);
    assert_int_equal(conf.disk_map_size, 64ull << 30);
    assert_int_equal(conf.disk_sync, SYNC_COMMIT);
    assert_int_equal(conf.disk_sync_interval_ms, 100);
    assert_string_equal(conf.redis_url, "redis://127.0.0.1:6379");
    assert_int_equal(conf.redis_timeout_ms, 1000);
    conf_defaults(&here, true);
    assert_non_null(getcwd(cwd, sizeof cwd));
    snprintf(expected, sizeof expected, "%s/strato-run", cwd);
    assert_string_equal(here.run_dir, expected);
    snprintf(expected, sizeof expected, "%s/strato-data", cwd);
    assert_string_equal(here.data_dir, expected);
}

static void services_follow_backend(void **state)
{
    (void)state;
    set("services", "cache", "memory");
    set("strato", "backend", "redis");
    assert_int_equal(conf.services[SERVICE_CACHE], BACKEND_MEMORY);
    assert_int_equal(conf.services[SERVICE_KV], BACKEND_REDIS);
    set("services", "kv", "disk");
    set("strato", "backend", "memory");
    assert_int_equal(conf.services[SERVICE_SET], BACKEND_MEMORY);
    assert_int_equal(conf.services[SERVICE_KV], BACKEND_DISK);
    assert_true(conf_uses(&conf, BACKEND_MEMORY));
    assert_true(conf_uses(&conf, BACKEND_DISK));
    assert_false(conf_uses(&conf, BACKEND_REDIS));
}

static void protocols(void **state)
{
    (void)state;
    set("http", "enabled", "no");
    check("");
    set("grpc", "enabled", "no");
    check("here: no protocol is enabled; nobody could connect\n");
    set("http", "enabled", "yes");
    set("grpc", "enabled", "yes");
    set("grpc", "listen", "127.0.0.1:8081");
    check("here: listen: [http] (127.0.0.1:8081) and [grpc] (127.0.0.1:8081) have one address, or "
          "addresses that overlap\n");
    set("grpc", "listen", "0.0.0.0:8081");
    check("here: listen: [http] (127.0.0.1:8081) and [grpc] (0.0.0.0:8081) have one address, or "
          "addresses that overlap\n");
    set("grpc", "listen", "[::]:8081");
    check("here: listen: [http] (127.0.0.1:8081) and [grpc] ([::]:8081) have one address, or "
          "addresses that overlap\n");
    set("http", "listen", "[::1]:8081");
    set("grpc", "listen", "0.0.0.0:8081");
    check("");
    set("grpc", "listen", "[::1]:8082");
    check("");
    set("http", "listen", "127.0.0.1:0");
    set("grpc", "listen", "127.0.0.1:0");
    check("");
}

static void limits(void **state)
{
    (void)state;
    char path[120];
    memset(path, 'r', sizeof path);
    path[0] = '/';
    path[77] = '\0';
    set("strato", "run_dir", path);
    check("");
    path[77] = 'r';
    path[78] = '\0';
    set("strato", "run_dir", path);
    check("here: run_dir is too long for the sockets in it: 78 bytes, at most 77\n");
    set("strato", "run_dir", "/r");
    set("memory", "size", "4M");
    set("strato", "max_value", "1025K");
    check(""); /* on disk it is no matter */
    set("services", "cache", "memory");
    check("here: max_value must be at most a quarter of [memory] size\n");
}

static int memfd_of(const struct buffer *text)
{
    int fd = memfd_create("test", 0);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text->data, text->len), text->len);
    return fd;
}

static void round_trip(void **state)
{
    (void)state;
    struct buffer text = {0}, again = {0}, problems = {0};
    struct conf read;
    char url[CONF_TEXT_MAX];
    snprintf(url, sizeof url, "redis://user:%0450d${x}$@host:1", 0);
    setenv("STRATO_TEST_URL", url, 1);
    set("redis", "url", "${STRATO_TEST_URL}");
    set("services", "cache", "memory");
    set("disk", "path", "below/this");
    set("strato", "log_format", "json");
    set("strato", "max_value", "1500");
    set("strato", "request_timeout", "1500ms");
    set("http", "listen", "[::1]:9000");
    set("http", "workers", "7");
    set("grpc", "workers", "3"); /* what is auto is written as what it came to */
    set("memory", "size", "128M");
    conf_write(&conf, &text);
    int fd = memfd_of(&text);
    assert_int_equal(conf_read_fd(&read, fd, &problems), STATUS_OK);
    close(fd);
    assert_string_equal(read.redis_url, url);
    assert_string_equal(read.disk_path, "/var/lib/strato/below/this");
    snprintf(conf.disk_path, sizeof conf.disk_path, "%s", read.disk_path);
    conf_write(&read, &again);
    assert_int_equal(text.len, again.len);
    assert_memory_equal(text.data, again.data, text.len);
    assert_memory_equal(&conf, &read, sizeof conf);
    buffer_free(&text);
    buffer_free(&again);
}

static void unreadable_descriptor(void **state)
{
    (void)state;
    struct buffer text = {0}, problems = {0};
    struct conf read;
    buffer_append_text(&text, "[http]\nworkers = 99\n");
    int fd = memfd_of(&text);
    assert_int_equal(conf_read_fd(&read, fd, &problems), STATUS_INVALID);
    close(fd);
    fd = memfd_create("test", 0);
    assert_int_equal(conf_read_fd(&read, fd, &problems), STATUS_INVALID);
    close(fd);
    assert_int_equal(conf_read_fd(&read, -1, &problems), STATUS_INVALID);
    buffer_append(&problems, "", 1);
    assert_string_equal((char *)problems.data,
                        "configuration:2: workers must be auto or a number from 1 to 32\n"
                        "configuration: cannot be read: empty\n"
                        "configuration: cannot be read: Bad file descriptor\n");
    buffer_free(&text);
    buffer_free(&problems);
}

/* etc/strato.ini is generated: STRATO_WRITE_SAMPLE=1 writes it, else it is compared. */
static void sample(void **state)
{
    (void)state;
    static const char path[] = STRATO_SOURCE "/etc/strato.ini";
    static char wanted[16384], got[16384];
    FILE *file;
    if (getenv("STRATO_WRITE_SAMPLE")) {
        file = fopen(path, "w");
        assert_non_null(file);
        conf_write_sample(file);
        fclose(file);
    }
    file = fmemopen(wanted, sizeof wanted, "w");
    conf_write_sample(file);
    fclose(file);
    file = fopen(path, "r");
    assert_non_null(file);
    got[fread(got, 1, sizeof got - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(got, wanted);
}

/* The sample says what the defaults are, so reading it changes nothing. */
static void sample_is_the_defaults(void **state)
{
    (void)state;
    struct buffer problems = {0};
    struct conf read;
    conf_defaults(&read, true);
    enum status status = conf_load(&read, STRATO_SOURCE "/etc/strato.ini", &problems);
    assert_int_equal(problems.len, 0);
    assert_int_equal(status, STATUS_OK);
    assert_memory_equal(&conf, &read, sizeof conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(defaults, reset),
        cmocka_unit_test_setup(services_follow_backend, reset),
        cmocka_unit_test_setup(protocols, reset),
        cmocka_unit_test_setup(limits, reset),
        cmocka_unit_test_setup(round_trip, reset),
        cmocka_unit_test_setup(unreadable_descriptor, reset),
        cmocka_unit_test_setup(sample, reset),
        cmocka_unit_test_setup(sample_is_the_defaults, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
