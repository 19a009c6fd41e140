#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every key of the configuration has a test that fails when it is ignored.

The keys are those that `outriderd --check-config` prints; the table says which
test proves each, and that test must be in the sources.
"""
import os
import re
import subprocess
import sys
import tempfile

BIN = os.environ.get("OUTRIDER_BUILD", "build/release") + "/bin"
CLASSES = ("critical", "production", "development", "batch")
UNITS = ("tests/unit/core/memory_keys_test.cpp",
         "tests/unit/core/policy_keys_test.cpp",
         "tests/unit/shell/foresight_test.cpp",
         "tests/unit/shell/journal_test.cpp")
LABS = {"lab-keys": "tests/lab/cases/keys.py",
        "lab-keys-policy": "tests/lab/cases/keys_policy.py",
        "lab-memory": "tests/lab/cases/memory.py"}

# Key: its tests. `PolicyKeys.Mode` is a unit test, `lab-keys` a row of
# tests/list in whose case a label begins with the key. Where core makes of a key
# what ends in a file of the kernel's, there is one of each.
PROOF = {
    "tick_period_ms": "lab-keys",
    "shadow.MonitoringInterval": "lab-keys-policy",
    "slow_period_ms": "lab-keys",
    "run_directory": "lab-keys-policy",
    "cgroup_mount": "lab-keys",
    "journal.enabled": "lab-keys",
    "journal.directory": "lab-keys",
    "journal.bytes_max": "JournalOnDisk.NeverGrowsAboveItsBound",
    "journal.segment_bytes": "JournalOnDisk.BeginsANewSegmentAfterSoManyBytes",
    "predictive_scaling.enabled": "Foresight.IsThereWhereItIsEnabled",
    "predictive_scaling.directory": "Foresight.IsThereWhereItIsEnabled",
    "predictive_scaling.forecasting_horizon":
        "Foresight.LooksAsFarAsItsHorizon",
    "predictive_scaling.model_types": "Foresight.UsesTheListedModels",
    "predictive_scaling.confidence_threshold":
        "Foresight.ForeseesNothingOfNoiseWithoutCoverage",
    "predictive_scaling.lead_time": "Foresight.LeadTimeSaysHowLongBefore",
    "predictive_scaling.forecast_accuracy_target":
        "Foresight.SaysWhetherItsAccuracyIsAsAskedFor",
    "control.socket": "lab-keys",
    "control.mode": "lab-keys",
    "control.group": "lab-keys",
    "sense.sensor": "lab-keys",
    "sense.blame": "lab-keys",
    "sense.blame_sample": "lab-keys",
    "sense.guest_time": "lab-keys",
    "sense.edges": "lab-keys",
    "edge.quota_reaction_us": "lab-keys",
    "edge.wait_climb_us": "lab-keys",
    "discovery.libvirt": "lab-keys",
    "discovery.proxmox": "lab-keys",
    "discovery.processes": "lab-keys",
    "hang_deadline_ms": "lab-keys-policy",
    "loop_priority": "lab-keys",
    "vm_count_max": "lab-keys",
    "event_backend": "lab-keys",
    "log_level": "lab-keys",
    "profile": "lab-keys-policy",
    "mode": "PolicyKeys.Mode lab-keys-policy",
    "cpu.mode": "PolicyKeys.CpuMode",
    "cpu.split": "PolicyKeys.CpuSplit lab-keys-policy",
    "cpu.cap_period_ms": "PolicyKeys.CpuCapPeriod lab-keys-policy",
    "cpu.burst_us": "PolicyKeys.CpuBurst lab-keys-policy",
    "cpu.cap_quantile_percent": "PolicyKeys.CpuCapQuantile",
    "cpu.host_share_mcpu": "PolicyKeys.CpuHostShare",
    "cpu.dead_band_percent": "PolicyKeys.CpuDeadBandPercent",
    "cpu.dead_band_mcpu": "PolicyKeys.CpuDeadBandMcpu",
    "cpu.lower_after_ms": "PolicyKeys.CpuLowerAfter",
    "cpu.lower_step_percent": "PolicyKeys.CpuLowerStep",
    "cpu.writes_per_minute": "PolicyKeys.CpuWritesPerMinute",
    "cpu.weights": "PolicyKeys.CpuWeights lab-keys-policy",
    "memory.mode": "MemoryKeys.Mode",
    "memory.period_ms": "lab-memory",
    "memory.horizon_s": "MemoryKeys.Horizon",
    "memory.host_share_percent": "MemoryKeys.HostShare",
    "memory.take_mib_per_second": "MemoryKeys.TakePerSecond",
    "memory.guest_spare_percent": "MemoryKeys.GuestSpare",
    "memory.confirm_s": "MemoryKeys.Confirm",
    "memory.learn_s": "MemoryKeys.Learn",
    "memory.give_after_s": "MemoryKeys.GiveAfter",
    "shadow.PredictionHorizon": "PolicyKeys.ShadowPredictionHorizon",
    "shadow.reserve_horizon_ms": "PolicyKeys.ShadowReserveHorizon",
    "shadow.PreAllocationThreshold.cpu_mcpu":
        "PolicyKeys.ShadowPreAllocationThreshold",
    "shadow.ShadowVM_BaseResources.cpu_mcpu": "PolicyKeys.ShadowBaseResources",
    "shadow.ScalingPolicy": "PolicyKeys.ShadowScalingPolicy",
    "shadow.fixed_extra_mcpu": "PolicyKeys.ShadowFixedExtra",
    "shadow.factor_percent": "PolicyKeys.ShadowFactor",
    "shadow.quantile_percent": "PolicyKeys.ShadowQuantile",
    "shadow.on_vm_exit": "PolicyKeys.ShadowOnVmExit",
    "shadow.forecast": "PolicyKeys.ShadowForecast",
    "classes.*.weight": "PolicyKeys.ClassWeight",
    "classes.*.floor_percent": "PolicyKeys.ClassFloor lab-keys-policy",
    "classes.*.ceiling_percent": "PolicyKeys.ClassCeiling",
    "classes.*.overcommit_percent": "PolicyKeys.ClassOvercommit",
    "classes.*.price_stalled": "PolicyKeys.ClassPriceStalled",
    "classes.*.price_reserved": "PolicyKeys.ClassPriceReserved",
    "classes.*.idle": "PolicyKeys.ClassIdle lab-keys-policy",
    "classes.*.memory_floor_percent": "MemoryKeys.ClassFloor",
    "classes.*.balloon_enabled": "MemoryKeys.ClassBalloon",
    "default_class": "PolicyKeys.DefaultClass lab-keys-policy",
    "vms[].match": "PolicyKeys.VmMatch lab-keys-policy",
    "vms[].class": "PolicyKeys.VmClass lab-keys-policy",
    "vms[].mode": "PolicyKeys.VmMode lab-keys-policy",
    "vms[].floor_mcpu": "PolicyKeys.VmFloor",
    "vms[].ceiling_mcpu": "PolicyKeys.VmCeiling lab-keys-policy",
    "vms[].weight": "PolicyKeys.VmWeight lab-keys-policy",
    "vms[].memory_floor_mib": "MemoryKeys.VmFloor",
    "vms[].balloon_enabled": "MemoryKeys.VmBalloon",
}

# Another name of tick_period_ms, which is the one that is printed.
ALIASES = {"shadow.MonitoringInterval"}

# A rule is printed with the keys that it has.
RULE = ("vms: [{match: a, floor_mcpu: 1, ceiling_mcpu: 2, weight: 3, "
        "memory_floor_mib: 4, balloon_enabled: true}]\n")


def flatten(text):
    """The keys of block YAML as the daemon prints it, from the top down."""
    above = []  # (indentation, name)
    keys = set()
    for line in text.splitlines():
        is_entry = line.lstrip().startswith("- ")
        bare = line.replace("- ", "  ", 1) if is_entry else line
        depth = len(bare) - len(bare.lstrip())
        name, _, value = bare.strip().partition(":")
        while above and above[-1][0] >= depth:
            above.pop()
        if value.strip():
            path = ".".join([part for _, part in above] + [name])
            for vm_class in CLASSES:
                path = path.replace("classes.%s." % vm_class, "classes.*.")
            keys.add(path.replace("vms.", "vms[]."))
        else:
            above.append((depth, name))
    return keys


def printed_keys():
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(RULE)
        file.flush()
        said = subprocess.run([BIN + "/outriderd", "--check-config", "--config",
                               file.name], check=True, capture_output=True,
                              text=True)
    return flatten(said.stdout)


def is_there(key, test):
    if test in LABS:  # a label that begins with the key
        label = re.escape('"' + key) + '[":]'
        return re.search(label, open(LABS[test]).read())
    suite, name = test.split(".")
    wanted = "TEST(%s, %s)" % (suite, name)
    return any(wanted in open(path).read() for path in UNITS)


def main():
    keys = printed_keys()
    wrong = ["%s: no test in the table" % key for key in keys - PROOF.keys()]
    wrong += ["%s: in the table, but no key" % key
              for key in PROOF.keys() - keys - ALIASES]
    wrong += ["%s: %s is not in the sources" % (key, test)
              for key, tests in PROOF.items() for test in tests.split()
              if not is_there(key, test)]
    for line in sorted(wrong):
        print("WRONG: " + line)
    print("%d keys, %d of them without proof" % (len(keys), len(wrong)))
    sys.exit(1 if wrong else 0)


main()
