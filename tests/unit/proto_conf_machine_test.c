/* CPUs and memory that cgroups leave: made-up trees of both versions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/conf/machine.h"

static char top[64];

static void put(const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", top, name);
    for (char *slash = path + strlen(top) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    /* %s is the temporary directory. */
    for (const char *at = text; *at; at++) {
        if (strncmp(at, "%s", 2) == 0) {
            fputs(top, file);
            at++;
        } else {
            fputc(*at, file);
        }
    }
    fclose(file);
}

static int make_top(void **state)
{
    (void)state;
    strcpy(top, "/tmp/strato-machine-XXXXXX");
    return mkdtemp(top) ? 0 : -1;
}

static int remove_top(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", top);
    return system(command);
}

static struct machine look(void)
{
    struct machine found;
    machine_look(top, &found);
    return found;
}

static unsigned affinity(void)
{
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    return (unsigned)CPU_COUNT(&set);
}

static uint64_t physical(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

#define V2 "30 23 0:26 / %s/cg rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"

static void ends_with(const char *text, const char *end)
{
    assert_true(strlen(text) >= strlen(end));
    assert_string_equal(text + strlen(text) - strlen(end), end);
}

static void nothing_is_no_limit(void **state)
{
    (void)state;
    struct machine found = look();
    assert_int_equal(found.cpus, affinity());
    assert_true(found.memory == physical());
    assert_string_equal(found.memory_from, "");
    put("cgroup", "0::/none\n");
    put("mountinfo", V2);
    found = look();
    assert_true(found.memory == physical() && found.cpus == affinity() && found.milli_cpus == 0);
}

static void the_smallest_on_the_way_up_counts(void **state)
{
    (void)state;
    put("cgroup", "0::/a/b/c\n");
    put("mountinfo", "1 1 0:1 / / rw - ext4 /dev/x rw\n" V2);
    put("cg/a/b/c/memory.max", "max\n");
    put("cg/a/b/c/cpu.max", "max 100000\n");
    put("cg/a/b/memory.max", "268435456\n");
    put("cg/a/b/cpu.max", "150000 100000\n");
    put("cg/a/memory.max", "536870912\n");
    put("cg/a/cpu.max", "50000 100000\n");
    struct machine found = look();
    assert_int_equal(found.memory, 268435456);
    ends_with(found.memory_from, "/cg/a/b/memory.max");
    assert_int_equal(found.milli_cpus, 500);
    assert_int_equal(found.cpus, 1);
    ends_with(found.cpus_from, "/cg/a/cpu.max");
    put("cg/a/b/c/memory.high", "134217728\n");
    found = look();
    assert_int_equal(found.memory, 134217728);
    ends_with(found.memory_from, "/cg/a/b/c/memory.high");
}

static void a_part_of_a_cpu_counts_as_one(void **state)
{
    static const struct {
        const char *text;
        unsigned milli, cpus;
    } rows[] = {{"1000 100000", 10, 1},
                {"100000 100000", 1000, 1},
                {"100001 100000", 1000, 1},
                {"110000 100000", 1100, 2},
                {"6400000 100000", 64000, 64},
                {"0 100000", 1, 1},
                {"5 0", 0, 0},
                {"x", 0, 0},
                {"-1 100000", 0, 0},
                {"99999999999999999999 1", 0, 0},
                {"", 0, 0}};
    (void)state;
    put("cgroup", "0::/\n");
    put("mountinfo", V2);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        put("cg/cpu.max", rows[i].text);
        struct machine found = look();
        unsigned cpus = rows[i].cpus > 0 && rows[i].cpus < affinity() ? rows[i].cpus : affinity();
        assert_int_equal(found.milli_cpus, rows[i].milli);
        assert_int_equal(found.cpus, cpus);
    }
}

static void version_1(void **state)
{
    (void)state;
    put("cgroup", "9:name=systemd:/x\n4:memory:/x/y\n3:cpuacct,cpu:/z\n0::/\n");
    put("mountinfo", "35 31 0:32 / %s/memory rw,relatime - cgroup cgroup rw,memory\n"
                     "36 31 0:33 / %s/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
                     "41 31 0:38 / %s/unified rw,relatime - cgroup2 cgroup2 rw\n");
    put("memory/x/y/memory.limit_in_bytes", "9223372036854771712\n");
    put("memory/x/memory.limit_in_bytes", "100000000\n");
    put("cpu/z/cpu.cfs_quota_us", "25000\n");
    put("cpu/z/cpu.cfs_period_us", "50000\n");
    put("cpu/cpu.cfs_quota_us", "-1\n");
    put("cpu/cpu.cfs_period_us", "100000\n");
    struct machine found = look();
    assert_int_equal(found.memory, 100000000);
    assert_int_equal(found.milli_cpus, 500);
    ends_with(found.cpus_from, "/cpu/z/cpu.cfs_quota_us");
}

/* A container without a namespace of its own sees its path in the host's tree, and its part of
 * the tree mounted; one that looks from outside sees /.. */
static void a_part_of_the_tree_is_mounted(void **state)
{
    (void)state;
    put("cgroup", "4:memory:/docker/abc/inner\n0::/../other\n");
    put("mountinfo", "35 31 0:32 /docker/abc %s/my\\040memory rw - cgroup cgroup rw,memory\n" V2);
    put("my memory/inner/memory.limit_in_bytes", "300000000\n");
    put("my memory/memory.limit_in_bytes", "200000000\n");
    put("cg/memory.max", "150000000\n");
    put("other/memory.max", "1\n");
    assert_int_equal(look().memory, 150000000);
    put("cg/memory.max", "max\n");
    assert_int_equal(look().memory, 200000000);
    put("cgroup", "4:memory:/elsewhere\n");
    assert_int_equal(look().memory, 200000000);
}

static void garbage_is_no_limit(void **state)
{
    (void)state;
    put("cgroup", "::\n\n0:\n:::\nno\n0::/"
                  "a\n");
    put("mountinfo", "\n - \n1 2 3 4\n1 2 3 4 - cgroup2 x\n5 6 7 - cgroup2 cgroup2 rw\n");
    assert_true(look().memory == physical());
}

#define WITH_TOP(test) cmocka_unit_test_setup_teardown(test, make_top, remove_top)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_TOP(nothing_is_no_limit),           WITH_TOP(the_smallest_on_the_way_up_counts),
        WITH_TOP(a_part_of_a_cpu_counts_as_one), WITH_TOP(version_1),
        WITH_TOP(a_part_of_the_tree_is_mounted), WITH_TOP(garbage_is_no_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
