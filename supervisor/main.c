/*
 * main - stratod: options, then the supervisor.
 *
 * Exit code 0: stopped in order, or nothing wrong found; 1: it could not start, or it was killed
 * off by a second signal; 2: the command line is wrong.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/base/os.h"
#include "proto/base/text.h"
#include "supervisor/limits.h"
#include "supervisor/supervisor.h"

static const char usage[] =
    "usage: stratod [--config FILE] [--check-config] [--version] [--help]\n"
    "\n"
    "Runs Strato in the foreground: starts its processes, keeps them running, and stops them in\n"
    "order on SIGTERM or SIGINT. Without a file it runs on defaults below the current directory.\n"
    "\n"
    "  -c, --config FILE   read this configuration (see strato.ini)\n"
    "      --check-config  print every problem of the configuration and exit: 0 if there is none\n"
    "      --version       print the version and exit\n"
    "      --help          print this and exit\n";

struct options {
    const char *config;
    bool check;
};

static void parse(int argc, char **argv, struct options *options_r)
{
    enum { CHECK = 256, VERSION, HELP };
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"check-config", no_argument, NULL, CHECK},
                                            {"version", no_argument, NULL, VERSION},
                                            {"help", no_argument, NULL, HELP},
                                            {0}};
    int option;
    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            options_r->config = optarg;
            break;
        case CHECK:
            options_r->check = true;
            break;
        case VERSION:
            puts("stratod " STRATO_VERSION);
            exit(0);
        case HELP:
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            fputs("try: stratod --help\n", stderr);
            exit(2);
        }
    }
    if (optind < argc) {
        fprintf(stderr, "stratod: unexpected argument %s\ntry: stratod --help\n", argv[optind]);
        exit(2);
    }
}

static void print_lines(const char *before, struct buffer *text)
{
    char *save = NULL;
    buffer_append(text, "", 1);
    for (char *line = strtok_r((char *)text->data, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        fputs(before, stdout);
        text_print(stdout, line, strlen(line));
        putchar('\n');
    }
}

/* What --check-config prints: the problems, and what the system's limits would change. */
static int report(const struct conf *conf, const char *name, enum status status,
                  struct buffer *problems)
{
    struct conf fitted = *conf;
    struct buffer notes = {0}, why = {0};
    if (status == STATUS_OK)
        conf_notes(conf, &notes);
    if (status == STATUS_OK)
        status = limits_fit(&fitted, &notes, &why);
    print_lines("", problems);
    print_lines("note: ", &notes);
    print_lines("", &why);
    if (status == STATUS_OK)
        printf("%s: no problems\n", name);
    buffer_free(problems);
    buffer_free(&notes);
    buffer_free(&why);
    return status == STATUS_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const char builtin[] = "built-in defaults";
    static struct conf conf;
    struct options options = {0};
    struct buffer problems = {0};
    os_begin();
    parse(argc, argv, &options);
    os_close_on_exec(3); /* what a shell left open is not for children */
    conf_defaults(&conf, !options.config);
    enum status status = options.config ? conf_load(&conf, options.config, &problems)
                                        : conf_check(&conf, builtin, &problems);
    if (options.check)
        return report(&conf, options.config ? options.config : builtin, status, &problems);
    text_print(stderr, problems.data, problems.len);
    buffer_free(&problems);
    if (status != STATUS_OK)
        return 1;
    return supervise(&conf, options.config, "stratod");
}
