/*
 * commands - see commands.h. stratoctl and the generator of manual pages.
 */
#include "supervisor/stratoctl/commands.h"

const struct ctl_word ctl_commands[] = {
    {"status", "", "each process: state, uptime, restarts and why, requests/s, memory"},
    {"stats", "", "figures: operations, outcomes, latency, connections, stores"},
    {"restart", "NAME",
     "a process (http-0), a kind (http, grpc, store) or all; no request is lost"},
    {"reload", "", "read the configuration file again; says what needs more than that"},
    {"log-level", "LEVEL", "debug, info, warn or error, for every process, until it is changed"},
    {"backup", "FILE", "a copy of the disk backend's database, as it is at one moment"},
    {"check", "FILE", "print every problem of a configuration file; asks nobody"},
    {"stop", "", "stop everything, in order; ends when all is stopped"},
};

const struct ctl_word ctl_options[] = {
    {"socket", "PATH", "its run_dir/ctl.sock, when that is not /run/strato or ./strato-run"},
    {"json", "", "status and stats as JSON"},
    {"watch", "", "status again every second"},
    {"version", "", "print the version and exit"},
    {"help", "", "print a summary and exit"},
};

const size_t ctl_command_count = sizeof ctl_commands / sizeof ctl_commands[0];
const size_t ctl_option_count = sizeof ctl_options / sizeof ctl_options[0];
