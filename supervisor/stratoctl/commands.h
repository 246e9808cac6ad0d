/*
 * commands - the words of stratoctl's command line, one row each: the program, its manual page and
 * the shells' completion follow from them.
 */
#ifndef STRATO_SUPERVISOR_STRATOCTL_COMMANDS_H
#define STRATO_SUPERVISOR_STRATOCTL_COMMANDS_H

#include <stddef.h>

struct ctl_word {
    const char *word;
    const char *argument; /* "" for none */
    const char *help;
};

extern const struct ctl_word ctl_commands[], ctl_options[];
extern const size_t ctl_command_count, ctl_option_count;

#endif
