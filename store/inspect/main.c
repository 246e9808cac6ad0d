/*
 * main - strato-inspect: shows an arena, a channel or a data directory, of a file or of a running
 * process. It changes nothing, takes no lock and asks no process.
 *
 * Exit code 0: shown, and it makes sense; 1: something makes no sense, see "trouble"; 2: the
 * command line is wrong, or what it names cannot be read.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "proto/base/op.h"
#include "proto/base/os.h"
#include "store/inspect/inspect.h"
#include "store/inspect/live.h"

struct command {
    struct inspect_options options;
    const char *in;
    bool json;
    const char *what;
    char *words[3]; /* behind what */
    int count;
};

_Noreturn static void refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn static void refuse(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("strato-inspect: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}

static void print(bool version)
{
    char services[200];
    inspect_service_names(services, sizeof services);
    if (version)
        puts("strato-inspect " STRATO_VERSION);
    else
        printf(
            "usage: strato-inspect [OPTIONS] WHAT\n"
            "\n"
            "  list                           the shared memory of a running Strato (needs --in)\n"
            "  arena FILE [SERVICE KEY]       an arena, or one record in it\n"
            "  channel FILE                   the rings between a worker and a store\n"
            "  disk PATH [SERVICE KEY]        a data directory or a snapshot, or one record in it\n"
            "\n"
            "  -i, --in RUN_DIR|PID   look at a running process: FILE is then a name that list\n"
            "                         shows (memory, disk-3), and disk takes no PATH\n"
            "  -c, --check            read and check everything: each record, each page\n"
            "  -a, --all              show all that waits and all results, not the first ones\n"
            "  -n, --namespace NUMBER that the record is in; without it 0, the default one\n"
            "  -j, --json             as JSON\n"
            "  -V, --version          the version\n"
            "  -h, --help             this\n"
            "\n"
            "It only reads. SERVICE is one of %s; in KEY \\xNN is a byte.\n"
            "The exit status is 0 when what it shows makes sense, 1 when it does not, 2 when it\n"
            "cannot be shown.\n",
            services);
}

static uint16_t parse_namespace(const char *text)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno != 0 || number > UINT16_MAX)
        refuse("a namespace is a number from 0 to %d, not %s", UINT16_MAX, text);
    return (uint16_t)number;
}

static void parse_flags(int argc, char **argv, struct command *command)
{
    static const struct option flags[] = {{"in", required_argument, NULL, 'i'},
                                          {"check", no_argument, NULL, 'c'},
                                          {"all", no_argument, NULL, 'a'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"namespace", required_argument, NULL, 'n'},
                                          {"version", no_argument, NULL, 'V'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    int flag;
    while ((flag = getopt_long(argc, argv, "i:cajn:Vh", flags, NULL)) != -1) {
        if (flag == 'i')
            command->in = optarg;
        else if (flag == 'c')
            command->options.check = true;
        else if (flag == 'a')
            command->options.all = true;
        else if (flag == 'j')
            command->json = true;
        else if (flag == 'n')
            command->options.namespace = parse_namespace(optarg);
        else if (flag == 'V' || flag == 'h') {
            print(flag == 'V');
            exit(0);
        } else {
            refuse("try: strato-inspect --help");
        }
    }
}

_Noreturn static void refuse_service(const char *name)
{
    char services[200];
    inspect_service_names(services, sizeof services);
    refuse("%s is no service; there are %s", name, services);
}

/* The last two words are a service and a key, when there are that many more than the path. */
static void parse_record(struct command *command, int before, struct buffer *key)
{
    if (command->count == before)
        return;
    if (command->count != before + 2)
        refuse("%s takes %s, and then SERVICE and KEY or nothing", command->what,
               before ? "one name" : "no name");
    command->options.service = command->words[before];
    if (inspect_service(command->options.service) == SERVICE_COUNT)
        refuse_service(command->options.service);
    if (!show_unescape(command->words[before + 1], key))
        refuse("in a key a backslash is written \\x5c, and any byte as \\xNN");
    if (key->len == 0 || key->len > KEY_MAX)
        refuse("a key has 1 to %d bytes, this one has %zu", KEY_MAX, key->len);
    command->options.key = buffer_bytes(key);
}

static void parse(int argc, char **argv, struct command *command, struct buffer *key)
{
    parse_flags(argc, argv, command);
    if (optind == argc)
        refuse("say what to look at; try: strato-inspect --help");
    command->what = argv[optind++];
    for (; optind < argc && command->count < 3; optind++)
        command->words[command->count++] = argv[optind];
    if (optind < argc)
        refuse("%s is one word too many", argv[optind]);
    bool disk = strcmp(command->what, "disk") == 0, arena = strcmp(command->what, "arena") == 0;
    if (disk || arena)
        parse_record(command, disk && command->in ? 0 : 1, key);
    else if (strcmp(command->what, "channel") == 0 && command->count != 1)
        refuse("channel takes one name");
    else if (strcmp(command->what, "list") == 0 && (command->count != 0 || !command->in))
        refuse("list takes --in RUN_DIR or --in PID, and no name");
    else if (strcmp(command->what, "channel") != 0 && strcmp(command->what, "list") != 0)
        refuse("there is no %s; try: strato-inspect --help", command->what);
}

/* What is to be opened. */
static void find(const struct command *command, int pid, char *path)
{
    char name[128], reason[300];
    struct stat info;
    bool disk = strcmp(command->what, "disk") == 0;
    bool found = true;
    if (pid > 0 && disk) {
        found = live_database(pid, path, reason, sizeof reason);
    } else if (pid > 0) {
        snprintf(name, sizeof name, "strato-%s-%s", command->what, command->words[0]);
        found = live_find(pid, name, path, reason, sizeof reason);
    } else {
        snprintf(path, LIVE_PATH_MAX, "%s", command->words[0]);
    }
    if (!found)
        refuse("%s", reason);
    size_t len = strlen(path);
    if (disk && stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        snprintf(path + len, LIVE_PATH_MAX - len, "/data.mdb");
}

static void look(const struct command *command, int pid, struct report *report)
{
    char path[LIVE_PATH_MAX], reason[LIVE_PATH_MAX + 100];
    struct input input;
    find(command, pid, path);
    if (!input_open(&input, path, reason, sizeof reason))
        refuse("%s", reason);
    show_bytes(report->root, command->what, bytes_of(path), sizeof path);
    if (strcmp(command->what, "arena") == 0)
        inspect_arena(&input, &command->options, report);
    else if (strcmp(command->what, "channel") == 0)
        inspect_channel(&input, &command->options, report);
    else
        inspect_database(&input, &command->options, report);
    input_close(&input);
}

int main(int argc, char **argv)
{
    struct command command = {0};
    struct report report;
    struct buffer key = {0};
    char reason[LIVE_PATH_MAX + 100];
    int pid = 0;
    os_begin();
    parse(argc, argv, &command, &key);
    if (command.in && (pid = live_process(command.in, reason, sizeof reason)) == 0)
        refuse("%s", reason);
    report_open(&report);
    if (strcmp(command.what, "list") == 0)
        live_list(pid, &report);
    else
        look(&command, pid, &report);
    if (!report_print(&report, command.json))
        refuse("standard output cannot be written");
    int code = report.troubles > 0 ? 1 : 0;
    report_close(&report);
    buffer_free(&key);
    return code;
}
