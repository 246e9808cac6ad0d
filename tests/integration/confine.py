"""Runs a program as an older kernel, or a filter that knows only older calls, would have it run.

    confine.py ERROR CALL[,CALL ...] PROGRAM [ARGUMENT ...]

Each CALL fails with ERROR (ENOSYS, EPERM), in the program and in everything that it starts.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

# name: (x86_64, others: the calls of Linux 5 and later have one number everywhere)
CALLS = {
    "close_range": (436, 436), "epoll_pwait2": (441, 441), "openat2": (437, 437),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "clone3": (435, 435),
    "faccessat2": (439, 439), "io_uring_setup": (425, 425), "statx": (332, 291),
    "copy_file_range": (326, 285), "renameat2": (316, 276), "getrandom": (318, 278),
    "rseq": (334, 293), "membarrier": (324, 283), "inotify_init1": (294, 26),
    "preadv2": (327, 286), "pwritev2": (328, 287), "mlock2": (325, 284),
}
SET_NO_NEW_PRIVS, SET_SECCOMP, FILTER = 38, 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL = 0x7fff0000, 0x00050000


def install(error, names):
    column = 0 if platform.machine() == "x86_64" else 1
    program = struct.pack("HBBI", LOAD, 0, 0, 0)
    for name in names:
        program += struct.pack("HBBI", EQUAL, 0, 1, CALLS[name][column])
        program += struct.pack("HBBI", RETURN, 0, 0, FAIL | error)
    program += struct.pack("HBBI", RETURN, 0, 0, ALLOW)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0) or \
            libc.prctl(SET_SECCOMP, FILTER, ctypes.create_string_buffer(header), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    install(getattr(errno, sys.argv[1]), sys.argv[2].split(","))
    os.execv(sys.argv[3], sys.argv[3:])
