/*
 * failpoint - see failpoint.h. Test builds only.
 */
#include "proto/base/failpoint.h"

#ifdef STRATO_FAILPOINTS

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/coverage.h"

static char armed_point[64];
static unsigned long remaining;

void failpoint_arm(const char *process)
{
    const char *path = getenv("STRATO_FAILPOINT");
    FILE *file = path ? fopen(path, "re") : NULL;
    if (!file)
        return;
    char line[160] = "";
    char *got = fgets(line, sizeof line, file);
    fclose(file);
    char *save = NULL;
    char *name = got ? strtok_r(line, " \n", &save) : NULL;
    char *point = name ? strtok_r(NULL, " \n", &save) : NULL;
    char *count = point ? strtok_r(NULL, " \n", &save) : NULL;
    if (!count || strcmp(name, process) != 0)
        return;
    snprintf(armed_point, sizeof armed_point, "%s", point);
    remaining = strtoul(count, NULL, 10);
    unlink(path);
}

void failpoint(const char *point)
{
    if (remaining == 0 || strcmp(point, armed_point) != 0)
        return;
    if (--remaining == 0) {
        coverage_keep();
        kill(getpid(), SIGKILL);
    }
}

void failpoint_pause(void)
{
    const char *text = getenv("STRATO_PAUSE_MS");
    if (text)
        usleep((useconds_t)(strtoul(text, NULL, 10) * 1000));
}

#endif
