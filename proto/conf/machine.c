/*
 * machine - see machine.h. The supervisor looks; its children trust it. Reads files of the kernel;
 * cannot fail.
 */
#include "proto/conf/machine.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/text.h"

enum { LINE_MAX_ = 8192 };

/* One line of PROC/cgroup, and where its tree is mounted. */
struct tree {
    const char *controller; /* "memory" or "cpu" of version 1; NULL: version 2 */
    char path[MACHINE_PATH_MAX];
    char top[MACHINE_PATH_MAX]; /* the mount point */
    char at[MACHINE_PATH_MAX];  /* our cgroup; walks up to top */
};

/* ---- Where the files are ---- */

/* Whether a list with commas has this word. */
static bool has_word(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (strncmp(at, word, len) == 0 && (at[len] == ',' || !at[len]))
            return true;
    return false;
}

/* Calls take for each line of a file until it returns true; whether one did. */
static bool each_line(const char *proc, const char *name,
                      bool (*take)(char *line, struct tree *tree), struct tree *tree)
{
    char path[MACHINE_PATH_MAX], line[LINE_MAX_];
    bool taken = false;
    snprintf(path, sizeof path, "%s/%s", proc, name);
    FILE *file = fopen(path, "re");
    while (file && !taken && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        taken = take(line, tree);
    }
    if (file)
        fclose(file);
    return taken;
}

/* "4:memory:/a/b" or "0::/a/b" */
static bool take_path(char *line, struct tree *tree)
{
    char *controllers = strchr(line, ':');
    char *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path)
        return false;
    *path++ = '\0';
    controllers++;
    if (tree->controller ? !has_word(controllers, tree->controller) : *controllers != '\0')
        return false;
    snprintf(tree->path, sizeof tree->path, "%s", path);
    return true;
}

/* Blanks in paths are written \040. */
static void unescape(char *text)
{
    char *out = text;
    for (; *text; text++) {
        if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] && text[3]) {
            *out++ = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + (text[3] - '0'));
            text += 3;
        } else {
            *out++ = *text;
        }
    }
    *out = '\0';
}

/* Our cgroup as a path below the mount point. What is mounted may be a part of the tree; a path
 * that leads out of it leaves the mount point itself. */
static void place(struct tree *tree, const char *root, const char *mount_point)
{
    size_t len = strcmp(root, "/") == 0 ? 0 : strlen(root);
    bool within = strncmp(tree->path, root, len) == 0 &&
                  (tree->path[len] == '/' || !tree->path[len]) && !strstr(tree->path, "/..");
    const char *rest = within ? tree->path + len : "";
    snprintf(tree->top, sizeof tree->top, "%s", mount_point);
    snprintf(tree->at, sizeof tree->at, "%s%s", mount_point, strcmp(rest, "/") == 0 ? "" : rest);
}

/* "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory" */
static bool take_mount(char *line, struct tree *tree)
{
    char *save = NULL, *root = NULL, *mount_point = NULL;
    char *behind = strstr(line, " - ");
    if (!behind)
        return false;
    *behind = '\0';
    char *word = strtok_r(line, " ", &save);
    for (int i = 0; word && i < 5; i++, word = strtok_r(NULL, " ", &save)) {
        root = i == 3 ? word : root;
        mount_point = i == 4 ? word : mount_point;
    }
    char *type = strtok_r(behind + 3, " ", &save);
    char *source = strtok_r(NULL, " ", &save), *options = strtok_r(NULL, " ", &save);
    if (!mount_point || !source || !options ||
        strcmp(type, tree->controller ? "cgroup" : "cgroup2") != 0 ||
        (tree->controller && !has_word(options, tree->controller)))
        return false;
    unescape(root);
    unescape(mount_point);
    place(tree, root, mount_point);
    return true;
}

/* ---- What is in them ---- */

/* The number in a file of the cgroup at hand, and the one behind it. "max" is UINT64_MAX; so is
 * what cannot be read, and a number below 0. */
static uint64_t read_number(const struct tree *tree, const char *name, uint64_t *second_r,
                            char *path)
{
    char text[128] = "";
    const char *rest;
    uint64_t number;
    snprintf(path, MACHINE_PATH_MAX, "%.*s/%s", MACHINE_PATH_MAX - 64, tree->at, name);
    FILE *file = fopen(path, "re");
    size_t len = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file)
        fclose(file);
    text[len] = '\0';
    *second_r = 0;
    if (!text_digits(text, &number, &rest))
        return UINT64_MAX;
    if (*rest == ' ')
        (void)text_digits(rest + 1, second_r, &rest);
    return number;
}

static void look_at_memory(const struct tree *tree, struct machine *machine)
{
    static const char *const names[] = {"memory.max", "memory.high", NULL};
    static const char *const names_v1[] = {"memory.limit_in_bytes", NULL};
    char path[MACHINE_PATH_MAX];
    uint64_t second;
    for (const char *const *name = tree->controller ? names_v1 : names; *name; name++) {
        uint64_t limit = read_number(tree, *name, &second, path);
        if (limit >= machine->memory)
            continue;
        machine->memory = limit;
        memcpy(machine->memory_from, path, sizeof path);
    }
}

static void look_at_cpus(const struct tree *tree, struct machine *machine)
{
    char path[MACHINE_PATH_MAX], other[MACHINE_PATH_MAX];
    uint64_t period, none;
    uint64_t quota =
        read_number(tree, tree->controller ? "cpu.cfs_quota_us" : "cpu.max", &period, path);
    if (tree->controller)
        period = read_number(tree, "cpu.cfs_period_us", &none, other);
    if (quota == UINT64_MAX || quota > 1000000000 || period == 0 || period > 1000000000)
        return;
    uint64_t milli = quota * 1000 / period;
    if (milli == 0)
        milli = 1;
    if (machine->milli_cpus != 0 && milli >= machine->milli_cpus)
        return;
    machine->milli_cpus = milli > UINT32_MAX ? UINT32_MAX : (unsigned)milli;
    memcpy(machine->cpus_from, path, sizeof path);
}

/* From our cgroup up to the top: each may limit it. */
static void walk(struct tree *tree, void (*look)(const struct tree *tree, struct machine *machine),
                 struct machine *machine)
{
    size_t top = strlen(tree->top);
    for (;;) {
        look(tree, machine);
        char *slash = strrchr(tree->at, '/');
        if (strlen(tree->at) <= top || !slash)
            return;
        *slash = '\0';
    }
}

static void look_in(const char *proc, const char *controller, bool cpus, struct machine *machine)
{
    struct tree tree = {.controller = controller};
    if (each_line(proc, "cgroup", take_path, &tree) &&
        each_line(proc, "mountinfo", take_mount, &tree))
        walk(&tree, cpus ? look_at_cpus : look_at_memory, machine);
}

void machine_look(const char *proc, struct machine *machine_r)
{
    cpu_set_t set;
    *machine_r = (struct machine){.cpus = 1};
    if (sched_getaffinity(0, sizeof set, &set) == 0) /* else over 1,024: let the operator choose */
        machine_r->cpus = (unsigned)CPU_COUNT(&set);
    machine_r->memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    look_in(proc, NULL, false, machine_r);
    look_in(proc, "memory", false, machine_r);
    look_in(proc, NULL, true, machine_r);
    look_in(proc, "cpu", true, machine_r);
    unsigned limit = machine_r->milli_cpus / 1000 + (machine_r->milli_cpus % 1000 != 0);
    if (limit != 0 && limit < machine_r->cpus)
        machine_r->cpus = limit;
}

/* ---- Ours ---- */

static struct machine ours;
static bool looked;

const struct machine *machine(void)
{
    if (!looked)
        machine_look("/proc/self", &ours);
    looked = true;
    return &ours;
}

void machine_forget(void)
{
    looked = false;
}

void machine_trust(void)
{
    ours = (struct machine){.cpus = 1, .memory = UINT64_MAX};
    looked = true;
}
