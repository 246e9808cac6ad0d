/*
 * machine - how many CPUs and how much memory there are for us: what the machine has, less what a
 * cgroup (of systemd, a container) or the CPU affinity leaves of it.
 */
#ifndef STRATO_PROTO_CONF_MACHINE_H
#define STRATO_PROTO_CONF_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

enum { MACHINE_PATH_MAX = 1024 };

struct machine {
    unsigned cpus;                      /* at least 1; part of one counts as one */
    unsigned milli_cpus;                /* the tightest limit in thousandths; 0: there is none */
    char cpus_from[MACHINE_PATH_MAX];   /* the file that has that limit; or empty */
    uint64_t memory;                    /* bytes */
    char memory_from[MACHINE_PATH_MAX]; /* the file that sets a limit below the machine's memory */
};

/*
 * Looks at cgroups of version 1 and 2: at our own and at all above it, the smallest counts. proc
 * is where cgroup and mountinfo of the process are ("/proc/self"). What cannot be read is no limit.
 */
void machine_look(const char *proc, struct machine *machine_r);

/* What machine_look() found for this process when it was first asked for. */
const struct machine *machine(void);
/* Looks anew when it is next asked for. */
void machine_forget(void);
/* Takes no limit for real from now on: a supervisor has judged already. */
void machine_trust(void);

#endif
