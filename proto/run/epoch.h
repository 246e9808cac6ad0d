/*
 * epoch - how the service clock (proto/base/clock.h) goes on from one stratod to the next.
 *
 * stratod chooses the offset once, when it starts, and hands it to all children in the environment
 * variable STRATO_CLOCK, "OFFSET_MS BOOT". A child that is given none (by a stratod of release
 * 0.2.0) goes by the wall clock, as its siblings do. It is written down in two places: in the
 * header of the memory backend's arena, which systemd may keep over a restart of stratod, and
 * beside the database of the disk backend, DISK_PATH/clock, with the time itself, every ten
 * seconds.
 *
 * Within one boot of the machine the offset stays what it was: there is no step. After a boot it is
 * taken from the wall clock, but the clock never goes back behind what DISK_PATH/clock has seen.
 */
#ifndef STRATO_PROTO_RUN_EPOCH_H
#define STRATO_PROTO_RUN_EPOCH_H

#include <stdbool.h>
#include <stdint.h>

struct epoch {
    uint64_t offset_ms; /* service clock less CLOCK_BOOTTIME */
    uint64_t boot;      /* the boot that CLOCK_BOOTTIME counts from; 0: unknown */
    uint64_t seen_ms;   /* the service clock, when it was written */
};

/* This boot of the machine: a number that no other has; 0: unknown. */
uint64_t epoch_boot(void);
/* In stratod: for all children. In a child: takes what it was given. */
void epoch_give(const struct epoch *epoch);
void epoch_take(void);
/* Of this process; all 0 when it was given none. */
struct epoch epoch_now(void);

/* DISK_PATH/clock: false when there is none, or it is damaged. A failed write is of no account. */
bool epoch_read(const char *disk_path, struct epoch *epoch_r);
void epoch_note(const char *disk_path, uint64_t now_ms);

#endif
