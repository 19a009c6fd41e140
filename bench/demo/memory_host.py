# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of memory, of the host and of a VM's cgroup."""
import ctypes
import os

MCL_CURRENT_AND_FUTURE = 3


def stay_resident():
    """Who watches a host that swaps must not be swapped itself, or wait long
    for a processor."""
    ctypes.CDLL(None).mlockall(MCL_CURRENT_AND_FUTURE)
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def parse_pairs(text):
    """Lines "name value[ unit]" or "name: value[ unit]"."""
    pairs = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2:
            pairs[words[0].rstrip(":")] = int(words[1])
    return pairs


def parse_pressure(text):
    """Microseconds by "some" and "full", from a PSI file."""
    return {line.split()[0]: int(line.rsplit("total=", 1)[1])
            for line in text.splitlines() if "total=" in line}


def read(path):
    with open(path) as file:
        return file.read()


def meminfo_kib():
    return parse_pairs(read("/proc/meminfo"))


def vmstat():
    """The counters of a turn; allocstall is the sum of its zones."""
    pairs = parse_pairs(read("/proc/vmstat"))
    chosen = {name: pairs[name] for name in
              ("pswpin", "pswpout", "pgscan_direct", "pgscan_kswapd",
               "pgmajfault")}
    chosen["allocstall"] = sum(value for name, value in pairs.items()
                               if name.startswith("allocstall_"))
    return chosen


def major_faults(pid):
    """Of all threads of a process; field 12 of proc(5)'s stat."""
    return int(read("/proc/%d/stat" % pid).rsplit(") ", 1)[1].split()[9])
