/*
 * device - what a disk may have of two files when the power fails, at any moment of a recording.
 *
 * The program defines the system calls that write and sync, so what LMDB and the store write goes
 * through here and is recorded. The model of the device and the file system:
 *
 * - A write may reach the disk at any time from its call on, and before any other write.
 * - fdatasync() and fsync() return when all writes to the file that were made before their call are
 *   on disk, and the file is as long as they made it. A write to a descriptor opened with O_DSYNC
 *   returns when it is on disk itself.
 * - Until then, of each 4 KiB page the disk has what it had, or what any write since has made of
 * it, or it is torn: some of its 512-byte sectors have one of these, the others the next. A sector
 * is never torn. The file may be as long as it was, or as any of these writes made it.
 * - Names and directories are as they were when the recording began.
 */
#ifndef STRATO_TESTS_INTEGRATION_POWERLOSS_DEVICE_H
#define STRATO_TESTS_INTEGRATION_POWERLOSS_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DEVICE_FILES = 2 };
/* Names, the ends of the paths, of the files that are recorded. */
extern const char *const device_names[DEVICE_FILES];

/* Read instead of the kernel's boot id; NULL: the kernel's. */
extern const char *device_boot_id;

/* Begins to record; what the files in the directory hold now is on disk. */
void device_record(const char *directory);
void device_stop(void);
/* How many events have been recorded. */
size_t device_events(void);
/* How often a file has been synced, up to the event. */
uint64_t device_syncs(unsigned file, size_t event);

/*
 * Writes into the directory what the disk may have when the power fails just before an event. The
 * events that are asked for must not go backwards.
 */
void device_fail(size_t event, uint64_t seed, const char *directory);

#endif
