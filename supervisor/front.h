/*
 * front - the commands of the original Strato, strato-http and strato-grpc: one protocol, flags and
 * environment instead of a file, and its error texts. The same supervisor runs behind them.
 */
#ifndef STRATO_SUPERVISOR_FRONT_H
#define STRATO_SUPERVISOR_FRONT_H

struct front {
    const char *program;     /* "strato-http" */
    const char *protocol;    /* section of the configuration: "http", "grpc" */
    const char *environment; /* "STRATO_HTTP_": before PORT, BACKEND, DEBUG and REDIS_URL */
    const char *port;        /* default */
};

/* Takes the options (flag, else environment, else default) and runs until stopped; returns the exit
 * code. */
int front_main(const struct front *front, int argc, char **argv);

#endif
