/*
 * coverage - what the tests have run, written down before a process is killed.
 *
 * Only in the coverage build (make coverage); else nothing. The counts of a process are otherwise
 * written when it ends through exit(), and much of what is tested here is how processes are killed.
 */
#ifndef STRATO_PROTO_BASE_COVERAGE_H
#define STRATO_PROTO_BASE_COVERAGE_H

#ifdef STRATO_COVERAGE
/* Of gcc's libgcov. Without the reset nothing would be written a second time. */
void __gcov_dump(void);
void __gcov_reset(void);

static inline void coverage_keep(void)
{
    __gcov_dump();
    __gcov_reset();
}
#else
static inline void coverage_keep(void)
{
}
#endif

#endif
