/*
 * control - what stratoctl and the supervisor say to each other over the control socket.
 *
 * RUN_DIR/ctl.sock, a stream socket. Root, the supervisor's own user and members of the group
 * CONTROL_GROUP may connect. One request per connection, a line of at most CONTROL_LINE_MAX bytes
 * without its newline:
 *
 *     status                one row per process; with its first byte comes a descriptor of the
 *                           figures, for reading (proto/figures/figures.h)
 *     restart NAME          a process, a kind of process, or "all"
 *     reload                reads the configuration file again
 *     stop                  stops everything; answered when all is stopped
 *     log-level LEVEL       of every process, until it is changed again
 *
 * The answer is lines of one JSON object each: rows, {"note": TEXT} while it goes on, and at the
 * end {"result": "ok"} or {"result": "error", "error": TEXT}. An answer without an end means that
 * the supervisor is gone. A reload that leaves something to a restart of stratod is an error, too.
 * restart and reload end when it is done; they wait for their turn.
 */
#ifndef STRATO_PROTO_RUN_CONTROL_H
#define STRATO_PROTO_RUN_CONTROL_H

#define CONTROL_SOCKET "ctl.sock"
#define CONTROL_GROUP  "strato"
/* The error for which it is worth asking again. */
#define CONTROL_CROWDED "too many ask at once"

enum { CONTROL_LINE_MAX = 256 };

#endif
