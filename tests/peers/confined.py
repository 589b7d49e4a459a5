"""Runs a program as holdpoint.service confines it, where no systemd is there to do so.

confined.py UNIT STATE PROGRAM [ARGUMENT...]

What of the unit is done here: capabilities, NoNewPrivileges, the limits, UMask, SystemCallFilter, MemoryDenyWriteExecute,
RestrictAddressFamilies, RestrictNamespaces, and ProtectSystem=strict with STATE as the one folder that may be written. It is the
same kernel that forbids, by libseccomp as systemd does. The account stays the caller's, who must be root.
"""

import ctypes
import errno
import os
import re
import resource
import subprocess
import sys

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, CAP_NET_BIND_SERVICE, CAP_LAST = 24, 38, 10, 63
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 1 << 18
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}
ALLOW, EQUAL, MASKED = 0x7FFF0000, 4, 7
PROT_WRITE, PROT_EXEC = 2, 4

libc = ctypes.CDLL(None, use_errno=True)
seccomp = ctypes.CDLL("libseccomp.so.2")
seccomp.seccomp_init.restype = ctypes.c_void_p


class Compared(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def settings(unit):
    found = {}
    for line in open(unit):
        key, sign, value = line.strip().partition("=")
        if sign and not key.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def calls(name):
    """The system calls of a set of systemd's, or the one call."""
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True).stdout
    names = [line.strip() for line in listed.splitlines()[1:]]
    return set().union(*(calls(inner) for inner in names if inner and not inner.startswith("#")))


def failing(code):
    return 0x00050000 | code


class Filter:
    """Of system calls: what no rule names is done as `otherwise` says."""

    def __init__(self, otherwise):
        self.context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(otherwise)))

    def rule(self, action, call, *compared):
        number = seccomp.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return
        given = (Compared * len(compared))(*compared)
        status = seccomp.seccomp_rule_add_array(self.context, ctypes.c_uint32(action), number, len(compared), given)
        if status not in (0, -errno.EEXIST, -errno.EACCES):
            raise OSError(-status, f"no rule for {call}")

    def load(self):
        status = seccomp.seccomp_load(self.context)
        if status != 0:
            raise OSError(-status, "no filter of system calls")


def confine_calls(unit):
    allowed = set()
    for line in unit["SystemCallFilter"]:
        names = set().union(*(calls(name) for name in line.lstrip("~").split()))
        allowed = allowed - names if line.startswith("~") else allowed | names
    families = {FAMILIES[name] for name in unit["RestrictAddressFamilies"][0].split()}
    other = Filter(ALLOW)
    # As systemd does it: every family that is not named, and none that could be added one day.
    for family in set(range(46)) - families:
        other.rule(failing(errno.EAFNOSUPPORT), "socket", Compared(0, EQUAL, family, 0))
    both = PROT_WRITE | PROT_EXEC
    other.rule(failing(errno.EPERM), "mmap", Compared(2, MASKED, both, both))
    for call in ("mprotect", "pkey_mprotect"):
        other.rule(failing(errno.EPERM), call, Compared(2, MASKED, PROT_EXEC, PROT_EXEC))
    for call in ("unshare", "setns"):
        other.rule(failing(errno.EPERM), call)
    main = Filter(failing(errno.EPERM))
    for call in sorted(allowed):
        main.rule(ALLOW, call)
    other.load()
    main.load()


def confine_files(state):
    if libc.unshare(CLONE_NEWNS) != 0 or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        raise OSError(ctypes.get_errno(), "no mounts of one's own")
    subprocess.run(["mount", "--bind", state, state], check=True)
    for place in mounts():
        # As ProtectSystem=strict: these are others' to protect.
        if place != os.path.realpath(state) and not re.match("/(dev|proc|sys)(/|$)", place):
            subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)


def mounts():
    """Where something is mounted; what else lies in a folder stays as it is, however much is mounted on that."""
    for line in open("/proc/self/mountinfo").readlines():
        yield re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split()[4])


def number(text):
    return int(re.sub(r"[^0-9]", "", text))


def main():
    unit, state, program = settings(sys.argv[1]), sys.argv[2], sys.argv[3:]
    confine_files(state)
    # A container may allow less.
    files = min(number(unit["LimitNOFILE"][0]), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(int(unit["UMask"][0], 8))
    assert unit["CapabilityBoundingSet"] == ["CAP_NET_BIND_SERVICE"] and unit["NoNewPrivileges"] == ["yes"]
    for capability in set(range(CAP_LAST + 1)) - {CAP_NET_BIND_SERVICE}:
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.chdir(state)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    confine_calls(unit)
    os.execvp(program[0], program)


main()
