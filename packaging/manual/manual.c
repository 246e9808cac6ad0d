/*
 * manual - writes what is made from the programs' own tables: manual pages and shell completion.
 * Run by the build only:   manual PAGE > FILE   ; for a program's page its --help is read from
 * standard input.
 *
 * Exit code 2: no such page.
 */
#include <stdio.h>
#include <string.h>

#include "proto/base/op.h"
#include "proto/conf/conf.h"
#include "supervisor/stratoctl/commands.h"

/* A roff text: what begins a line with a dot or has a backslash or hyphen would mean something. */
static void write_text(const char *text)
{
    if (*text == '.' || *text == '\'')
        printf("\\&");
    for (; *text; text++) {
        if (*text == '\\' || *text == '-')
            putchar('\\');
        if (*text == '\\')
            putchar('e');
        else
            putchar(*text);
    }
}

static void write_title(const char *name, int section, const char *what)
{
    printf(".TH %s %d \"\" \"strato %s\" \"Strato\"\n.SH NAME\n", name, section, STRATO_VERSION);
    write_text(name);
    printf(" \\- %s\n", what);
}

static void write_see_also(const char *pages)
{
    printf(".SH SEE ALSO\n%s\n", pages);
}

/* The program's --help, as it is. */
static void write_help(void)
{
    char line[512];
    printf(".SH SYNOPSIS AND OPTIONS\n.nf\n");
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        write_text(line);
        putchar('\n');
    }
    printf(".fi\n");
}

static void write_words(const struct ctl_word *words, size_t count, const char *before)
{
    for (size_t i = 0; i < count; i++) {
        printf(".TP\n.B ");
        write_text(before);
        write_text(words[i].word);
        if (*words[i].argument)
            printf(" \\fI%s\\fR", words[i].argument);
        printf("\n");
        write_text(words[i].help);
        printf(".\n");
    }
}

static void write_stratod(void)
{
    write_title("stratod", 8, "the supervisor of Strato");
    write_help();
    printf(
        ".SH DESCRIPTION\n"
        "stratod starts a process per worker and one per backend in use, restarts what dies and\n"
        "replaces what it is told to replace. It reads its file once; children are given a copy.\n"
        ".SH SIGNALS\n"
        ".TP\n.B SIGTERM, SIGINT\nStop in order; a second one stops at once.\n"
        ".TP\n.B SIGHUP\nRead the configuration again, as\n.B stratoctl reload\ndoes.\n"
        ".TP\n.B SIGUSR1\nLog one line per process.\n"
        ".SH EXIT STATUS\n"
        "0: stopped in order, or nothing wrong found. 1: it could not start, or was killed off.\n"
        "2: the command line is wrong.\n"
        ".SH FILES\n"
        ".TP\n.I /etc/strato/strato.ini\nThe configuration of the service.\n"
        ".TP\n.I /run/strato/ctl.sock\nThe control socket: for root and the group strato.\n"
        ".TP\n.I /var/lib/strato\nData.\n");
    write_see_also(
        ".BR stratoctl (1),\n.BR strato.ini (5),\n.BR strato (7),\n.BR strato\\-http (1)");
}

static void write_stratoctl(void)
{
    write_title("stratoctl", 1, "ask and tell a running Strato");
    printf(".SH SYNOPSIS\n.B stratoctl\n[\\fB\\-\\-socket\\fR \\fIPATH\\fR] \\fICOMMAND\\fR "
           "[\\fIARGUMENT\\fR]\n.SH COMMANDS\n");
    write_words(ctl_commands, ctl_command_count, "");
    printf(".SH OPTIONS\n");
    write_words(ctl_options, ctl_option_count, "--");
    printf(
        ".SH DESCRIPTION\n"
        "Root, the user of stratod and members of the group strato may use it. A restart starts\n"
        "the new process first and lets the old one finish what is open; a store is replaced\n"
        "while requests wait for it. So no request is lost.\n"
        ".SH BACKUPS\n"
        "An older backup called FILE is replaced when the new one is complete. Any other file of\n"
        "that name is left alone, and nothing is written to run_dir, to [disk] path or what is\n"
        "below them, or directly to data_dir.\n"
        ".SH RESTORING A BACKUP\n"
        "The file is the database as it was at one moment. To go back to it:\n.nf\n\n"
        "systemctl stop strato\n"
        "mv /var/lib/strato/disk /var/lib/strato/disk.old\n"
        "install \\-d \\-o strato \\-g strato \\-m 700 /var/lib/strato/disk\n"
        "install \\-o strato \\-g strato \\-m 600 FILE /var/lib/strato/disk/data.mdb\n"
        "systemctl start strato\n.fi\n"
        ".SH EXIT STATUS\n"
        "0: it is done. 1: it is not, and standard error says why. 2: the command line is "
        "wrong.\n"
        ".SH FILES\n.TP\n.I /run/strato/ctl.sock\nThe socket of the installed service. Without "
        "it, ./strato\\-run/ctl.sock is tried.\n");
    write_see_also(".BR stratod (8)");
}

static void write_inspect(void)
{
    write_title("strato-inspect", 1, "show Strato's shared memory and data directory");
    write_help();
    printf(
        ".SH DESCRIPTION\n"
        "It looks at an arena, at the rings of a channel or at a database, of a file or of a\n"
        "running Strato. It only reads: it takes no lock, asks no process and changes nothing.\n"
        "What it reads may be damaged; what makes no sense is listed below\n.BR trouble .\n"
        ".PP\n"
        "Looking into a running process needs root, or the user that it runs as. Beside a store\n"
        "that writes, figures are of the time that the look takes, not of one moment, and pages\n"
        "of a busy database may change before they are read: then it says so, and a copy made by\n"
        ".B stratoctl backup\nis better looked at.\n"
        ".PP\n"
        "It shows keys, and of values the first 256 bytes.\n"
        ".SH EXAMPLES\n.nf\n"
        "strato\\-inspect \\-\\-in /run/strato list\n"
        "strato\\-inspect \\-\\-in /run/strato channel disk\\-0\n"
        "strato\\-inspect \\-\\-in /run/strato arena memory cache token\n"
        "strato\\-inspect \\-\\-check disk /var/lib/strato/disk\n.fi\n");
    write_see_also(".BR stratoctl (1),\n.BR stratod (8)");
}

static void write_ini(void)
{
    write_title("strato.ini", 5, "the configuration of Strato");
    printf(
        ".SH DESCRIPTION\nLines of key = value below a [section]; a semicolon begins a comment.\n"
        "Sizes take K, M, G and T; times take ms, s, m and h; ${NAME} is taken from the\n"
        "environment. What follows is every key with its default, or with an example where it has\n"
        "none, and what a reload does with it.\n");
    conf_write_manual(stdout);
    write_see_also(".BR stratod (8),\n.BR stratoctl (1)");
}

static const char *const helps[OP_COUNT] = {
#define HELP(operation, text) [OP_##operation] = (text),
#include "proto/api/operations.def"
};

/* How an operation is asked for: over HTTP, over gRPC. */
struct asked {
    enum op op;
    const char *method, *path;
};
static const struct asked routes[] = {
#define ROUTE(operation, method, path, prepare, shape) {OP_##operation, #method, path},
#include "proto/api/operations.def"
};
static const struct asked methods[] = {
#define METHOD(operation, path, decode, encode) {OP_##operation, "", path},
#include "proto/api/operations.def"
};

static void write_operation(enum op op)
{
    printf(".TP\n.B %s\n", op_info(op)->name);
    write_text(helps[op]);
    printf(".\n");
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (routes[i].op == op)
            printf(".br\n%s %sKEY\n", routes[i].method, routes[i].path);
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (methods[i].op == op)
            printf(".br\n%s\n", methods[i].path + 1);
}

static void write_operations(void)
{
    write_title("strato", 7, "the operations of Strato");
    printf(".SH DESCRIPTION\nEach service has keys of its own. An operation means the same over "
           "HTTP and\n"
           "gRPC and on every backend. Keys and items are 1 to 480 bytes. Below each are its "
           "requests\n"
           "over HTTP and its methods over gRPC, whose messages strato.proto describes.\n");
    for (unsigned service = 0; service < SERVICE_COUNT; service++) {
        printf(".SH %s\n", service_name((enum service)service));
        for (unsigned op = OP_NONE + 1; op < OP_COUNT; op++)
            if (helps[op] && op_info((enum op)op)->service == service)
                write_operation((enum op)op);
    }
    write_see_also(".BR stratod (8),\n.BR strato.ini (5)");
}

static void write_front(const char *name, const char *protocol)
{
    char what[100];
    snprintf(what, sizeof what, "Strato over %s alone, set up by flags", protocol);
    write_title(name, 1, what);
    write_help();
    write_see_also(".BR stratod (8)");
}

static void write_bash(void)
{
    printf(
        "# bash completion for stratoctl; made from its table of commands\n"
        "_stratoctl()\n{\n    local word=${COMP_WORDS[COMP_CWORD]} "
        "before=${COMP_WORDS[COMP_CWORD-1]} names\n"
        "    case $before in\n"
        "    --socket|check|backup) COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n"
        "    log-level) COMPREPLY=($(compgen -W 'debug info warn error' -- \"$word\")); return ;;\n"
        "    restart)\n"
        "        names=$(stratoctl status 2>/dev/null | awk 'NR > 2 && $2 {print $1 \"\\n\" $2}' "
        "| sort -u)\n"
        "        COMPREPLY=($(compgen -W \"all $names\" -- \"$word\")); return ;;\n"
        "    esac\n    COMPREPLY=($(compgen -W '");
    for (size_t i = 0; i < ctl_command_count; i++)
        printf("%s ", ctl_commands[i].word);
    for (size_t i = 0; i < ctl_option_count; i++)
        printf("%s--%s", i ? " " : "", ctl_options[i].word);
    printf("' -- \"$word\"))\n}\ncomplete -F _stratoctl stratoctl\n");
}

static void write_zsh(void)
{
    printf("#compdef stratoctl\n# made from stratoctl's table of commands\n_arguments");
    for (size_t i = 0; i < ctl_option_count; i++)
        printf(" \\\n    '--%s[%s]%s'", ctl_options[i].word, ctl_options[i].help,
               *ctl_options[i].argument ? ":path:_files" : "");
    printf(" \\\n    '1:command:((");
    for (size_t i = 0; i < ctl_command_count; i++)
        printf(" \\\n        %s\\:\"%s\"", ctl_commands[i].word, ctl_commands[i].help);
    printf("))' \\\n    '2:argument:_files'\n");
}

int main(int argc, char **argv)
{
    const char *page = argc == 2 ? argv[1] : "";
    if (strcmp(page, "stratod.8") == 0)
        write_stratod();
    else if (strcmp(page, "stratoctl.1") == 0)
        write_stratoctl();
    else if (strcmp(page, "strato-inspect.1") == 0)
        write_inspect();
    else if (strcmp(page, "strato.ini.5") == 0)
        write_ini();
    else if (strcmp(page, "strato.7") == 0)
        write_operations();
    else if (strcmp(page, "strato-http.1") == 0)
        write_front("strato-http", "HTTP");
    else if (strcmp(page, "strato-grpc.1") == 0)
        write_front("strato-grpc", "gRPC");
    else if (strcmp(page, "stratoctl.bash") == 0)
        write_bash();
    else if (strcmp(page, "stratoctl.zsh") == 0)
        write_zsh();
    else
        return 2;
    return 0;
}
