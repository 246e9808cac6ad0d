/*
 * main - stratoctl: what an operator asks of a running Strato.
 *
 * Exit code 0: it is done; 1: it is not, and standard error says why; 2: the command line is wrong.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/os.h"
#include "proto/base/text.h"
#include "proto/conf/conf.h"
#include "proto/run/control.h"
#include "supervisor/stratoctl/ask.h"
#include "supervisor/stratoctl/commands.h"
#include "supervisor/stratoctl/views.h"

static void print_help(void)
{
    printf("usage: stratoctl [--socket PATH] COMMAND [ARGUMENT]\n\n");
    for (size_t i = 0; i < ctl_command_count; i++)
        printf("  %-10s %-10s %s\n", ctl_commands[i].word, ctl_commands[i].argument,
               ctl_commands[i].help);
    printf("\n");
    for (size_t i = 0; i < ctl_option_count; i++)
        printf("  --%-10s %-8s %s\n", ctl_options[i].word, ctl_options[i].argument,
               ctl_options[i].help);
    printf("\nThe exit status is 0 only when it is done.\n");
}

/* Where stratod is: installed, or begun in the current directory by ourselves. In a directory where
 * others may write, anybody can have made a strato-run. */
static const char *usual_socket(void)
{
    static const char here[] = "strato-run/" CONTROL_SOCKET;
    static const char installed[] = "/run/strato/" CONTROL_SOCKET;
    struct stat info;
    bool ours = lstat("strato-run", &info) == 0 && S_ISDIR(info.st_mode) &&
                info.st_uid == geteuid() && (info.st_mode & (S_IWGRP | S_IWOTH)) == 0;
    return access(installed, F_OK) != 0 && ours && access(here, F_OK) == 0 ? here : installed;
}

static void parse(int argc, char **argv, struct options *options)
{
    static const struct option flags[] = {
        {"socket", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'},
        {"watch", no_argument, NULL, 'w'},        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},         {0}};
    int flag;
    while ((flag = getopt_long(argc, argv, "s:jwVh", flags, NULL)) != -1) {
        if (flag == 's') {
            options->socket = optarg;
        } else if (flag == 'j') {
            options->json = true;
        } else if (flag == 'w') {
            options->watch = true;
        } else if (flag == 'V') {
            puts("stratoctl " STRATO_VERSION);
            exit(0);
        } else if (flag == 'h') {
            print_help();
            exit(0);
        } else {
            fputs("try: stratoctl --help\n", stderr);
            exit(2);
        }
    }
}

static int check_file(const char *path)
{
    static struct conf conf;
    struct buffer problems = {0};
    conf_defaults(&conf, false);
    enum status status = conf_load(&conf, path, &problems);
    text_print(stdout, problems.data, problems.len);
    buffer_free(&problems);
    if (status == STATUS_OK)
        printf("%s: no problems\n", path);
    return status == STATUS_OK ? 0 : 1;
}

/* Passes the words on as they are. */
static int tell(const struct options *options, const char *word, const char *argument)
{
    char line[CONTROL_LINE_MAX + 1];
    int len = snprintf(line, sizeof line, "%s%s%s", word, *argument ? " " : "", argument);
    if (len > CONTROL_LINE_MAX || strchr(argument, '\n')) {
        fprintf(stderr, "stratoctl: %s: too long, or more than one line\n", word);
        return 2;
    }
    return ask(options->socket, line, options->json, NULL) ? 0 : 1;
}

static int run(const struct options *options, const char *word, const char *argument)
{
    if (strcmp(word, "status") == 0)
        return view_status(options);
    if (strcmp(word, "stats") == 0)
        return view_figures(options);
    if (strcmp(word, "backup") == 0)
        return view_backup(options, argument);
    if (strcmp(word, "check") == 0)
        return check_file(argument);
    return tell(options, word, argument);
}

static const struct ctl_word *find_command(const char *word)
{
    for (size_t i = 0; i < ctl_command_count; i++)
        if (strcmp(ctl_commands[i].word, word) == 0)
            return &ctl_commands[i];
    return NULL;
}

/* Whether what stands on the command line is a command and its argument; says why not. */
static bool is_command(int count, char **words)
{
    const struct ctl_word *command = count > 0 ? find_command(words[0]) : NULL;
    if (count > 0 && !command)
        fprintf(stderr, "stratoctl: there is no command %s\n", words[0]);
    else if (command && *command->argument && (count != 2 || !*words[1]))
        fprintf(stderr, "stratoctl: %s takes one argument, %s\n", words[0], command->argument);
    else if (command && !*command->argument && count != 1)
        fprintf(stderr, "stratoctl: %s takes no argument\n", words[0]);
    else if (command)
        return true;
    fputs("try: stratoctl --help\n", stderr);
    return false;
}

int main(int argc, char **argv)
{
    struct options options = {.socket = usual_socket()};
    os_begin(); /* SIGPIPE: one that is turned away is answered before it has asked */
    parse(argc, argv, &options);
    if (!is_command(argc - optind, argv + optind))
        return 2;
    int code = run(&options, argv[optind], optind + 1 < argc ? argv[optind + 1] : "");
    if (fflush(stdout) == 0)
        return code;
    fprintf(stderr, "stratoctl: standard output: %s\n", strerror(errno));
    return 1;
}
