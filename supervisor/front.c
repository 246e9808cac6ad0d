/*
 * front - see front.h. strato-http (and strato-grpc).
 *
 * It keeps to 127.0.0.1 and to ./strato-run/PROTOCOL-PORT, so that several can run side by side.
 *
 * Exit code 0: stopped in order; 1: a value is not allowed, or it could not start; 2: the command
 * line is wrong.
 */
#include "supervisor/front.h"

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/base/os.h"
#include "proto/base/text.h"
#include "proto/conf/protocol.h"
#include "supervisor/supervisor.h"

enum { PORT_MIN = 1024, PORT_MAX = 49151, OPTION_COUNT = 4 };

struct settings {
    const struct front *front;
    struct conf *conf;
    struct buffer *problems; /* what to print on standard error */
};

/* Takes one value; where names its source. False after adding to the problems. */
typedef bool apply_function(struct settings *settings, const char *value, const char *where);

struct row {
    const char *flag;
    int argument;
    const char *environment;
    apply_function *apply;
    const char *help;
};

static bool apply_port(struct settings *settings, const char *value, const char *where)
{
    char text[64];
    uint64_t port;
    const char *protocol = settings->front->protocol;
    if (!text_number(value, PORT_MIN, PORT_MAX, &port)) {
        buffer_append_format(settings->problems, "port must be between %d and %d\n", PORT_MIN,
                             PORT_MAX);
        return false;
    }
    snprintf(text, sizeof text, "127.0.0.1:%" PRIu64, port);
    if (conf_set(settings->conf, protocol, "listen", text, where, settings->problems) != STATUS_OK)
        return false;
    snprintf(text, sizeof text, "./strato-run/%s-%" PRIu64, protocol, port);
    return conf_set(settings->conf, "strato", "run_dir", text, where, settings->problems) ==
           STATUS_OK;
}

static bool apply_debug(struct settings *settings, const char *value, const char *where)
{
    bool debug;
    if (text_flag(bytes_of(value), &debug)) {
        if (debug)
            settings->conf->log_level = LOG_DEBUG;
        return true;
    }
    buffer_append_format(settings->problems, "%s: must be true or false\n", where);
    return false;
}

static bool apply_backend(struct settings *settings, const char *value, const char *where)
{
    bool known = false;
    for (unsigned i = 0; i < BACKEND_COUNT; i++)
        known |= strcmp(value, backend_name((enum backend)i)) == 0;
    if (!known)
        buffer_append_text(settings->problems, "backend key not recognized\n");
    return known && conf_set(settings->conf, "strato", "backend", value, where,
                             settings->problems) == STATUS_OK;
}

static bool apply_redis_url(struct settings *settings, const char *value, const char *where)
{
    return conf_set(settings->conf, "redis", "url", value, where, settings->problems) == STATUS_OK;
}

static const struct row rows[OPTION_COUNT] = {
    {"port", required_argument, "PORT", apply_port, "listen on 127.0.0.1:PORT"},
    {"debug", optional_argument, "DEBUG", apply_debug, "log more"},
    {"backend", required_argument, "BACKEND", apply_backend, "disk, memory or redis"},
    {"redis-url", required_argument, "REDIS_URL", apply_redis_url,
     "[redis://][user:password@]host:port, for backend redis"},
};

static void print_help(const struct front *front)
{
    printf("usage: %s [options]\n\nServes Strato over %s alone, in the foreground, on 127.0.0.1.\n"
           "A flag goes before its environment variable, and that before the default.\n\n",
           front->program, front->protocol);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        printf("  %s --%-10s %s%-10s %s\n", i == 0 ? "-p," : "   ", rows[i].flag,
               front->environment, rows[i].environment, rows[i].help);
    printf("      --version\n      --help\n\nThe default port is %s. Run files are in "
           "./strato-run/%s-PORT.\n",
           front->port, front->protocol);
}

/* Takes the flags; the value of row i is left in values[i]. Exits on --help and its like. */
static void parse(const struct front *front, int argc, char **argv, const char **values)
{
    enum { FIRST = 256, VERSION = FIRST + OPTION_COUNT, HELP };
    struct option options[OPTION_COUNT + 3] = {{"version", no_argument, NULL, VERSION},
                                               {"help", no_argument, NULL, HELP}};
    for (int i = 0; i < OPTION_COUNT; i++)
        options[i + 2] = (struct option){rows[i].flag, rows[i].argument, NULL, FIRST + i};
    int option;
    while ((option = getopt_long(argc, argv, "p:h", options, NULL)) != -1) {
        if (option == VERSION) {
            printf("%s %s\n", front->program, STRATO_VERSION);
            exit(0);
        } else if (option == HELP || option == 'h') {
            print_help(front);
            exit(0);
        } else if (option == '?') {
            fprintf(stderr, "try: %s --help\n", front->program);
            exit(2);
        }
        values[option == 'p' ? 0 : option - FIRST] = optarg ? optarg : "true";
    }
    if (optind < argc) {
        fprintf(stderr, "%s: unexpected argument %s\n", front->program, argv[optind]);
        exit(2);
    }
}

/* Applies the flag of a row, else its environment variable; an empty variable is none. */
static bool apply(struct settings *settings, const struct row *row, const char *flag)
{
    char name[64];
    if (flag) {
        snprintf(name, sizeof name, "--%s", row->flag);
        return row->apply(settings, flag, name);
    }
    snprintf(name, sizeof name, "%s%s", settings->front->environment, row->environment);
    const char *value = getenv(name);
    return !value || !*value || row->apply(settings, value, name);
}

/* Turns off every protocol but the front's own. */
static bool choose_protocol(struct settings *settings)
{
    for (enum protocol i = 0; i < PROTOCOL_COUNT; i++) {
        const char *name = protocol_name(i);
        bool mine = strcmp(name, settings->front->protocol) == 0;
        if (conf_set(settings->conf, name, "enabled", mine ? "yes" : "no", name,
                     settings->problems) != STATUS_OK)
            return false;
    }
    return true;
}

int front_main(const struct front *front, int argc, char **argv)
{
    static struct conf conf;
    struct buffer problems = {0};
    struct settings settings = {front, &conf, &problems};
    const char *values[OPTION_COUNT] = {NULL};
    os_begin();
    parse(front, argc, argv, values);
    os_close_on_exec(3); /* what a shell left open is not for children */
    conf_defaults(&conf, true);
    bool good = choose_protocol(&settings) && apply_port(&settings, front->port, "default port");
    for (size_t i = 0; i < OPTION_COUNT; i++)
        good &= apply(&settings, &rows[i], values[i]);
    good = good && conf_check(&conf, front->program, &problems) == STATUS_OK;
    if (!good)
        text_print(stderr, problems.data, problems.len);
    buffer_free(&problems);
    return good ? supervise(&conf, NULL, front->program) : 1;
}
